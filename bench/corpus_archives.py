"""Dirty archives: every file in warc/ is read to its end; records read, kept, skipped and lost must add up."""

import json
import tempfile
from collections import Counter
from pathlib import Path

from bench.corpus_data import Row
from pipeline.corpus import sources
from pipeline.corpus.funnel import ledger_rows, total
from pipeline.corpus.read import READERS
from pipeline.corpus.step import Ledger


def kind(path: Path) -> str:
    """The source's kind, by the file's name."""
    return "jsonl" if ".jsonl" in path.name else "warc"


def measure(data: Path) -> list[Row]:
    """One line for all files."""
    files = sorted(path for path in (data / "warc").iterdir() if path.is_file())
    counts: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    unbalanced, crashed = [], []
    with tempfile.TemporaryDirectory() as temporary:
        raw = Path(temporary)
        for number, path in enumerate(files):
            (raw / path.name).symlink_to(path)
            source = {"name": f"s{number}", "kind": kind(path), "path": path.name, "licence": ""}
            (raw / "sources.json").write_text(json.dumps([source]), encoding="utf-8")
            (one,) = sources.load(raw)
            reader = READERS[one.kind](one, Ledger(raw / "dropped" / f"{number:02d}_read", "read"))
            try:
                kept = sum(1 for _ in reader.run())
            except Exception as error:  # noqa: BLE001 whatever it is, it is the finding
                crashed.append(f"{path.name}: {error!r}")
                continue
            entries = list(ledger_rows(raw / "dropped"))
            book = [row for row in entries if row["step"] == "read"]
            read = total(reader.stats.stats["read"].to_dict()) if "read" in reader.stats.stats else 0
            lost = sum(row["lost"] for row in book)
            reasons.update(row["reason"] for row in book)
            counts.update(read=read, kept=kept, skipped=len(book) - lost, lost=lost)
            if read != kept + len(book):
                unbalanced.append(path.name)
            for ledger in (raw / "dropped").glob("*/*.jsonl"):
                ledger.unlink()
    return [
        Row(
            what="dirty archives: crashes; records",
            on=f"warc, {len(files)} files",
            value=f"{len(crashed)} crashes; " + ", ".join(f"{name} {n:,}" for name, n in counts.items()),
            bar="0; read = kept + skipped + lost in every file",
            reached=not crashed and not unbalanced,
            beside="; ".join(
                [", ".join(f"{reason} {n}" for reason, n in reasons.most_common()), *crashed, *unbalanced]
            ),
        )
    ]
