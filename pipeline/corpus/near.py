"""Duplicates: exact copies by a hash of the normalised words, near-copies by MinHash and an exact check.

Signatures (rensa's RMinHash, Rust, 12,000 documents/s against 200 of datatrove's with its own tokenizer) are written
by the cleaning tasks, `signatures/<rank>.npy`. `removals` then bands them, checks each candidate pair by the exact
Jaccard similarity of word 5-grams, and keeps of every cluster the document that was read first. So a pair below the
threshold is never merged by chance, which plain 14 x 8 banding does to 2 to 5 % of pairs at similarity 0.4 to 0.5.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import combinations
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from datatrove.data import Document, DocumentsPipeline
from datatrove.pipeline.base import PipelineStep
from rensa import RMinHash

from pipeline.corpus.step import Ledger, Step
from pipeline.corpus.words import ngrams, normal_words

SHINGLE = 5  # words
PERMUTATIONS = 128
SEED = 20  # of the permutations; a constant, since only the exact check decides
BATCH = 1_000  # documents whose shingles are held at once
CROWD = 64  # members of one bucket that are compared pair by pair; later ones with these only
MISSED = 0.01  # share of pairs right at the threshold that banding may miss
ESTIMATE_SLACK = 0.2  # how far below the threshold the signatures' estimate may lie for an exact check

ROW = np.dtype([("place", np.int64), ("exact", np.uint64), ("signature", np.uint32, (PERMUTATIONS,))])


def banding(threshold: float) -> tuple[int, int]:
    """(bands, rows a band): the most rows with which at most MISSED of the pairs at the threshold share no band."""
    for rows in range(16, 0, -1):
        bands = PERMUTATIONS // rows
        if (1 - threshold**rows) ** bands <= MISSED:
            return bands, rows
    return PERMUTATIONS, 1


def exact_hash(words: tuple[str, ...]) -> int:
    """64 bits of the normalised words."""
    return int.from_bytes(hashlib.blake2b(" ".join(words).encode(), digest_size=8).digest(), "big")


class Signatures(PipelineStep):
    """Passes documents through and writes a row for each: place, exact hash, MinHash signature."""

    type = "dedup"
    name = "signatures"

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    def run(self, data: DocumentsPipeline, rank: int = 0, world_size: int = 1) -> DocumentsPipeline:
        """Writes the file when the task's last document has passed."""
        blocks: list[np.ndarray] = []
        batch: list[Document] = []
        for doc in data:
            batch.append(doc)
            if len(batch) == BATCH:
                blocks.append(self.rows(batch))
                batch = []
            yield doc
        blocks.append(self.rows(batch))
        part = self.folder / f"{rank:05d}.tmp"
        with part.open("wb") as file:
            np.save(file, np.concatenate(blocks))
        part.replace(self.folder / f"{rank:05d}.npy")

    def rows(self, batch: list[Document]) -> np.ndarray:
        """The documents' rows."""
        rows = np.zeros(len(batch), dtype=ROW)
        if not batch:
            return rows
        with self.track_time("batch"):
            words = [normal_words(doc.text) for doc in batch]
            rows["place"] = [doc.metadata["place"] for doc in batch]
            rows["exact"] = [exact_hash(found) for found in words]
            # sorted: sets of strings come in another order in every process
            shingles = [sorted(ngrams(found, SHINGLE)) for found in words]
            digests = RMinHash.digests_from_token_sets(shingles, PERMUTATIONS, SEED)
            rows["signature"] = np.asarray(digests, dtype=np.uint32)
        return rows


class Clusters:
    """Union-find over row numbers; the root of a cluster is its smallest number."""

    def __init__(self, size: int) -> None:
        self.parent = list(range(size))

    def root(self, item: int) -> int:
        """The cluster's first member."""
        while self.parent[item] != item:
            self.parent[item] = self.parent[self.parent[item]]
            item = self.parent[item]
        return item

    def join(self, a: int, b: int) -> None:
        """Makes one cluster of two."""
        a, b = sorted((self.root(a), self.root(b)))
        self.parent[b] = a


def equal_groups(keys: np.ndarray) -> Iterator[np.ndarray]:
    """The indices of equal keys, for every key that stands more than once; each group ascending."""
    order = np.argsort(keys, kind="stable")
    bounds = np.flatnonzero(keys[order][1:] != keys[order][:-1]) + 1
    for group in np.split(order, bounds):
        if len(group) > 1:
            yield group


def candidates(signatures: np.ndarray, threshold: float) -> list[tuple[int, int]]:
    """Pairs that share a band and whose signatures' estimate is not far below the threshold."""
    bands, rows = banding(threshold)
    pairs: set[tuple[int, int]] = set()
    for band in range(bands):
        columns = np.ascontiguousarray(signatures[:, band * rows : (band + 1) * rows])
        keys = columns.view(np.dtype((np.void, columns.dtype.itemsize * rows))).ravel()
        _, numbers = np.unique(keys, return_inverse=True)
        for group in equal_groups(numbers):
            crowd = [int(i) for i in group[:CROWD]]
            pairs.update(combinations(crowd, 2))
            pairs.update((a, int(b)) for b in group[CROWD:] for a in crowd)
    ordered = np.array(sorted(pairs), dtype=np.int64).reshape(-1, 2)
    keep = np.zeros(len(ordered), dtype=bool)
    for start in range(0, len(ordered), 100_000):
        left, right = signatures[ordered[start : start + 100_000]].transpose(1, 0, 2)
        keep[start : start + 100_000] = (left == right).mean(axis=1) >= threshold - ESTIMATE_SLACK
    return [(int(a), int(b)) for a, b in ordered[keep]]


def shingles_at(clean: Path, places: Iterable[int]) -> dict[int, set[str]]:
    """The word 5-grams of the documents at these places."""
    wanted, found = set(places), {}
    for path in sorted(clean.glob("*.parquet")):
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(columns=["place", "text"]):
                for place, text in zip(batch["place"].to_pylist(), batch["text"].to_pylist(), strict=True):
                    if place in wanted:
                        found[place] = ngrams(normal_words(text), SHINGLE)
    return found


def removals(signatures: Path, clean: Path, exact: bool, threshold: float | None) -> dict[int, tuple[str, int]]:
    """place -> (reason, place of the copy that stays), for every document that is to go."""
    rows = np.concatenate([np.load(path) for path in sorted(signatures.glob("*.npy"))])
    rows = rows[np.argsort(rows["place"], kind="stable")]
    same, near = Clusters(len(rows)), Clusters(len(rows))
    for group in equal_groups(rows["exact"]) if exact else ():
        for other in group[1:]:
            same.join(int(group[0]), int(other))
    if threshold is not None:
        firsts = np.array([i for i in range(len(rows)) if same.root(i) == i], dtype=np.int64)
        pairs = [(int(firsts[a]), int(firsts[b])) for a, b in candidates(rows["signature"][firsts], threshold)]
        grams = shingles_at(clean, {int(rows["place"][i]) for pair in pairs for i in pair})
        for a, b in pairs:
            if near.root(a) != near.root(b):
                left, right = grams[int(rows["place"][a])], grams[int(rows["place"][b])]
                if len(left & right) >= threshold * len(left | right):
                    near.join(a, b)
    gone: dict[int, tuple[str, int]] = {}
    for index in range(len(rows)):
        first = near.root(same.root(index))
        if first != index:
            reason = "exact_copy" if same.root(index) != index else "near_copy"
            gone[int(rows["place"][index])] = (reason, int(rows["place"][first]))
    return gone


class DropCopies(Step):
    """Drops the documents that `removals` named; reads them from `removals.npz`."""

    name = "dedup"

    def __init__(self, path: Path, ledger: Ledger) -> None:
        super().__init__(ledger)
        self.path = path

    def run(self, data: DocumentsPipeline, rank: int = 0, world_size: int = 1) -> DocumentsPipeline:
        """Loads the list once a task."""
        with np.load(self.path) as found:
            self.gone = dict(zip(found["place"].tolist(), found["reason"].tolist(), strict=True))
        yield from super().run(data, rank, world_size)

    def filter(self, doc: Document) -> bool | tuple[bool, str]:
        """Whether this copy stays."""
        reason = self.gone.get(doc.metadata["place"])
        return True if reason is None else (False, reason)


def write_removals(gone: dict[int, tuple[str, int]], path: Path) -> None:
    """Places and reasons for the tasks that drop."""
    np.savez(
        path,
        place=np.array(sorted(gone), dtype=np.int64),
        reason=np.array([gone[place][0] for place in sorted(gone)], dtype="U16"),
    )


def by_reason(gone: dict[int, tuple[str, int]]) -> dict[str, int]:
    """How many go for each reason."""
    counts: dict[str, int] = defaultdict(int)
    for reason, _ in gone.values():
        counts[reason] += 1
    return dict(counts)
