"""Readers: raw documents of every kind become datatrove documents; what cannot be read is counted, not passed over.

They are datatrove's BaseDiskReader with readings of our own, because on dirty input (measured on datatrove 0.10.1)
JsonlReader dies on a line that holds no object, drops the rest of a file at the first invalid byte and raises on a cut
.gz; WarcReader needs libmagic, and of a cut WARC gives what it got without a word. Files are shared out among tasks;
where there are fewer files than tasks, several tasks read one file and take every n-th record.
"""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from gzip import open as open_gzip
from pathlib import Path
from typing import Any

import orjson
from datatrove.data import Document, DocumentsPipeline
from datatrove.pipeline.readers.base import BaseDiskReader
from resiliparse.parse.encoding import bytes_to_str, detect_encoding
from warcio.archiveiterator import ArchiveIterator
from warcio.exceptions import ArchiveLoadFailed
from warcio.recordloader import ArcWarcRecord

from pipeline.corpus.sources import Source
from pipeline.corpus.step import Ledger, place

PAGES = ("response", "resource", "conversion")  # the WARC records that hold documents
HTML_TYPES = ("text/html", "application/xhtml+xml")
MAX_DOCUMENT = 50_000_000  # bytes; a longer record is no document that a step below could handle


@dataclass(frozen=True, kw_only=True)
class Refused:
    """A record that becomes no document. lost: it could not be read (else: read, but not of our kind)."""

    reason: str
    lost: bool = True
    id: str | None = None
    text: str = ""


Parsed = dict[str, Any] | Refused


def step_name(source: Source) -> str:
    """What the funnel calls the reading of a source; also a folder's name."""
    return "read " + source.name.replace("/", "-")


class Reader(BaseDiskReader):
    """Reads one source. Subclasses give `records` (cheap, in file order) and `parse` (a record's text, id, url)."""

    def __init__(self, source: Source, ledger: Ledger) -> None:
        self.name = step_name(source)
        super().__init__(str(source.folder), add_file_path=False)
        self.source = source
        self.ledger = ledger

    def records(self, path: Path) -> Iterator[Any]:
        """The file's records, or Refused where one cannot be read."""
        raise NotImplementedError

    def parse(self, record: Any, name: str, number: int) -> Parsed:
        """The record as {"text", "id", "html", "url"}."""
        raise NotImplementedError

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
        """Every stride-th record of a file from `first` on."""
        name = self.source.files[file]
        for number, record in enumerate(self.records(self.source.folder / name)):
            if number % stride != first:
                continue
            self.stat_update("read")
            with self.track_time():
                parsed = record if isinstance(record, Refused) else self.parse(record, name, number)
                if isinstance(parsed, dict) and not parsed["text"].strip():
                    parsed = Refused(reason="empty", lost=False, id=parsed["id"])
            metadata = {"place": place(self.source.number, file, number), "source": self.source.name}
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


class JsonLines(Reader):
    """JSONL: "text" (or "html") and, where there are any, "id", "url" and "licence"; .gz too."""

    def records(self, path: Path) -> Iterator[Any]:
        """The lines as bytes."""
        with open_gzip(path) if path.suffix == ".gz" else path.open("rb") as file:
            while True:
                try:
                    line = file.readline(MAX_DOCUMENT)
                except (EOFError, zlib.error, OSError):
                    yield Refused(reason="broken_file")
                    return
                if not line:
                    return
                if len(line) == MAX_DOCUMENT:
                    yield Refused(reason="too_long")
                    while not line.endswith(b"\n") and (line := file.readline(MAX_DOCUMENT)):
                        pass
                elif line.strip():
                    yield line

    def parse(self, record: bytes, name: str, number: int) -> Parsed:
        """The object on the line."""
        try:
            row = orjson.loads(record)
        except orjson.JSONDecodeError:
            row = None
        if not isinstance(row, dict):
            return Refused(reason="bad_json", text=record[:1000].decode("utf-8", "replace"))
        text = row.get("text", row.get("html"))
        found = row.get("id")
        name = str(found) if found is not None else f"{name}#{number}"
        if not isinstance(text, str):
            return Refused(reason="no_text", id=name)
        more = {key: row[key] for key in ("url", "licence") if isinstance(row.get(key), str)}
        return {"text": text, "id": name, "html": "text" not in row, **more}


class TextFiles(Reader):
    """A folder of text or HTML files, one document a file; its id is the file's name."""

    def records(self, path: Path) -> Iterator[Any]:
        """The whole file."""
        if path.stat().st_size > MAX_DOCUMENT:
            yield Refused(reason="too_long", id=path.name)
        else:
            yield path.read_bytes()

    def parse(self, record: bytes, name: str, number: int) -> Parsed:
        """The decoded file."""
        return {"text": decoded(record), "id": name, "html": name.endswith((".html", ".htm"))}


class WebArchive(Reader):
    """WARC and WET: the pages; requests, metadata and crawl records are not documents and not counted."""

    def records(self, path: Path) -> Iterator[Any]:
        """(record, payload), with the payload read while the archive stands there."""
        with path.open("rb") as file:
            try:
                for record in ArchiveIterator(file):
                    if record.rec_type in PAGES:
                        yield payload(record)
            except (ArchiveLoadFailed, EOFError, zlib.error, ValueError):
                yield Refused(reason="broken_file")
                return
        if path.suffix == ".gz" and not whole(path):
            yield Refused(reason="broken_file")

    def parse(self, record: tuple[ArcWarcRecord, bytes], name: str, number: int) -> Parsed:
        """The page; its id is its address."""
        head, data = record
        url = head.rec_headers.get_header("WARC-Target-URI") or head.rec_headers.get_header("uri")
        kind = media_type(head, data)
        plain = kind == "text/plain"
        if kind not in HTML_TYPES and not plain:
            return Refused(reason="media_type", lost=False, id=url)
        header = head.http_headers.get_header("Content-Type") if head.http_headers else None
        return {"text": decoded(data, charset(header)), "id": url, "url": url, "html": not plain}


def payload(record: ArcWarcRecord) -> tuple[ArcWarcRecord, bytes] | Refused:
    """The record with its payload; Refused where it is cut short or beyond all measure."""
    url = record.rec_headers.get_header("WARC-Target-URI")
    data = record.content_stream().read(MAX_DOCUMENT)
    if len(data) == MAX_DOCUMENT:
        return Refused(reason="too_long", id=url)
    if getattr(record.raw_stream, "limit", 0) > 0:  # bytes that the record promised and the file does not hold
        return Refused(reason="broken_file", id=url)
    return record, data


def media_type(record: ArcWarcRecord, data: bytes) -> str:
    """The payload's type: as the crawler found it, as the server said, or by looking for markup."""
    found = record.rec_headers.get_header("WARC-Identified-Payload-Type")
    headers = record.http_headers or record.rec_headers
    found = found or headers.get_header("Content-Type") or ""
    found = found.split(";")[0].strip().lower()
    if not found or found == "application/http":
        return "text/html" if b"<html" in data[:2000].lower() else "application/octet-stream"
    return found


def charset(header: str | None) -> str | None:
    """The charset of a Content-Type header."""
    for part in (header or "").split(";")[1:]:
        key, _, value = part.partition("=")
        if key.strip().lower() == "charset":
            return value.strip(" \"'")
    return None


def decoded(data: bytes, declared: str | None = None) -> str:
    """The bytes as text: UTF-8 where they are, else as declared, else as they look."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return bytes_to_str(data, declared or detect_encoding(data) or "latin-1", errors="replace")


def whole(path: Path) -> bool:
    """Whether a gzip file ends where its last member ends: warcio reads a cut one without complaint."""
    with path.open("rb") as file:
        stream, chunk = zlib.decompressobj(31), b""
        while chunk := chunk or file.read(1 << 20):
            try:
                stream.decompress(chunk)
            except zlib.error:
                return False
            chunk = stream.unused_data
            if stream.eof and (chunk or (chunk := file.read(1 << 20))):
                stream = zlib.decompressobj(31)
        return stream.eof


READERS: dict[str, type[Reader]] = {"jsonl": JsonLines, "text": TextFiles, "warc": WebArchive}
