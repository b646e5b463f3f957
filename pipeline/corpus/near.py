"""Duplicates: equal addresses, exact copies by a hash of the text, near-copies by MinHash and a check.

Signatures (rensa's RMinHash, Rust, 12,000 documents/s against 200 of datatrove's with its own tokenizer) are written
by the cleaning tasks, `signatures/<rank>.npy`, 536 bytes a document, which `removals` holds in memory. It bands them,
checks each candidate pair by the exact Jaccard similarity of word 5-grams (8 bytes a word of the documents that are in
a pair), and keeps of every cluster the document that was read first. So a pair below the threshold is never merged by
chance, which plain 14 x 8 banding does to 2 to 5 % of pairs at similarity 0.4 to 0.5.
"""

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit

import numpy as np
from datatrove.data import Document, DocumentsPipeline
from datatrove.pipeline.base import PipelineStep
from rensa import RMinHash

from pipeline.corpus.recipe import Dedup
from pipeline.corpus.spill import batches
from pipeline.corpus.step import Ledger, Step
from pipeline.corpus.words import ngrams
from pipeline.words import normal_words

SHINGLE = 5  # words
PERMUTATIONS = 128
SEED = 20  # of the permutations; a constant, since only the exact check decides
BATCH = 1_000  # documents whose shingles are held at once
CROWD = 64  # members of one bucket that are compared pair by pair; later ones with these only
MISSED = 0.01  # share of pairs right at the threshold that banding may miss
ESTIMATE_SLACK = 0.2  # how far below the threshold the signatures' estimate may lie for an exact check

ROW = np.dtype(
    [("place", np.int64), ("exact", np.uint64), ("url", np.uint64), ("signature", np.uint32, (PERMUTATIONS,))]
)
# Parameters that say where a reader came from, not what the page holds.
TRACKING = re.compile(r"utm_\w+|fbclid|gclid|msclkid|mc_[ce]id|ref_src|igshid")


def banding(threshold: float) -> tuple[int, int]:
    """(bands, rows a band): the most rows with which at most MISSED of the pairs at the threshold share no band."""
    for rows in range(16, 0, -1):
        bands = PERMUTATIONS // rows
        if (1 - threshold**rows) ** bands <= MISSED:
            return bands, rows
    return PERMUTATIONS, 1


def hash64(text: str) -> int:
    """64 bits of a text, the same in every process."""
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=8).digest(), "big")


def same_text(text: str) -> int:
    """64 bits that are equal for texts equal but for layout: white space, and how accents are encoded (NFC).

    Case and punctuation count: `a + b` is no copy of `a - b`. A text of the same words in another case is a near-copy.
    """
    return hash64(" ".join((text if text.isascii() else unicodedata.normalize("NFC", text)).split()))


def normal_url(url: str) -> str:
    """The address without what does not change the page: scheme, "www.", fragment, tracking, order of parameters."""
    try:
        parts = urlsplit(url.strip())
        host = (parts.hostname or "").removeprefix("www.")
        port = f":{parts.port}" if parts.port not in (None, 80, 443) else ""
    except ValueError:  # a port or an IPv6 host that is none
        return url
    kept = [pair for pair in parse_qsl(parts.query, keep_blank_values=True) if not TRACKING.fullmatch(pair[0])]
    query = f"?{urlencode(sorted(kept))}" if kept else ""
    return f"{host}{port}{parts.path.rstrip('/')}{query}" if host else url


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
            rows["exact"] = [same_text(doc.text) for doc in batch]
            rows["url"] = [hash64(normal_url(url)) if (url := doc.metadata.get("url")) else 0 for doc in batch]
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
    """The groups of two and more positions that hold the same key, each ascending."""
    order = np.argsort(keys, kind="stable")
    bounds = np.flatnonzero(np.diff(keys[order])) + 1
    starts, ends = np.r_[0, bounds], np.r_[bounds, len(keys)]
    for start, end in zip(starts[ends - starts > 1], ends[ends - starts > 1], strict=True):
        yield order[start:end]


def crowd_pairs(group: np.ndarray) -> np.ndarray:
    """(number of pairs, 2): each member with each of the CROWD that come before it, or with the CROWD first."""
    first = group[:CROWD]
    left, right = np.triu_indices(len(first), 1)
    rest = group[CROWD:]
    late = np.stack([np.tile(first, len(rest)), np.repeat(rest, len(first))], axis=1)
    return np.concatenate([np.stack([first[left], first[right]], axis=1), late])


def candidates(signatures: np.ndarray, threshold: float, among: np.ndarray) -> np.ndarray:
    """(number of pairs, 2): pairs (a, b), a < b, that share a band and whose signatures agree well enough, sorted.

    among: the row numbers, ascending, that are compared.

    Agreement estimates similarity with a standard error of at most 0.044 (128 permutations), so ESTIMATE_SLACK = 0.2
    below the threshold loses next to no true pair and spares most exact checks.
    """
    bands, rows = banding(threshold)
    multipliers = np.random.default_rng(SEED).integers(1, 2**63, size=rows, dtype=np.uint64) | np.uint64(1)
    found = [np.empty((0, 2), dtype=np.int64)]
    for band in range(bands):
        # One 64-bit number a band; two bands that differ get the same one once in 2^64, and the check would say no.
        keys = (signatures[among, band * rows : (band + 1) * rows] * multipliers).sum(axis=1, dtype=np.uint64)
        pairs = [crowd_pairs(among[group]) for group in equal_groups(keys)]
        if not pairs:
            continue
        block = np.concatenate(pairs)
        for start in range(0, len(block), 100_000):
            part = block[start : start + 100_000]
            agree = (signatures[part[:, 0]] == signatures[part[:, 1]]).mean(axis=1)
            found.append(part[agree >= threshold - ESTIMATE_SLACK])
    return np.unique(np.concatenate(found), axis=0)


def shingles(text: str) -> np.ndarray:
    """The distinct word 5-grams as sorted 64-bit numbers (Python's own hash: good within one process only)."""
    grams = ngrams(normal_words(text), SHINGLE)
    return np.sort(np.fromiter(map(hash, grams), dtype=np.int64, count=len(grams)))


def jaccard(a: np.ndarray, b: np.ndarray) -> float:
    """Similarity of two sets given as sorted numbers; 0 of two empty ones."""
    shared = np.intersect1d(a, b, assume_unique=True).size
    return shared / max(1, a.size + b.size - shared)


def shingles_at(clean: Path, places: Iterable[int]) -> dict[int, np.ndarray]:
    """The word 5-grams of the documents at these places."""
    wanted, found = set(places), {}
    for path in sorted(clean.glob("*.parquet")):
        for batch in batches(path, ("place", "text")):
            for place, text in zip(batch["place"].to_pylist(), batch["text"], strict=True):
                if place in wanted:
                    found[place] = shingles(text.as_py())
    return found


def join_equal(keys: np.ndarray, among: np.ndarray, clusters: Clusters) -> None:
    """Joins those of the rows `among` that have the same key; 0 is no key."""
    numbers = among[keys[among] != 0]
    for group in equal_groups(keys[numbers]):
        for other in numbers[group[1:]]:
            clusters.join(int(numbers[group[0]]), int(other))


def join_near(rows: np.ndarray, clean: Path, threshold: float, among: np.ndarray, clusters: Clusters) -> None:
    """Joins those of the rows `among` whose word 5-grams are as similar as the threshold."""
    pairs = candidates(rows["signature"], threshold, among)
    grams = shingles_at(clean, rows["place"][np.unique(pairs)].tolist())
    for a, b in pairs.tolist():
        if clusters.root(a) != clusters.root(b):
            left, right = (grams[int(rows["place"][index])] for index in (a, b))
            if jaccard(left, right) >= threshold:
                clusters.join(a, b)


def load_rows(signatures: Path) -> np.ndarray:
    """Every task's rows in reading order."""
    rows = np.concatenate([np.load(path) for path in sorted(signatures.glob("*.npy"))])
    return rows[np.argsort(rows["place"], kind="stable")]


def removals(signatures: Path, clean: Path, recipe: Dedup) -> dict[int, tuple[str, int]]:
    """place -> (reason, place of the copy that stays), for every document that is to go.

    Each kind is looked for among what the ones before it left, so that no document goes as the copy of one that goes.
    """
    rows = load_rows(signatures)
    gone: dict[int, tuple[str, int]] = {}
    left = np.arange(len(rows))
    for reason, wanted in (("url_copy", recipe.url), ("exact_copy", recipe.exact), ("near_copy", recipe.near)):
        if not wanted:
            continue
        clusters = Clusters(len(rows))
        if recipe.near is not None and reason == "near_copy":
            join_near(rows, clean, recipe.near, left, clusters)
        else:
            join_equal(rows[reason.removesuffix("_copy")], left, clusters)
        firsts = np.array([clusters.root(index) for index in left.tolist()], dtype=np.int64)
        copies = firsts != left
        for index, first in zip(left[copies].tolist(), firsts[copies].tolist(), strict=True):
            gone[int(rows["place"][index])] = (reason, int(rows["place"][first]))
        left = left[~copies]
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
