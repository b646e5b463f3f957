"""One document a row: JSONL, CSV and TSV, Parquet."""

import csv
import io
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.corpus.record import Parsed, Record, Refused
from pipeline.corpus.separated import Table
from pipeline.corpus.sources import Columns
from pipeline.corpus.stream import CHUNK, MAX_RATIO, UNSUSPECTED, Stream
from pipeline.formats import form

BATCH = 64  # rows of Parquet at a time


def field(row: dict[str, Any], name: str) -> Any:
    """The value under a name; "metadata.url" looks into the object "metadata" where no column has the whole name."""
    value = row.get(name)
    if value is None and "." in name:
        outer, _, inner = name.partition(".")
        value = field(row[outer], inner) if isinstance(row.get(outer), dict) else None
    return value


def document(row: dict[str, Any], columns: Columns) -> Parsed:
    """The row as a document; several text columns are joined by an empty line."""
    found = field(row, columns.id)
    name = str(found) if found is not None else None
    parts = [part for column in columns.text if isinstance(part := field(row, column), str)]
    html = not parts
    text = field(row, columns.html) if html else "\n\n".join(part for part in parts if part)
    if not isinstance(text, str):
        return Refused(reason="no_text", id=name)
    parsed = {"text": text, "id": name, "html": html}
    for key, column in (("url", columns.url), ("licence", columns.licence)):
        if isinstance(value := field(row, column), str) and value:
            parsed[key] = value
    return parsed


def lines(stream: Stream, limit: int, empty: bool = False) -> Iterator[bytes | Refused]:
    """The lines; Refused for one that is too long, or cut, or where the file is broken. empty: also the empty ones."""
    file = io.BufferedReader(stream, CHUNK)
    while True:
        line = file.readline(limit)
        if len(line) == limit:
            yield Refused(reason="too_long")
            while not line.endswith(b"\n") and (line := file.readline(limit)):
                pass
        elif (line.strip() or (empty and line)) and not (stream.trouble and not line.endswith(b"\n")):
            yield line
        if not line.endswith(b"\n"):  # the end, or trouble
            if stream.trouble:
                yield Refused(reason=stream.trouble)
            if not stream.resume():
                return


def opened(path: Path, limit: int) -> Stream:
    """The file, decompressed."""
    return Stream(path.open("rb"), form(path.name).compression, limit)


def json_lines(path: Path, limit: int, columns: Columns) -> Iterator[Record]:
    """An object a line."""
    with opened(path, limit) as stream:
        for line in lines(stream, limit):
            yield line if isinstance(line, Refused) else partial(json_row, line, columns)


def json_row(line: bytes, columns: Columns) -> Parsed:
    """The object on the line."""
    row = loads(line)
    if not isinstance(row, dict):
        return Refused(reason="bad_json", text=line[:1000].decode("utf-8", "replace"))
    return document(row, columns)


def loads(line: bytes) -> Any:
    """The JSON value, None where there is none. Takes what orjson refuses and people write: NaN, lone surrogates."""
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError:
        pass
    try:
        value = json.loads(line.decode("utf-8-sig"))
        # UTF-8 cannot hold lone surrogates: they become "?".
        return json.loads(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return None


def separated(path: Path, limit: int, columns: Columns) -> Iterator[Record]:
    """CSV and TSV; the first row names the columns."""
    csv.field_size_limit(limit)  # the csv module's own is 131,072 characters, for the whole process
    separator = "\t" if form(path.name).suffix == ".tsv" else ","
    with opened(path, limit) as stream:
        header: list[str] | None = None
        for row in Table(lines(stream, limit, empty=True), separator, limit).rows():
            if isinstance(row, Refused):
                yield row
            elif header is None:
                header = row
            else:
                yield partial(document, dict(zip(header, row, strict=True)), columns)


def parquet(path: Path, limit: int, columns: Columns) -> Iterator[Record]:
    """The rows of every row group; of a broken or exploding group each row is counted as lost."""
    if form(path.name).compression:
        # Parquet is read from its end, so a compressed one is unpacked first; the stream bounds what that can take.
        with opened(path, limit) as stream, tempfile.TemporaryFile() as plain:
            shutil.copyfileobj(io.BufferedReader(stream), plain, CHUNK)
            if stream.trouble:
                yield Refused(reason=stream.trouble)
                return
            plain.seek(0)
            yield from _row_groups(plain, limit, columns)
    else:
        with path.open("rb") as plain:
            yield from _row_groups(plain, limit, columns)


def _row_groups(plain: BinaryIO, limit: int, columns: Columns) -> Iterator[Record]:
    try:
        file = pq.ParquetFile(plain)
        found = file.schema_arrow.names
    except (OSError, pa.ArrowException, UnicodeDecodeError):  # the last: a column's name is no UTF-8
        yield Refused(reason="broken_file")
        return
    wanted = {name.partition(".")[0] for name in columns.names} | set(columns.names)
    present = [name for name in found if name in wanted]
    size = plain.seek(0, os.SEEK_END)
    for number in range(file.num_row_groups):
        group = file.metadata.row_group(number)
        given, reason = 0, "broken_file"
        if explodes(group, size, limit):
            reason = "decompression_bomb"
        else:
            try:
                for batch in file.iter_batches(BATCH, row_groups=[number], columns=present):
                    for row in range(len(batch)):
                        yield _cells(batch, row, limit, columns)
                        given += 1
            except (OSError, pa.ArrowException):
                pass  # what was not given is counted below
        for _ in range(group.num_rows - given):
            yield Refused(reason=reason)


def _cells(batch: pa.RecordBatch, row: int, limit: int, columns: Columns) -> Callable[[], Parsed] | Refused:
    try:
        values = {name: column[row].as_py() for name, column in zip(batch.schema.names, batch.columns, strict=True)}
    except (UnicodeDecodeError, ValueError, OverflowError):  # no UTF-8, or a date beyond Python's
        return Refused(reason="bad_value")
    if sum(len(value) for value in values.values() if isinstance(value, str)) > limit:
        return Refused(reason="too_long")
    return partial(document, values, columns)


def explodes(group: pq.RowGroupMetaData, size: int, limit: int) -> bool:
    """Whether the group unpacks to far more than the whole file takes.

    Its columns say more, but in pyarrow 26 RowGroupMetaData.column() ends the process on some damaged files (an
    exception of C++ that nothing catches), while reading the group raises.
    """
    return group.total_byte_size > max(UNSUSPECTED * limit, MAX_RATIO * size)
