"""The base of this room's own steps, and the ledger in which every dropped or unreadable document is written.

datatrove's filters take an exclusion writer each; ours is a ledger folder a step, `<number>_<name>/<rank>.jsonl`, in
reading order. So nothing vanishes: read = kept + dropped by reason + lost is checked at the end of a run.
"""

import re
from pathlib import Path
from typing import Any

from datatrove.data import Document
from datatrove.pipeline.filters.base_filter import BaseFilter
from datatrove.pipeline.writers.jsonl import JsonlWriter

SAMPLE = 300  # characters of a dropped document that are kept


def slug(reason: str) -> str:
    """A reason as a metric key: "Too few sentences" -> "too_few_sentences"."""
    return re.sub(r"[^a-z0-9]+", "_", reason.lower()).strip("_")


def place(source: int, file: int, record: int) -> int:
    """A document's place in reading order as one 63-bit number; it does not depend on how tasks share the files."""
    assert source < 1 << 8 and file < 1 << 24 and record < 1 << 31, (source, file, record)
    return source << 55 | file << 31 | record


def from_place(place: int) -> tuple[int, int, int]:
    """The numbers of source, file and record that `place` was made from."""
    return place >> 55, place >> 31 & (1 << 24) - 1, place & (1 << 31) - 1


def reading(folder: Path, rank: int) -> Path:
    """Where a task notes which file it reads, below the folder in which datatrove marks completed tasks."""
    return folder / "reading" / f"{rank:05d}"


class Ledger(JsonlWriter):
    """Writes what a step dropped: place, id, reason, a bounded sample of the text."""

    name = "ledger"

    def __init__(self, folder: Path, step: str, lost: bool = False) -> None:
        super().__init__(str(folder), output_filename="${rank}.jsonl", compression=None, adapter=type(self).row)
        self.step = step
        self.lost = lost

    def row(self, document: Document) -> dict[str, Any]:
        """The ledger's line. A filter that gives no reason drops for the step's own name."""
        return {
            "place": document.metadata["place"],
            "id": document.id,
            "reason": slug(document.metadata.get("filter_reason") or self.step),
            "lost": document.metadata.get("lost", False),
            "text": document.text[:SAMPLE],
        }


class Step(BaseFilter):
    """A filter that may also edit the text; edits are counted by kind."""

    def edited(self, kind: str, count: int = 1) -> None:
        """Counts `count` edits of this kind."""
        if count:
            self.stat_update(f"edited_{kind}", value=count)
