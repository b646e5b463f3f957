"""The sources that collect left: reads `raw/sources.json` and finds each source's files.

Everything that can be wrong with a source (a name twice, an unknown kind, a path that matches nothing) is said here,
before any document is read.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from pipeline.stage import UserError

# What a folder of this kind holds; a source's path may also name one file.
PATTERNS = {
    "warc": ("*.warc.gz", "*.warc", "*.wet.gz", "*.wet"),
    "jsonl": ("*.jsonl", "*.jsonl.gz"),
    "text": ("*.txt", "*.md", "*.rst", "*.html", "*.htm"),
}


@dataclass(frozen=True, kw_only=True)
class Source:
    """One source. files: paths relative to folder, sorted. number: its place in sources.json."""

    number: int
    name: str
    kind: str
    licence: str
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


def source(raw: Path, number: int, row: dict[str, str]) -> Source:
    """One row of sources.json with its files."""
    where = f"{raw / 'sources.json'}: source '{row['name']}'"
    if row["kind"] not in PATTERNS:
        raise UserError(f"{where}: unknown kind '{row['kind']}'. Accepted: {', '.join(PATTERNS)}.")
    path = raw / row["path"]
    if path.is_file():
        folder, files = path.parent, [path.name]
    else:
        patterns = PATTERNS[row["kind"]]
        folder = path
        files = sorted({p.relative_to(path).as_posix() for g in patterns for p in path.rglob(g) if p.is_file()})
        if not files:
            raise UserError(
                f"{where}: no file under '{path}' matches {' or '.join(patterns)}. Correct the path or the kind, "
                f"or leave the source out."
            )
    return Source(
        number=number,
        name=row["name"],
        kind=row["kind"],
        licence=row["licence"],
        folder=folder,
        files=tuple(files),
    )
