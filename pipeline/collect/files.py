"""A folder of the user's: its files are copied as they are, so that the artifact can be verified when it has changed.

Files of one document each (text, pages, code, PDF) are packed into WARC files, which a few folders of a million files
need; archives and files of rows are copied one by one. Nothing is decoded here: `corpus` reads, and counts what it
cannot. Try: `make new NAME=mine DATA=~/docs`, then `make collect RECIPE=mine`
"""

import os
import shutil
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from pipeline.collect import raw
from pipeline.collect.outside import matching_files
from pipeline.collect.source import Folder
from pipeline.formats import form
from pipeline.progress import track

MOST = 20  # reasons for which files are passed over that are named
PACKED = 100_000_000  # bytes; a larger file is copied, since packing reads it whole


def collect(section: Folder, name: str, out: Path) -> dict[str, float]:
    """Copies the folder's files to `out`. Returns how many there are and their size in bytes."""
    matching = matching_files(section, f"source '{name}', files.folder")
    found = matching.taken
    sizes = [path.stat().st_size for _, path in found]
    small = [size <= PACKED and not form(path.name).many for size, (_, path) in zip(sizes, found, strict=True)]
    singles = [pair for pair, one in zip(found, small, strict=True) if one]
    if singles:
        raw.write_warc_shards(out / "packed", packed(singles), "files")
    for relative, path in (pair for pair, one in zip(found, small, strict=True) if not one):
        target = out / "found" / relative
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    return {"files": len(found), "bytes": sum(sizes), **passed_over(matching.passed_over, name)}


def passed_over(counts: Counter[str], name: str) -> dict[str, float]:
    """The metrics `passed_over_<why>`, of which a line is shown; past MOST, how names end is "other_suffixes"."""
    if not counts:
        return {}
    most = dict(counts.most_common(MOST))
    if other := counts.total() - sum(most.values()):
        most["other_suffixes"] = other
    shown = ", ".join(f"{count} {why.replace('_', ' ')}" for why, count in most.items())
    sys.stderr.write(f"{name}: passed over: {shown}\n")
    return {f"passed_over_{why}": count for why, count in most.items()}


def packed(files: list[tuple[str, Path]]) -> Iterator[tuple[str, bytes]]:
    """Address and bytes of each file; the address gives corpus the file's name."""
    for relative, path in track(files, len(files), "files", "files"):
        yield f"file:///{quote(os.fsencode(relative))}", path.read_bytes()
