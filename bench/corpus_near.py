"""The step of near-copies as `corpus` runs it, on texts in memory, and how similar two texts are by a plain measure.

`run` goes through the same classes and files as the stage: signatures, removals (candidates, exact check, clusters)
and the dropping. `similarity` shares no code with the step: what it says of planted pairs is the yardstick.
"""

import re
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from datatrove.data import Document
from loguru import logger

from pipeline.corpus import near
from pipeline.corpus.recipe import Dedup
from pipeline.corpus.step import Ledger


def similarity(a: str, b: str) -> float:
    """Jaccard similarity of the sets of word 5-grams; 0 for two texts without any.

    A word is a run of letters, digits and underscores in lower case, an apostrophe inside it included.
    """
    first, second = five_grams(a), five_grams(b)
    union = first | second
    return len(first & second) / len(union) if union else 0.0


def five_grams(text: str) -> set[tuple[str, ...]]:
    """The sets that `similarity` compares: of a text of fewer than five words its words as one tuple."""
    words = re.findall(r"[^\W](?:[^\W]|['’](?=[^\W]))*", text.lower())  # noqa: RUF001 the typographic one too
    if len(words) < 5:
        return {tuple(words)} if words else set()
    return {tuple(words[start : start + 5]) for start in range(len(words) - 4)}


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a run of the step gave. gone: number of a text -> (reason, number of the one that stays)."""

    gone: dict[int, tuple[str, int]]
    seconds: dict[str, float]  # of CPU, by part


def documents(texts: Sequence[str]) -> list[Document]:
    """The texts as the stage's documents."""
    return [Document(text=text, id=str(at), metadata={"place": at}) for at, text in enumerate(texts)]


def prepared(texts: Sequence[str], root: Path) -> tuple[Path, Path]:
    """(folder of signatures, still empty; folder of the clean shard, which the stage writes in any case)."""
    signatures, clean = root / "signatures", root / "clean"
    signatures.mkdir()
    clean.mkdir()
    places = pa.array(range(len(texts)), pa.int64())
    pq.write_table(pa.table({"place": places, "text": list(texts)}), clean / "00000.parquet", compression="zstd")
    return signatures, clean


def run(texts: Sequence[str]) -> Found:
    """Signs, finds and drops with the default recipe."""
    logger.disable("datatrove")
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        signatures, clean = prepared(texts, root)
        docs, clock = documents(texts), [time.process_time()]
        for _ in near.Signatures(signatures).run(iter(docs)):
            pass
        clock.append(time.process_time())
        gone = near.removals(signatures, clean, Dedup())
        near.write_removals(gone, root / "removals.npz")
        clock.append(time.process_time())
        kept = list(near.DropCopies(root / "removals.npz", Ledger(root / "dropped", "dedup")).run(iter(docs)))
        clock.append(time.process_time())
    assert len(kept) + len(gone) == len(texts), (len(kept), len(gone), len(texts))
    names = ("signatures", "candidates, check and clusters", "removal")
    return Found(gone=gone, seconds={name: clock[at + 1] - clock[at] for at, name in enumerate(names)})


class EveryPair(near.Clusters):
    """Clusters that never grow: so the step checks every candidate, also one whose two are together already."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.pairs: set[tuple[int, int]] = set()

    def join(self, a: int, b: int) -> None:
        """Notes the pair."""
        self.pairs.add((a, b))


def pairs(texts: Sequence[str]) -> set[tuple[int, int]]:
    """The pairs that the step takes for near-copies, before clustering."""
    threshold = Dedup().near
    assert threshold is not None, "the default recipe looks for near-copies"
    with tempfile.TemporaryDirectory() as temporary:
        signatures, clean = prepared(texts, Path(temporary))
        for _ in near.Signatures(signatures).run(iter(documents(texts))):
            pass
        rows, found = near.load_rows(signatures), EveryPair(len(texts))
        near.join_near(rows, clean, threshold, rows["place"], found)
    return found.pairs
