"""Dirty archives: every file in warc/ is read to its end; records must add up, also to what warcio itself counts."""

import json
import tempfile
from collections import Counter
from pathlib import Path

from warcio.archiveiterator import ArchiveIterator
from warcio.exceptions import ArchiveLoadFailed

from bench.corpus_data import Row
from pipeline.corpus import sources
from pipeline.corpus.funnel import ledger_rows, total
from pipeline.corpus.read import Reader, step_name
from pipeline.corpus.step import Ledger


def kind(path: Path) -> str:
    """The source's kind, by the file's name."""
    return "jsonl" if ".jsonl" in path.name else "warc"


def plain_count(path: Path) -> int | None:
    """The records of an archive by warcio alone; None where it cannot read the file to its end."""
    try:
        with path.open("rb") as file:
            return sum(1 for _ in ArchiveIterator(file, arc2warc=True))
    except (ArchiveLoadFailed, EOFError, OSError):
        return None


def one(path: Path, raw: Path, number: int) -> tuple[Counter[str], Counter[str]]:
    """(read, kept, dropped, lost, skipped; reasons) of one file that lies in `raw`."""
    source = {"name": f"s{number}", "kind": kind(path), "path": path.name, "licence": ""}
    (raw / "sources.json").write_text(json.dumps([source]), encoding="utf-8")
    (found,) = sources.load(raw)
    ledger = raw / f"dropped{number}"
    reader = Reader(found, Ledger(ledger / "00_read", step_name(found)))
    kept = sum(1 for _ in reader.run())
    counted = {name: total(stat.to_dict()) for name, stat in reader.stats.stats.items()}
    book = list(ledger_rows(ledger))
    lost = sum(row["lost"] for row in book)
    skipped = sum(n for name, n in counted.items() if name.startswith("skipped_"))
    counts = {"read": counted.get("read", 0), "kept": kept, "dropped": len(book) - lost, "lost": lost}
    return Counter({**counts, "skipped": skipped}), Counter(row["reason"] for row in book)


def measure(data: Path) -> list[Row]:
    """One line for all files."""
    files = sorted(path for path in (data / "warc").iterdir() if path.is_file())
    counts: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    wrong, compared = [], 0
    with tempfile.TemporaryDirectory() as temporary:
        raw = Path(temporary)
        for number, path in enumerate(files):
            (raw / path.name).symlink_to(path)
            try:
                these, why = one(path, raw, number)
            except Exception as error:  # noqa: BLE001 whatever it is, it is the finding
                wrong.append(f"{path.name}: {error!r}")
                continue
            counts += these
            reasons += why
            if these["read"] != these["kept"] + these["dropped"] + these["lost"]:
                wrong.append(f"{path.name}: does not add up")
            plain = plain_count(path) if kind(path) == "warc" and not these["lost"] else None
            if plain is not None:
                compared += 1
                if plain != these["read"] + these["skipped"]:
                    wrong.append(f"{path.name}: warcio counts {plain:,} records")
    return [
        Row(
            what="dirty archives: documents; other records",
            on=f"warc, {len(files)} files",
            value=f"read {counts['read']:,}, kept {counts['kept']:,}, dropped {counts['dropped']:,}, "
            f"lost {counts['lost']:,}; skipped {counts['skipped']:,}; {len(wrong)} files crash or do not add up",
            bar="none crashes; read = kept + dropped + lost in every file",
            reached=not wrong,
            beside="; ".join(
                [
                    ", ".join(f"{reason} {n}" for reason, n in reasons.most_common()),
                    f"read + skipped is warcio's own count in each of the {compared} files that it reads to the end",
                    *wrong,
                ]
            ),
        )
    ]
