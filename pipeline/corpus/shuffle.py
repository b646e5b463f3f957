"""Held-out split and global shuffle, without holding the corpus in memory.

Every document draws a key from the seed and its place. The key alone decides whether it is held out and where it
stands, so neither depends on tasks or workers: tasks deal documents into buckets by key (spill.py), and each bucket,
sorted, becomes one shard. Near-copies are gone by then, so none stands on both sides (with `dedup.near: null` they
are not, and `split_note` says so).
"""

import hashlib
import json
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
from datatrove.data import Document, DocumentsPipeline
from datatrove.pipeline.base import PipelineStep
from datatrove.pipeline.readers.parquet import ParquetReader
from datatrove.pipeline.writers.parquet import ParquetWriter

from pipeline.corpus import spill

BYTES_A_TOKEN = 4  # of English text under a vocabulary of some 10^4 and more

TEXTS = ("id", "text", "source", "language", "url", "licence", "scores")
CLEAN = pa.schema([("place", pa.int64()), ("copy", pa.int64()), *((name, pa.string()) for name in TEXTS)])
FINAL = pa.schema(
    [*((name, pa.string()) for name in TEXTS[:-1]), ("token_estimate", pa.int64()), ("scores", pa.string())]
)


def clean_row(document: Document) -> dict[str, Any]:
    """A document between two passes."""
    meta = document.metadata
    return {
        "place": meta["place"],
        "copy": meta.get("copy", 0),
        "id": document.id,
        "text": document.text,
        "source": meta["source"],
        "language": meta.get("language", ""),
        "url": meta["url"],
        "licence": meta["licence"],
        "scores": meta["scores"] if isinstance(meta.get("scores"), str) else json.dumps(meta.get("scores", {})),
    }


def document(row: dict[str, Any]) -> Document:
    """What `clean_row` was made from."""
    return Document(row.pop("text"), row.pop("id"), metadata=row)


def final_row(document: Document) -> dict[str, Any]:
    """A document as the corpus holds it. token_estimate: UTF-8 bytes / 4, for sizing a run before a tokenizer is."""
    row = clean_row(document)
    del row["place"], row["copy"]
    row["token_estimate"] = max(1, round(len(document.text.encode("utf-8")) / BYTES_A_TOKEN))
    return row


class OneFile(ParquetWriter):
    """datatrove's keeps every file open until the task ends; here one is closed when the next begins."""

    def _write(self, document: dict[str, Any], file_handler: IO, filename: str) -> None:
        for other in [name for name in self._writers if name != filename]:
            self.close_file(other)
        super()._write(document, file_handler, filename)


def writer(folder: Path, filename: str, final: bool) -> ParquetWriter:
    """A Parquet writer of one of the two schemas."""
    row = final_row if final else clean_row
    step = OneFile(
        str(folder),
        output_filename=filename,
        compression="zstd",
        adapter=lambda _, document: row(document),
        schema=FINAL if final else CLEAN,
        max_file_size=-1,
    )
    step.name = step.stats.name = "write"
    return step


class GroupReader(ParquetReader):
    """datatrove's holds a whole file's compressed bytes by its end; here it is one row group's."""

    def read_file(self, filepath: str) -> DocumentsPipeline:
        """The documents of a file."""
        for batch in spill.batches(Path(self.data_folder.resolve_paths(filepath))):
            with self.track_time("batch"):
                docs = [document(row) for row in batch.to_pylist()]
            yield from docs


def reader(folder: Path) -> ParquetReader:
    """Reads what `writer` wrote; the columns come back as metadata."""
    step = GroupReader(str(folder), glob_pattern="*.parquet")
    step.name = step.stats.name = "reread"
    return step


def draw(seed: int, place: int, copy: int = 0) -> tuple[float, int]:
    """(a number in [0, 1) that decides the split, a 64-bit number that decides the order) of a document's copy."""
    name = f"{seed}/shuffle/{place}/{copy}" if copy else f"{seed}/shuffle/{place}"
    digest = hashlib.blake2b(name.encode(), digest_size=16).digest()
    return int.from_bytes(digest[:7], "big") / 2**56, int.from_bytes(digest[8:], "big")


class Deal(PipelineStep):
    """Names each document's bucket: its split, and the number of its shard there. ends: cuts the last share of every
    document's characters off and holds that out; the rest of each, one character at least, is trained on."""

    type = "shuffle"
    name = "deal"

    def __init__(self, seed: int, heldout_share: float, shards: dict[str, int], ends: bool = False) -> None:
        super().__init__()
        self.seed = seed
        self.heldout_share = heldout_share
        self.ends = ends
        self.shards = shards

    def run(self, data: DocumentsPipeline, rank: int = 0, world_size: int = 1) -> DocumentsPipeline:
        """Sets metadata["bucket"], by which the documents are written."""
        for doc in data:
            place, copy = doc.metadata["place"], doc.metadata.get("copy", 0)
            share, order = draw(self.seed, place)[0], draw(self.seed, place, copy)[1]
            split = "heldout" if share < self.heldout_share and not self.ends else "train"
            doc.metadata["bucket"] = self.bucket(split, order)
            if self.ends:
                cut = int(len(doc.text) * (1 - self.heldout_share)) or len(doc.text)
                # The copies that a weight makes are trained on; their end is held out once.
                if (end := doc.text[cut:]) and copy == 0:
                    held_out = {**doc.metadata, "bucket": self.bucket("heldout", order)}
                    yield Document(text=end, id=doc.id, metadata=held_out)
                doc.text = doc.text[:cut]
            yield doc

    def bucket(self, split: str, order: int) -> str:
        """The split, and the number of the shard there."""
        return f"{split}-{order * self.shards[split] >> 64:05d}"


class Gather(PipelineStep):
    """Gives the documents of this task's buckets, each bucket in its final order, and counts them by split."""

    type = "shuffle"
    name = "order"

    def __init__(self, folder: Path, buckets: tuple[str, ...], seed: int) -> None:
        super().__init__()
        self.folder = folder
        self.buckets = buckets
        self.seed = seed

    def position(self, doc: Document) -> tuple[int, int, int]:
        """Where a document stands in the final order."""
        place, copy = doc.metadata["place"], doc.metadata["copy"]
        return draw(self.seed, place, copy)[1], place, copy

    def run(self, data: DocumentsPipeline, rank: int = 0, world_size: int = 1) -> DocumentsPipeline:
        """Reads one bucket at a time; memory is one shard's."""
        for bucket in self.buckets[rank::world_size]:
            docs = [document(row) for row in spill.rows(self.folder / bucket)]
            docs.sort(key=self.position)
            split, _, shard = bucket.partition("-")
            for doc in docs:
                doc.metadata["shard"] = f"{split}/{shard}"
                self.stat_update("kept", split)
                self.stat_update("bytes", value=len(doc.text.encode("utf-8")))
                yield doc
