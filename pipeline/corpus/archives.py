"""One document a page: WARC, ARC and WET files, all read by warcio; cut and damaged ones as far as they go.

Requests, revisits, metadata and the crawler's own notes are passed over by kind; they are counted, but no documents.
"""

from collections.abc import Iterator
from functools import partial
from io import BytesIO
from pathlib import Path
from urllib.parse import unquote

from warcio.archiveiterator import ArchiveIterator
from warcio.exceptions import ArchiveLoadFailed
from warcio.recordloader import ArcWarcRecord

from pipeline.corpus import single
from pipeline.corpus.record import Parsed, Record, Refused, Skipped
from pipeline.corpus.stream import Stream
from pipeline.formats import form

PAGES = ("response", "resource", "conversion")  # the records that hold documents
HTML_TYPES = ("text/html", "application/xhtml+xml")
ENCODINGS = ("", "identity", "gzip", "x-gzip", "deflate", "br")  # that warcio undoes
LOCAL = "file:///"  # an address that collect gives a file of the user's folder


class Archive(ArchiveIterator):
    """warcio's iterator without its warning on the terminal for each record of a false length."""

    INC_RECORD = ""


def records(path: Path, limit: int) -> Iterator[Record]:
    """The archive's records. Behind a record that cannot be read it goes on at the next gzip member."""
    with Stream(path.open("rb"), form(path.name).compression, limit) as stream:
        while True:
            noted = False
            try:
                for record in Archive(stream):
                    if cut(record):
                        raise EOFError
                    found = payload(record, limit) if documents(record) else Skipped(kind=record.rec_type)
                    noted = isinstance(found, Refused)  # so is the trouble that its rest may hold
                    yield found
            except (ArchiveLoadFailed, EOFError, ValueError, AttributeError):  # the last: a page without address
                yield Refused(reason=stream.trouble or "broken_file")
                noted = True
            if stream.trouble and not noted:
                yield Refused(reason=stream.trouble)
            if not stream.resume():
                return


def address(record: ArcWarcRecord) -> str | None:
    """The record's address; some crawlers write it in angle brackets."""
    head = record.rec_headers
    return head.get_header("WARC-Target-URI") or head.get_header("uri")


def cut(record: ArcWarcRecord) -> bool:
    """Whether the file ends inside the record's headers: the WARC standard wants both of these in every record."""
    return record.format == "warc" and (record.rec_type is None or record.length is None)


def documents(record: ArcWarcRecord) -> bool:
    """Whether the record is a page, not a crawler's log filed as a resource."""
    return record.rec_type in PAGES and not (address(record) or "").startswith("metadata:")


def payload(record: ArcWarcRecord, limit: int) -> Record:
    """The page, with its payload read while the archive stands there; Refused where it is cut or beyond measure."""
    url, data, body = address(record), bytearray(), record.content_stream()
    while len(data) <= limit and (piece := body.read(limit + 1 - len(data))):
        data += piece
    if len(data) > limit:
        return Refused(reason="too_long", id=url)
    if getattr(record.raw_stream, "limit", 0) > 0:  # bytes that the record promised and the file does not hold
        return Refused(reason="broken_file", id=url)
    return partial(page, record, bytes(data), limit)


def page(record: ArcWarcRecord, data: bytes, limit: int) -> Parsed:
    """The document; its id is its address."""
    url, http = address(record), record.http_headers
    if url and url.startswith(LOCAL):
        return single.document(BytesIO(data), unquote(url.removeprefix(LOCAL)), limit)
    if http and not http.get_statuscode().startswith("2"):
        return Refused(reason="http_status", lost=False, id=url)
    if http and (http.get_header("Content-Encoding") or "").strip().lower() not in ENCODINGS:
        return Refused(reason="content_encoding", id=url)
    kind = media_type(record, data)
    if kind == "application/pdf":
        found = single.pdf(data, url or "", limit)
        return found if isinstance(found, Refused) else {**found, "id": url, "url": url or ""}
    if kind not in HTML_TYPES and kind != "text/plain":
        return Refused(reason="media_type", lost=False, id=url)
    html = kind != "text/plain"
    text = single.decoded(data, single.charset(http.get_header("Content-Type") if http else None), html)
    return {"text": text, "id": url, "url": url or "", "html": html}


def media_type(record: ArcWarcRecord, data: bytes) -> str:
    """The payload's type: as the crawler found it, as the server said, or by looking for markup."""
    found = record.rec_headers.get_header("WARC-Identified-Payload-Type")
    headers = record.http_headers or record.rec_headers
    found = found or headers.get_header("Content-Type") or ""
    found = found.split(";")[0].strip().lower()
    if not found or found == "application/http":
        return "text/html" if b"<html" in data[:2000].lower() else "application/octet-stream"
    return found
