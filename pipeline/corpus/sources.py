"""The sources that collect left: reads `raw/sources.json` and finds each source's files.

Everything that can be wrong with a source (a name twice, an unknown kind, a path that matches nothing) is said here,
before any document is read.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.formats import ARCHIVES, PAGES, PROSE, SUFFIXES, form
from pipeline.stage import UserError

# What is read of a folder of this kind, by suffix, each also .gz or .zst; a source's path may also name one file.
KINDS = {"warc": ARCHIVES, "jsonl": (".jsonl", ".ndjson"), "text": PROSE + PAGES, "files": SUFFIXES}


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Which columns of a row mean what. text: joined in this order; html: read where a row has none of them."""

    text: tuple[str, ...] = ("text",)
    html: str = "html"
    id: str = "id"
    url: str = "url"
    licence: str = "licence"

    @property
    def names(self) -> tuple[str, ...]:
        """Every column that is looked at."""
        return (*self.text, self.html, self.id, self.url, self.licence)


@dataclass(frozen=True, kw_only=True)
class Source:
    """One source. files: paths relative to folder, sorted. number: its place in sources.json.

    weight: how many times a document of it is to stand in the corpus, on average.
    """

    number: int
    name: str
    kind: str
    licence: str
    weight: float
    columns: Columns
    folder: Path
    files: tuple[str, ...]


def load(raw: Path) -> list[Source]:
    """The sources in the order of sources.json. Raises UserError for one that cannot be read as it says."""
    listing = raw / "sources.json"
    if not listing.is_file():
        raise UserError(f"corpus: {listing} is missing: collect writes it. Build collect again.")
    rows = json.loads(listing.read_text(encoding="utf-8"))
    names = [row["name"] for row in rows]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UserError(f"{listing}: two sources are called '{twice[0]}'. Give each a name of its own.")
    if not rows:
        raise UserError(f"{listing}: lists no source, so there is nothing to clean. Build collect again.")
    return [source(raw, number, row) for number, row in enumerate(rows)]


def source(raw: Path, number: int, row: dict[str, Any]) -> Source:
    """One row of sources.json with its files."""
    where = f"{raw / 'sources.json'}: source '{row['name']}'"
    if row["kind"] not in KINDS:
        raise UserError(f"{where}: unknown kind '{row['kind']}'. Accepted: {', '.join(KINDS)}.")
    path, suffixes = raw / row["path"], KINDS[row["kind"]]
    if path.is_file():
        folder, files = path.parent, [path.name]
    else:
        folder = path
        files = sorted(
            p.relative_to(path).as_posix() for p in path.rglob("*") if form(p.name).suffix in suffixes and p.is_file()
        )
        if not files:
            raise UserError(
                f"{where}: no file under '{path}' ends in {', '.join(suffixes)}. Correct the path or the kind, or "
                "leave the source out."
            )
    mapping = row.get("columns", {})
    return Source(
        number=number,
        name=row["name"],
        kind=row["kind"],
        licence=row["licence"],
        weight=row.get("weight", 1.0),
        columns=Columns(**{**mapping, "text": tuple(mapping["text"])}) if mapping else Columns(),
        folder=folder,
        files=tuple(files),
    )
