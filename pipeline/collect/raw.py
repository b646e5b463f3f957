"""Writes raw documents as they are found in the wild, byte for byte the same in every run.

`raw/web/*.warc.gz` (pages), `raw/feed/*.jsonl` (one document a line), `raw/books/*.txt` (one document a file), and
`raw/sources.json`, which says for each source its name, kind, path, licence and weight.
"""

import errno
import json
import random
import uuid
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from io import BytesIO
from itertools import chain, islice
from pathlib import Path
from typing import Any

from warcio.recordloader import ArcWarcRecord
from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

from pipeline.formats import PAGES, PDF, form

CRAWLED = datetime(2025, 1, 1, tzinfo=UTC)  # every record's date counts seconds from here
DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)  # failures of this machine, whatever the source
SHARD = 4_000  # documents a file, so that a few workers can share the reading


def write_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> int:
    """One object a line, UTF-8. Returns the number of rows."""
    path.parent.mkdir(parents=True, exist_ok=True)
    count = 0
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
            count += 1
    return count


def write_jsonl_shards(folder: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """The rows in files `00000.jsonl`, `00001.jsonl`, ..., SHARD rows each."""
    for number, shard in enumerate(sharded(rows)):
        write_jsonl(folder / f"{number:05d}.jsonl", shard)


def write_warc_shards(folder: Path, pages: Iterable[tuple[str, bytes]], seed: str) -> None:
    """(url, bytes) pages in gzipped WARC files: HTTP responses, or resources where the address is no web address.

    warcio would draw record ids and dates from the machine; both come from the seed here.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rng = random.Random(seed)
    when = CRAWLED
    for number, shard in enumerate(sharded(pages)):
        with (folder / f"{number:05d}.warc.gz").open("wb") as file:
            writer = WARCWriter(file, gzip=True)
            for url, html in shard:
                when += timedelta(seconds=rng.randint(1, 9))
                header = {
                    "WARC-Record-ID": f"<urn:uuid:{uuid.UUID(int=rng.getrandbits(128), version=4)}>",
                    "WARC-Date": when.strftime("%Y-%m-%dT%H:%M:%SZ"),
                }
                writer.write_record(_record(writer, url, html, header))


def _record(writer: WARCWriter, url: str, html: bytes, header: dict[str, str]) -> ArcWarcRecord:
    # Readers look for an HTTP head in the records of web addresses only.
    if not url.startswith(("http://", "https://")):
        header = header | {"Content-Type": content_type(url)}
        return writer.create_warc_record(url, "resource", payload=BytesIO(html), warc_headers_dict=header)
    http = StatusAndHeaders("200 OK", [("Content-Type", "text/html; charset=utf-8")], protocol="HTTP/1.1")
    return writer.create_warc_record(
        url, "response", payload=BytesIO(html), http_headers=http, warc_headers_dict=header
    )


def content_type(url: str) -> str:
    """Of a file, by its name."""
    found = form(url)
    if found.compression:
        return {".gz": "application/gzip", ".zst": "application/zstd"}[found.compression]
    return "text/html" if found.suffix in PAGES else "application/pdf" if found.suffix in PDF else "text/plain"


def write_text_files(folder: Path, documents: Iterable[tuple[str, str]]) -> None:
    """(name, text) documents, one file each."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in documents:
        (folder / name).write_bytes(text.encode("utf-8"))


def write_sources(raw: Path, sources: Iterable[tuple[str, str, str, str]]) -> None:
    """(name, kind, path below raw/, licence) of each source, all of the same weight."""
    rows = [
        {"name": name, "kind": kind, "path": path, "licence": licence, "weight": 1.0}
        for name, kind, path, licence in sources
    ]
    write_sources_json(raw, rows)


def write_sources_json(raw: Path, rows: list[dict[str, Any]]) -> None:
    """sources.json; a row may also hold `columns`, what the columns of its rows mean."""
    raw.mkdir(parents=True, exist_ok=True)
    (raw / "sources.json").write_text(json.dumps(rows, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def sharded(items: Iterable[Any]) -> Iterator[Iterator[Any]]:
    """The items SHARD by SHARD, each to be taken up before the next; one empty shard where there are no items."""
    rest = iter(items)
    yield islice(rest, SHARD)
    for first in rest:
        yield chain((first,), islice(rest, SHARD - 1))
