"""A Hugging Face data set, of the Hub at a pinned commit or of a folder, streamed row by row into JSONL.

Only the columns that the recipe names are kept; `corpus` makes text of them.
Try: a source `{name: wiki, preset: wikipedia, dataset: {revision: .., max_documents: 1000}}` in collect.yaml.
"""

import json
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any

from pipeline.collect import raw
from pipeline.collect.outside import located
from pipeline.collect.source import Columns, DataSet
from pipeline.progress import Progress
from pipeline.stage import UserError

SAVED = ("state.json", "dataset_dict.json")  # what `save_to_disk` leaves


def collect(section: DataSet, name: str, out: Path) -> dict[str, float]:
    """Writes the rows in shards below `out`. Returns how many there are."""
    where = f"collect.yaml: source '{name}'"
    try:
        rows = islice(stream(section, where), section.max_documents)
        first = next(rows, None)
        if first is None:
            raise UserError(f"{where}: {section.path} holds no row in the split '{section.split}'.")
        check(first, section.columns, f"{where}: {section.path}")
        with Progress(section.max_documents, name, "rows") as progress:
            raw.write_jsonl_shards(out, counted(chain((first,), rows), section.columns, progress))
            return {"rows": progress.done}
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno in raw.DISK:
            raise
        need = "" if section.local else " A Hub data set needs a network the first time (and HF_HUB_OFFLINE unset)."
        raise UserError(
            f"{where}: {section.path} (split '{section.split}') cannot be read: {type(error).__name__}: "
            f"{str(error).strip()[:300]}.{need}"
        ) from None


def stream(section: DataSet, where: str) -> Iterator[dict[str, Any]]:
    """The rows. Nothing of the data set is run: `datasets` no longer executes loading scripts."""
    from datasets import DatasetDict, load_dataset, load_from_disk

    if not section.local:
        return iter(
            load_dataset(section.path, section.config, split=section.split, revision=section.revision, streaming=True)
        )
    folder = located(section.path, f"{where}, dataset.path")
    if any((folder / name).is_file() for name in SAVED):
        saved = load_from_disk(str(folder))
        return iter(saved[section.split] if isinstance(saved, DatasetDict) else saved)
    return iter(load_dataset(str(folder), section.config, split=section.split, streaming=True))


def names(columns: Columns) -> set[str]:
    """The columns that are kept: of `metadata.url` the whole object, unless a column has that very name."""
    row = columns.row()
    wanted = {*row.pop("text"), *row.values()}
    return wanted | {name.partition(".")[0] for name in wanted}


def check(row: dict[str, Any], columns: Columns, where: str) -> None:
    """Raises UserError where the first row has none of the columns that text could come from."""
    text = {name.partition(".")[0] for name in (*columns.row()["text"], columns.html)}
    if not text & row.keys():
        raise UserError(
            f"{where}: has none of the columns {', '.join(sorted(text))}; it has {', '.join(sorted(row))}. "
            "Say which hold the text with columns: {text: ..}."
        )


def counted(rows: Iterator[dict[str, Any]], columns: Columns, progress: Progress) -> Iterator[dict[str, Any]]:
    """Each row as JSON types with the kept columns alone."""
    wanted = names(columns)
    for row in rows:
        kept = {name: value for name, value in row.items() if name in wanted}
        # Lone surrogates, which UTF-8 cannot hold, become "?"; dates and the like become their text.
        yield json.loads(json.dumps(kept, default=str, ensure_ascii=False).encode("utf-8", "replace"))
        progress.update()
