"""A user's own folder: its documents are copied, so that the artifact can be verified when the folder has changed.

Text (txt, md, rst) and the rows of JSONL files go to raw/files/*.jsonl with the path as the id, HTML pages to
raw/pages/*.warc.gz. Rows that cannot be read are listed in rejected.jsonl.
Try: `make new NAME=mine DATA=~/docs`, then `make collect RECIPE=mine`
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pipeline.collect import raw
from pipeline.collect.outside import matching_files
from pipeline.collect.recipe import Files
from pipeline.progress import track
from pipeline.stage import UserError

PAGES = (".html", ".htm")


def collect(recipe: Files, out: Path) -> dict[str, float]:
    """Writes the artifact and returns its metrics."""
    found = matching_files(recipe)
    pages = [(name, path) for name, path in found if path.suffix.lower() in PAGES]
    others = [(name, path) for name, path in found if path.suffix.lower() not in PAGES]
    rejected: list[dict[str, Any]] = []
    counts = {"files": len(found), "documents": len(pages)}
    raw_folder, sources = out / "raw", []
    if others:
        rows = _rows(others, rejected)
        counts["documents"] += raw.write_jsonl(raw_folder / "files" / "00000.jsonl", rows)
        sources.append(("files", "jsonl", "files", recipe.licence))
    if pages:
        # A page's bytes are left as they are: what says how to read them stands inside, and corpus looks there.
        shown = track(pages, len(pages), "pages", "pages")
        located = ((f"file:///{quote(name)}", path.read_bytes()) for name, path in shown)
        raw.write_warc_shards(raw_folder / "pages", located, "pages")
        sources.append(("pages", "warc", "pages", recipe.licence))
    raw.write_sources(raw_folder, sources)
    raw.write_jsonl(out / "rejected.jsonl", rejected)
    if not counts["documents"]:
        first = rejected[0]
        raise UserError(
            f"collect.yaml: files.folder = {recipe.folder}: not one document could be read. "
            f"First: {first['file']}, line {first['line']}: {first['reason']}."
        )
    return {**counts, "rejected": len(rejected)}


def _rows(files: list[tuple[str, Path]], rejected: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for name, path in track(files, len(files), "files", "files"):
        if path.suffix.lower() == ".jsonl":
            yield from _jsonl_rows(name, path, rejected)
        elif text := read_text(path).strip():
            yield {"id": name, "text": text}
        else:
            rejected.append({"file": name, "line": 1, "reason": "the file is empty"})


def _jsonl_rows(name: str, path: Path, rejected: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Rows with a "text"; the id is the file's name and the line, as a row's own id may stand in two files."""
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            text, reason = _text_of(line)
            if reason:
                rejected.append({"file": name, "line": number, "reason": reason})
            else:
                yield {"id": f"{name}:{number}", "text": text}


def _text_of(line: bytes) -> tuple[str, str]:
    """The row's text and "", or "" and why it cannot be used."""
    try:
        row = json.loads(line.decode("utf-8-sig"))
    except (UnicodeDecodeError, ValueError, RecursionError) as error:
        return "", f"no JSON in UTF-8: {str(error)[:120]}"
    if not isinstance(row, dict) or not isinstance(row.get("text"), str):
        return "", 'no object with a "text" that is a string'
    if not row["text"].strip():
        return "", 'the "text" is empty'
    # JSON can spell lone surrogates, which UTF-8 cannot hold.
    return row["text"].encode("utf-8", "replace").decode("utf-8"), ""


def read_text(path: Path) -> str:
    """The file as text: UTF-8, with a byte order mark or without, UTF-16 with one, else Windows-1252."""
    data = path.read_bytes()
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", errors="replace")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("cp1252", errors="replace")
