"""The reader: raw files of every form become datatrove documents; what cannot be read is counted, not passed over.

It is datatrove's BaseDiskReader with readings of our own, because on dirty input (measured on datatrove 0.10.1)
JsonlReader dies on a line that holds no object, drops the rest of a file at the first invalid byte and raises on a cut
.gz; WarcReader needs libmagic, and of a cut WARC gives what it got without a word. Files are shared out among tasks;
where there are fewer files than tasks, several tasks read one file and take every n-th record.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from datatrove.data import Document, DocumentsPipeline
from datatrove.pipeline.readers.base import BaseDiskReader

from pipeline.corpus import archives, rows, single
from pipeline.corpus.nesting import too_deep
from pipeline.corpus.record import MAX_DOCUMENT, Parsed, Record, Refused, Skipped
from pipeline.corpus.sources import Source
from pipeline.corpus.step import Ledger, place, reading
from pipeline.formats import ARCHIVES, form


def step_name(source: Source) -> str:
    """What the funnel calls the reading of a source; also a folder's name."""
    return "read " + source.name.replace("/", "-")


class Reader(BaseDiskReader):
    """Reads one source. limit: bytes of the longest document. log: where each task notes which file it reads."""

    def __init__(self, source: Source, ledger: Ledger, limit: int = MAX_DOCUMENT, log: Path | None = None) -> None:
        self.name = step_name(source)
        super().__init__(str(source.folder), add_file_path=False)
        self.source = source
        self.ledger = ledger
        self.limit = limit
        self.log = log

    def records(self, name: str) -> Iterator[Record]:
        """A file's records in their order."""
        path, columns = self.source.folder / name, self.source.columns
        suffix = form(name).suffix
        if suffix in ARCHIVES:
            return archives.records(path, self.limit)
        if suffix in (".jsonl", ".ndjson"):
            return rows.json_lines(path, self.limit, columns)
        if suffix in (".csv", ".tsv"):
            return rows.separated(path, self.limit, columns)
        if suffix == ".parquet":
            return rows.parquet(path, self.limit, columns)
        return single.records(path, name, self.limit)

    def parsed(self, name: str, first: int = 0, stride: int = 1) -> Iterator[tuple[int, Parsed]]:
        """Every stride-th document of a file from `first` on, with its number; counts what is passed over."""
        number = 0
        for record in self.records(name):
            if isinstance(record, Skipped):
                if first == 0:
                    self.stat_update(f"skipped_{record.kind}")
                continue
            if number % stride == first:
                with self.track_time():
                    found = record if isinstance(record, Refused) else checked(record())
                yield number, found
            number += 1

    def read_file(self, filepath: str) -> DocumentsPipeline:
        """The documents of one file, unshared."""
        yield from self.part(self.source.files.index(filepath), 0, 1, 0)

    def run(self, data: DocumentsPipeline = None, rank: int = 0, world_size: int = 1) -> DocumentsPipeline:
        """This task's share of the source."""
        if data:
            yield from data
        stride = -(-world_size // len(self.source.files))
        parts = [(file, first) for file in range(len(self.source.files)) for first in range(stride)]
        with self.ledger:
            for file, first in parts[rank::world_size]:
                yield from self.part(file, first, stride, rank)

    def part(self, file: int, first: int, stride: int, rank: int) -> DocumentsPipeline:
        """Every stride-th document of a file from `first` on."""
        name = self.source.files[file]
        if self.log is not None:
            note = reading(self.log, rank)
            note.parent.mkdir(parents=True, exist_ok=True)
            note.write_text(str(self.source.folder / name), encoding="utf-8")
        for number, parsed in self.parsed(name, first, stride):
            self.stat_update("read")
            metadata: dict[str, Any] = {"place": place(self.source.number, file, number), "source": self.source.name}
            unnamed = f"{name}#{number}"
            if isinstance(parsed, Refused):
                self.refuse(parsed, parsed.id or unnamed, metadata, rank)
                continue
            metadata |= {"licence": self.source.licence, "url": "", "html": False}
            metadata |= {key: parsed[key] for key in ("licence", "url", "html") if key in parsed}
            yield Document(text=parsed["text"], id=parsed["id"] or unnamed, metadata=metadata)

    def refuse(self, refused: Refused, name: str, metadata: dict[str, Any], rank: int) -> None:
        """Enters a record in the ledger, as lost or as dropped."""
        metadata |= {"filter_reason": refused.reason, "lost": refused.lost}
        self.ledger.write(Document(text=refused.text, id=name, metadata=metadata), rank)


def checked(parsed: Parsed) -> Parsed:
    """The document, refused where it is empty or no parser should be given it."""
    if isinstance(parsed, Refused):
        return parsed
    if not parsed["text"].strip():
        return Refused(reason="empty", lost=False, id=parsed["id"])
    if parsed.get("html") and too_deep(parsed["text"]):
        return Refused(reason="too_deep", id=parsed["id"])
    return parsed
