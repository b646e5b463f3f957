"""Held-out split and global shuffle, without holding the corpus in memory.

Every document draws a key from the seed and its place. The key alone decides whether it is held out and where it
stands, so neither depends on tasks or workers: tasks deal documents into buckets by key, and each bucket, sorted,
becomes one shard. Near-copies are gone by then, so none stands on both sides.
"""

import hashlib
import json
from pathlib import Path

import pyarrow as pa
from datatrove.data import Document, DocumentsPipeline
from datatrove.pipeline.base import PipelineStep
from datatrove.pipeline.readers.parquet import ParquetReader
from datatrove.pipeline.writers.parquet import ParquetWriter

BYTES_A_TOKEN = 4  # of English text under a vocabulary of some 10^4 and more

TEXTS = ("id", "text", "source", "language", "url", "licence", "scores")
CLEAN = pa.schema([("place", pa.int64()), *((name, pa.string()) for name in TEXTS)])
FINAL = pa.schema(
    [*((name, pa.string()) for name in TEXTS[:-1]), ("token_estimate", pa.int64()), ("scores", pa.string())]
)


def clean_row(writer: ParquetWriter, document: Document) -> dict[str, object]:
    """A document between two passes."""
    meta = document.metadata
    return {
        "place": meta["place"],
        "id": document.id,
        "text": document.text,
        "source": meta["source"],
        "language": meta.get("language", ""),
        "url": meta["url"],
        "licence": meta["licence"],
        "scores": meta["scores"] if isinstance(meta.get("scores"), str) else json.dumps(meta.get("scores", {})),
    }


def final_row(writer: ParquetWriter, document: Document) -> dict[str, object]:
    """A document as the corpus holds it. token_estimate: UTF-8 bytes / 4, for sizing a run before a tokenizer is."""
    row = clean_row(writer, document)
    del row["place"]
    row["token_estimate"] = max(1, round(len(document.text.encode("utf-8")) / BYTES_A_TOKEN))
    return row


def writer(folder: Path, filename: str, final: bool) -> ParquetWriter:
    """A Parquet writer of one of the two schemas."""
    step = ParquetWriter(
        str(folder),
        output_filename=filename,
        compression="zstd",
        adapter=final_row if final else clean_row,
        schema=FINAL if final else CLEAN,
        max_file_size=-1,
    )
    step.name = step.stats.name = "write"
    return step


def reader(folder: Path) -> ParquetReader:
    """Reads what `writer` wrote; the columns come back as metadata."""
    step = ParquetReader(str(folder), glob_pattern="*.parquet")
    step.name = step.stats.name = "reread"
    return step


def draw(seed: int, place: int) -> tuple[float, int]:
    """(a number in [0, 1) that decides the split, a 64-bit number that decides the order)."""
    digest = hashlib.blake2b(f"{seed}/shuffle/{place}".encode(), digest_size=16).digest()
    return int.from_bytes(digest[:7], "big") / 2**56, int.from_bytes(digest[8:], "big")


class Deal(PipelineStep):
    """Names each document's bucket: `heldout`, or the number of its training shard. ends: cuts the last share of every
    document's characters off and holds that out; the rest of each, one character at least, is trained on."""

    type = "shuffle"
    name = "deal"

    def __init__(self, seed: int, heldout_share: float, shards: int, ends: bool = False) -> None:
        super().__init__()
        self.seed = seed
        self.heldout_share = heldout_share
        self.ends = ends
        self.shards = shards

    def run(self, data: DocumentsPipeline, rank: int = 0, world_size: int = 1) -> DocumentsPipeline:
        """Sets metadata["bucket"], which the writer's file name takes up."""
        for doc in data:
            split, order = draw(self.seed, doc.metadata["place"])
            shard = f"{order * self.shards >> 64:05d}"
            if not self.ends:
                doc.metadata["bucket"] = "heldout" if split < self.heldout_share else shard
                yield doc
                continue
            cut = int(len(doc.text) * (1 - self.heldout_share)) or len(doc.text)
            if end := doc.text[cut:]:
                yield Document(text=end, id=doc.id, metadata={**doc.metadata, "bucket": "heldout"})
            doc.text = doc.text[:cut]
            doc.metadata["bucket"] = shard
            yield doc


class Gather(PipelineStep):
    """Gives the documents of this task's buckets, each bucket in its final order, and counts them by split."""

    type = "shuffle"
    name = "order"

    def __init__(self, folder: Path, buckets: tuple[str, ...], seed: int) -> None:
        super().__init__()
        self.folder = folder
        self.buckets = buckets
        self.seed = seed

    def run(self, data: DocumentsPipeline, rank: int = 0, world_size: int = 1) -> DocumentsPipeline:
        """Reads one bucket at a time; memory is one shard's."""
        for bucket in self.buckets[rank::world_size]:
            docs = list(reader(self.folder / bucket).run())
            docs.sort(key=lambda doc: (draw(self.seed, doc.metadata["place"])[1], doc.metadata["place"]))
            for doc in docs:
                split = "heldout" if bucket == "heldout" else "train"
                doc.metadata["shard"] = "heldout/00000" if bucket == "heldout" else f"train/{bucket}"
                self.stat_update("kept", split)
                self.stat_update("bytes", value=len(doc.text.encode("utf-8")))
                yield doc
