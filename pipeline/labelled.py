"""Labelled text, `{"text", "label"}` a line: what the classifiers of corpus and evaluate learn from."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.stage import UserError

NOT_WORDS = re.compile(r"[^\w'’!?$%€£@.]+")  # noqa: RUF001
MARKS = re.compile(r"([!?$%€£@.])")


@dataclass(frozen=True, kw_only=True)
class Labelled:
    """One row."""

    text: str
    label: str


def read(path: Path, needed: Sequence[str], key: str, recipe: str = "corpus.yaml") -> list[Labelled]:
    """The rows. Raises UserError, naming the recipe's key, where the file, a field or a needed label is missing."""
    if not path.is_file():
        raise UserError(
            f'{recipe}: {key} needs labelled text, {{"text", "label"}} a line, and there is no file {path}. '
            f"Give one, or set {key} to null."
        )
    rows = []
    with path.open(encoding="utf-8") as file:
        for number, one in enumerate(file, 1):
            try:
                row = json.loads(one)
                rows.append(Labelled(text=str(row["text"]), label=str(row["label"])))
            except (json.JSONDecodeError, KeyError, TypeError) as error:
                raise UserError(f'{path}, line {number}: no {{"text", "label"}}: {error!r}') from None
    found = {row.label for row in rows}
    if missing := [label for label in needed if label not in found]:
        raise UserError(
            f"{path}: no document is labelled {', '.join(missing)}; labels found: {', '.join(sorted(found))}."
        )
    return rows


def line(text: str) -> str:
    """The text as fastText wants it: one line, lower case, marks apart from words."""
    return MARKS.sub(r" \1 ", NOT_WORDS.sub(" ", text.casefold())).strip()
