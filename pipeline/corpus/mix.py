"""Mixing: how often each source's documents stand in the corpus, and one name for each document.

A source of weight 0.25 gives each document with that chance, one of weight 2.5 gives it twice or three times, by a
draw from the seed and the document's place: neither tasks nor workers change it. What is held out is never repeated.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from datatrove.data import Document, DocumentsPipeline
from datatrove.pipeline.base import PipelineStep

from pipeline.corpus.shuffle import draw
from pipeline.corpus.spill import batches
from pipeline.corpus.step import Ledger, from_place


class Mix(PipelineStep):
    """Repeats documents, or drops them for the reason "weight". weights: by the source's name."""

    type = "mix"
    name = "mix"

    def __init__(self, weights: dict[str, float], heldout_share: float, seed: int, ledger: Ledger) -> None:
        super().__init__()
        self.weights = weights
        self.heldout_share = heldout_share
        self.seed = seed
        self.ledger = ledger

    def times(self, source: str, place: int) -> int:
        """How often a document is to stand in the corpus."""
        whole, part = divmod(self.weights[source], 1)
        digest = hashlib.blake2b(f"{self.seed}/mix/{place}".encode(), digest_size=7).digest()
        times = int(whole) + (int.from_bytes(digest, "big") / 2**56 < part)
        held_out = draw(self.seed, place)[0] < self.heldout_share
        return min(times, 1) if held_out else times

    def run(self, data: DocumentsPipeline, rank: int = 0, world_size: int = 1) -> DocumentsPipeline:
        """Gives each document as often as it is to stand; metadata["copy"] counts from 0."""
        with self.ledger:
            for doc in data:
                times = self.times(doc.metadata["source"], doc.metadata["place"])
                if times == 0:
                    doc.metadata["filter_reason"] = "weight"
                    self.ledger.write(doc, rank)
                    continue
                self.stat_update("repeated", value=times - 1)
                for copy in range(times):
                    yield Document(doc.text, doc.id, metadata={**doc.metadata, "copy": copy})


class UniqueIds(PipelineStep):
    """Gives a document whose id an earlier one has a name of its own: `<id>#<source>.<file>.<record>`, by number."""

    type = "mix"
    name = "ids"

    def __init__(self, renamed: Path) -> None:
        super().__init__()
        self.renamed = renamed

    def run(self, data: DocumentsPipeline, rank: int = 0, world_size: int = 1) -> DocumentsPipeline:
        """Edits ids in place and counts them."""
        places = set(np.load(self.renamed).tolist())
        for doc in data:
            if doc.metadata["place"] in places:
                doc.id = f"{doc.id}#{'.'.join(map(str, from_place(doc.metadata['place'])))}"
                self.stat_update("edited_duplicate_id")
            yield doc


def duplicate_ids(folder: Path) -> Any:
    """The places of all documents below a folder whose id stands at an earlier place, sorted (int64).

    Takes 16 bytes a document: 64 bits of the id's hash, and the place.
    """
    hashes, places = [], []
    for ids, found in _ids(folder):
        digests = b"".join(hashlib.blake2b(name.encode(), digest_size=8).digest() for name in ids)
        hashes.append(np.frombuffer(digests, dtype=np.uint64))
        places.append(found)
    every, where = np.concatenate([np.empty(0, np.uint64), *hashes]), np.concatenate([np.empty(0, np.int64), *places])
    order = np.lexsort((where, every))
    again = np.flatnonzero(every[order][1:] == every[order][:-1]) + 1
    return np.sort(where[order][again])


def _ids(folder: Path) -> Iterator[tuple[list[str], Any]]:
    for path in sorted(folder.rglob("*.parquet")):
        for batch in batches(path, ("id", "place")):
            yield batch["id"].to_pylist(), batch["place"].to_numpy()
