"""Documents between two passes: dealt into buckets with one file open at a time, and read a row group at a time.

A task holds rows until they fill a buffer, then appends to the file of each bucket among them an Arrow IPC stream of
its own. So neither its memory nor its open files grow with the buckets, of which a large corpus has thousands.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from datatrove.data import Document, DocumentsPipeline
from datatrove.pipeline.base import PipelineStep

BUFFER = 32_000_000  # characters; what a row costs as Python objects is counted in the same unit
ROW = 2_000  # of it
OPTIONS = pa.ipc.IpcWriteOptions(compression="lz4")  # streams of three rows: in a seventh of zstd's time


class Spill(PipelineStep):
    """Writes each document to `<folder>/<metadata["bucket"]>/<rank>.arrows`.

    row: a document as a row of `schema`.
    """

    type = "writer"
    name = "write"

    def __init__(self, folder: Path, schema: pa.Schema, row: Callable[[Document], dict[str, Any]]) -> None:
        super().__init__()
        self.folder = folder
        self.schema = schema
        self.row = row

    def run(self, data: DocumentsPipeline, rank: int = 0, world_size: int = 1) -> DocumentsPipeline:
        """Passes the documents on."""
        name = f"{rank:05d}.arrows"
        for left in self.folder.glob(f"*/{name}"):  # by a run that was killed: this one would append to it
            left.unlink()
        held: dict[str, list[dict[str, Any]]] = {}
        size = 0
        for doc in data:
            with self.track_time():
                held.setdefault(doc.metadata["bucket"], []).append(self.row(doc))
                size += len(doc.text) + ROW
                if size >= BUFFER:
                    self.append(held, name)
                    held, size = {}, 0
            yield doc
        with self.track_time():
            self.append(held, name)

    def append(self, held: dict[str, list[dict[str, Any]]], name: str) -> None:
        """One stream a bucket, at the end of its file."""
        for bucket, rows in held.items():
            path = self.folder / bucket / name
            path.parent.mkdir(exist_ok=True)
            with path.open("ab") as file, pa.ipc.new_stream(file, self.schema, options=OPTIONS) as stream:
                stream.write_batch(pa.RecordBatch.from_pylist(rows, schema=self.schema))


def rows(bucket: Path) -> Iterator[dict[str, Any]]:
    """Every row of a bucket."""
    for path in sorted(bucket.glob("*.arrows")):
        with pa.OSFile(str(path)) as file:
            while file.tell() < file.size():
                with pa.ipc.open_stream(file) as stream:
                    for batch in stream:
                        yield from batch.to_pylist()


def batches(path: Path, columns: tuple[str, ...] | None = None) -> Iterator[pa.RecordBatch]:
    """The row groups of a Parquet file; `iter_batches` over the whole file keeps every byte that it has read."""
    with pq.ParquetFile(path) as file:
        for number in range(file.num_row_groups):
            yield from file.iter_batches(row_groups=[number], columns=columns)
