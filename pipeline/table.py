"""Rows from outside the run: JSON, JSONL and Parquet files, or a data set of the Hub, each with where it came from.

The recipe section `Table` names one; `rows` reads it and `identity` is what of it goes into a fingerprint. Nothing
heavy is imported before a row is read.
"""

import gzip
import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from pipeline.stage import Section, UserError

SUFFIXES = (".jsonl", ".json", ".parquet", ".jsonl.gz", ".json.gz")
Row = dict[str, Any]


class Table(Section):
    """Where rows come from: exactly one of `path` and `hub`.

    path: a file, or a folder of files, that end in .jsonl, .json (a list of objects), .parquet, the first two also
        .gz; `~` is the home folder, a relative path starts where the command runs.
    hub: `org/name@` and the commit, 40 hex digits. config, split: of that data set; split is "train" unless given.
    licence: of the rows, for the cards of what is made from them.
    """

    path: str | None = None
    hub: Annotated[str, Field(pattern=r"^[\w-][\w.-]*/[\w-][\w.-]*@[0-9a-f]{40}$")] | None = None
    config: str | None = None
    split: str | None = None
    licence: str | None = None

    @model_serializer(mode="wrap")
    def _without_what_came_later(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without a licence that is not given: older artifacts keep their fingerprint."""
        keys: dict[str, Any] = handler(self)
        return {key: value for key, value in keys.items() if key != "licence" or value is not None}

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if (self.path is None) == (self.hub is None):
            raise ValueError("give exactly one of path (a file or folder) and hub (org/name@commit).")
        if self.path is not None and (self.config or self.split):
            raise ValueError("config and split belong to a data set of the Hub: without `hub` they have no effect.")
        return self

    @property
    def name(self) -> str:
        """What messages call it."""
        return str(self.hub or self.path)


def files(table: Table) -> list[Path]:
    """The files behind `path`, sorted. Raises UserError where there is none."""
    place = Path(table.name).expanduser()
    if place.is_file() and place.name.endswith(SUFFIXES):
        return [place]
    found = sorted(p for p in place.rglob("*") if p.is_file() and p.name.endswith(SUFFIXES)) if place.is_dir() else []
    if not found:
        wanted = ", ".join(SUFFIXES)
        if place.is_dir():
            raise UserError(f"path: {table.name}: no file in this folder ends in {wanted}.")
        fault = "is none of those that can be read" if place.exists() else "is not there"
        raise UserError(f"path: {table.name}: {fault}. Name a folder, or a file that ends in {wanted}.")
    return found


def identity(tables: Sequence[Table]) -> list[Any]:
    """What of the tables goes into a fingerprint: each file's size and sha256; a Hub's commit is in the recipe."""
    found: list[Any] = []
    for table in tables:
        if table.hub is not None:
            found.append(table.hub)
            continue
        for path in files(table):
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            found.append({"file": path.name, "bytes": path.stat().st_size, "sha256": digest})
    return found


def rows(table: Table) -> Iterator[tuple[Row, str]]:
    """Each row and where it stands. Raises UserError for what cannot be read, naming file and line."""
    if table.hub is not None:
        yield from _hub(table)
        return
    for path in files(table):
        read = _parquet if path.suffix == ".parquet" else _lines if ".jsonl" in path.suffixes else _list
        for number, row in read(path):
            where = f"{path}, {'line' if read is _lines else 'row'} {number}"
            if not isinstance(row, dict):
                raise UserError(f"{where}: is {type(row).__name__}, expected an object with columns.")
            yield row, where


def column(row: Row, name: str, where: str) -> Any:
    """A column's value. Raises UserError, listing the columns that there are, where the row has not got it."""
    if name not in row:
        raise UserError(f"{where}: has no column '{name}'. It has: {', '.join(map(str, row)) or 'none'}.")
    return row[name]


def _open(path: Path) -> Any:
    return gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8")


def _lines(path: Path) -> Iterator[tuple[int, Any]]:
    number = 0
    try:
        with _open(path) as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield number, json.loads(line)
    except json.JSONDecodeError as error:
        raise UserError(f"{path}, line {number}: not JSON ({error.msg}). Each line must be one object.") from None
    except (UnicodeDecodeError, EOFError, gzip.BadGzipFile) as error:
        raise UserError(f"{path}, after line {number}: cannot be read as UTF-8 text ({error}).") from None


def _list(path: Path) -> Iterator[tuple[int, Any]]:
    try:
        with _open(path) as file:
            found = json.load(file)
    except (json.JSONDecodeError, UnicodeDecodeError, EOFError, gzip.BadGzipFile) as error:
        raise UserError(f"{path}: not JSON ({error}). One object a line belongs into a .jsonl file.") from None
    if not isinstance(found, list):
        raise UserError(f"{path}: is {type(found).__name__}, expected a list of objects.")
    yield from enumerate(found, start=1)


def _parquet(path: Path) -> Iterator[tuple[int, Any]]:
    import pyarrow.parquet as pq
    from pyarrow.lib import ArrowInvalid

    number = 0
    try:
        for batch in pq.ParquetFile(path).iter_batches():
            for row in batch.to_pylist():
                number += 1
                yield number, row
    except (ArrowInvalid, OSError) as error:
        raise UserError(f"{path}: cannot be read as Parquet ({error}).") from None


def _hub(table: Table) -> Iterator[tuple[Row, str]]:
    from datasets import load_dataset

    name, _, revision = str(table.hub).partition("@")
    try:
        found = load_dataset(name, table.config, revision=revision, split=table.split or "train")
    except (OSError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise UserError(
            f"hub: {table.hub}: {reason} Check name, commit, config and split; a private one needs `hf auth login`."
        ) from None
    for number, row in enumerate(found, start=1):
        yield row, f"{name}, row {number}"
