"""One document a file: prose, code, web pages and the text layer of PDF files."""

import codecs
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from resiliparse.parse.encoding import bytes_to_str, detect_encoding

from pipeline.corpus.record import Parsed, Record, Refused
from pipeline.corpus.stream import Stream
from pipeline.formats import PAGES, PDF, form

MARKS = ((codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))


def records(path: Path, name: str, limit: int) -> Iterator[Record]:
    """The whole file as one record; its id is its name."""
    if path.stat().st_size > limit:
        yield Refused(reason="too_long", id=name)
    else:
        yield lambda: document(path.open("rb"), name, limit)


def document(file: BinaryIO, name: str, limit: int) -> Parsed:
    """The document in an open file, read as its name says; at most `limit` bytes when unpacked."""
    with Stream(file, form(name).compression, limit) as stream:
        data = stream.take(limit + 1)
        if stream.trouble:
            return Refused(reason=stream.trouble, id=name)
    if len(data) > limit:
        return Refused(reason="too_long", id=name)
    suffix = form(name).suffix
    if suffix in PDF:
        return pdf(data, name, limit)
    html = suffix in PAGES
    return {"text": decoded(data, html=html), "id": name, "html": html}


def pdf(data: bytes, name: str, limit: int) -> Parsed:
    """The text layer, pages parted by empty lines; "empty" where the pages are pictures."""
    import pypdfium2

    pages, size = [], 0
    try:
        with pypdfium2.PdfDocument(data) as opened:
            for page in opened:
                # PDFium ends lines with CR LF and marks a word broken at a line's end with U+FFFE.
                pages.append(page.get_textpage().get_text_bounded().replace("\r\n", "\n").replace("\ufffe\n", ""))
                size += len(pages[-1])
                if size > limit:
                    return Refused(reason="too_long", id=name)
    except pypdfium2.PdfiumError as error:
        return Refused(reason="pdf_password" if "password" in str(error).lower() else "broken_file", id=name)
    return {"text": "\n\n".join(pages).replace("\ufffe", ""), "id": name, "html": False}


def decoded(data: bytes, declared: str | None = None, html: bool = False) -> str:
    """The bytes as text: UTF-8 where they are (but for a few), else as marked, as declared, or as they look."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        mended = data.decode("utf-8-sig", errors="replace")
        beyond_ascii = len(mended) - len(mended.encode("ascii", errors="ignore"))
        if mended.count("\ufffd") * 10 < beyond_ascii:  # another encoding's bytes seldom make UTF-8 by chance
            return mended
        marked = next((name for mark, name in MARKS if data.startswith(mark)), None)
        found = marked or declared or detect_encoding(data, from_html_meta=html) or "latin-1"
        return bytes_to_str(data, found, errors="replace")


def charset(header: str | None) -> str | None:
    """The charset of a Content-Type header."""
    for part in (header or "").split(";")[1:]:
        key, _, value = part.partition("=")
        if key.strip().lower() == "charset":
            return value.strip(" \"'")
    return None
