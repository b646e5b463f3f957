"""Passages repeated across documents: a line that many share is a template's, and stays in the first only.

The cleaning tasks note every line of MIN_WORDS words and more, 16 bytes each, in `passages/`; one process counts in
how many documents each stands, copies left out; the dealing tasks cut them. As in CCNet (1911.00359), but only from so
many documents on: two that quote the same sentence may both be right.
"""

from array import array
from functools import cache
from pathlib import Path

import numpy as np
from datatrove.data import Document, DocumentsPipeline
from datatrove.pipeline.base import PipelineStep

from pipeline.corpus.near import hash64
from pipeline.corpus.step import Ledger, Step
from pipeline.words import normal_words

MIN_WORDS = 8
ROW = np.dtype([("passage", np.uint64), ("place", np.int64)])


def key(line: str) -> int:
    """64 bits of a line's normalised words; 0 of a line too short to count."""
    words = normal_words(line)
    return hash64(" ".join(words)) if len(words) >= MIN_WORDS else 0


class Notes(PipelineStep):
    """Passes documents through and writes a row for each of their lines."""

    type = "dedup"
    name = "passage notes"

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    def run(self, data: DocumentsPipeline, rank: int = 0, world_size: int = 1) -> DocumentsPipeline:
        """Writes the file when the task's last document has passed."""
        passages, places = array("Q"), array("q")  # 16 bytes a line, where two Python numbers take over a hundred
        for doc in data:
            with self.track_time():
                keys = {key(line) for line in doc.text.split("\n")} - {0}
                passages.extend(keys)
                places.extend([doc.metadata["place"]] * len(keys))
            yield doc
        rows = np.empty(len(passages), dtype=ROW)
        rows["passage"], rows["place"] = passages, places
        part = self.folder / f"{rank:05d}.tmp"
        with part.open("wb") as file:
            np.save(file, rows)
        part.replace(self.folder / f"{rank:05d}.npy")


def repeated(folder: Path, gone: np.ndarray, least: int) -> np.ndarray:
    """ROWs sorted by passage: those that stand in `least` documents and more, with the place of the first.

    gone: the places of documents that are dropped as copies.
    """
    rows = np.concatenate([np.load(path) for path in sorted(folder.glob("*.npy"))])
    rows = rows[~np.isin(rows["place"], gone)]
    rows = rows[np.lexsort((rows["place"], rows["passage"]))]
    _, firsts, counts = np.unique(rows["passage"], return_index=True, return_counts=True)
    return rows[firsts[counts >= least]]


@cache
def load(path: Path) -> dict[int, int]:
    """passage -> place of its first document, loaded once a process."""
    rows = np.load(path)
    return dict(zip(rows["passage"].tolist(), rows["place"].tolist(), strict=True))


class DropRepeated(Step):
    """Cuts the passages out of every document but the first; drops one that was nothing else."""

    name = "passages across"

    def __init__(self, path: Path, ledger: Ledger) -> None:
        super().__init__(ledger)
        self.path = path

    def filter(self, doc: Document) -> bool | tuple[bool, str]:
        """Edits in place."""
        first, place = load(self.path), doc.metadata["place"]
        lines = doc.text.split("\n")
        kept = [line for line in lines if first.get(key(line), place) == place]
        if len(kept) < len(lines):
            self.edited("passage", len(lines) - len(kept))
            doc.text = "\n".join(kept).strip()
        return True if doc.text else (False, "repeated_only")
