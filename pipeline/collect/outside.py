"""What `collect` reads from outside the repository, as a JSON value that goes into the artifact's fingerprint.

A folder: path, size and sha256 of each file. The installed documentation: Python's version and every distribution's.
The story world reads nothing; what is fetched is known by the recipe alone, so that a finished run needs no network.
Imports nothing heavy: the driver calls this at every start.
"""

import hashlib
import importlib.metadata
import os
import platform
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.collect.recipe import Recipe
from pipeline.collect.source import Benchmark, Folder, Source
from pipeline.formats import SUFFIXES, form
from pipeline.stage import UserError
from pipeline.table import identity as table_identity

ENDING = re.compile(r"(\.[a-z0-9_+-]{1,10})?(\.gz|\.zst)?$")


def identity(recipe: Recipe) -> Any:
    """The JSON value. Raises UserError where a source's folder is missing or holds nothing to read."""
    found = of_sources(recipe)
    if not recipe.evaluation:
        return found
    tables = [table_at(benchmark, name) for name, benchmark in recipe.evaluation.items()]
    return {"sources": found, "evaluation": table_identity(tables)}


def table_at(benchmark: Benchmark, name: str) -> Benchmark:
    """The benchmark's table with `~` and `$NAME` filled in."""
    if benchmark.path is None:
        return benchmark
    return benchmark.model_copy(update={"path": str(located(benchmark.path, f"evaluation.{name}.path"))})


def of_sources(recipe: Recipe) -> Any:
    """What the raw documents are made from."""
    if recipe.pydocs is not None:
        return documentation()
    if recipe.files is not None:
        return listing(matching_files(recipe.files, "files.folder").taken)
    found = {source.name: of_source(source) for source in recipe.listed()}
    return {name: value for name, value in found.items() if value is not None} or None


def of_source(source: Source) -> Any:
    """One source's part of the value; None where the recipe alone says what it is."""
    where = f"source '{source.name}', "
    if source.files is not None:
        return listing(matching_files(source.files, f"{where}files.folder").taken)
    if source.dataset is not None and source.dataset.local:
        return listing(every_file(source.dataset.path, f"{where}dataset.path").taken)
    return documentation() if source.pydocs is not None else None


def documentation() -> dict[str, Any]:
    """Python and every installed distribution."""
    return {"python": platform.python_version(), "distributions": distributions()}


def listing(files: list[tuple[str, Path]]) -> list[dict[str, Any]]:
    """Path, size and sha256 of each file."""
    return [{"path": name, "size": path.stat().st_size, "sha256": sha256(path)} for name, path in files]


def distributions() -> list[list[str]]:
    """Name and version of every installed distribution, sorted, each once."""
    found = {
        (dist.metadata["Name"], dist.version)
        for dist in importlib.metadata.distributions()
        if dist.metadata and dist.metadata["Name"]
    }
    return [list(pair) for pair in sorted(found)]


def located(text: str, where: str) -> Path:
    """The path that a recipe gives, `~` and `$NAME` filled in. Raises UserError for a name that is not set."""
    filled = os.path.expandvars(text)
    if unset := re.search(r"\$\{?(\w+)", filled):
        raise UserError(
            f"collect.yaml: {where} = {text}: {unset[1]} is not set in the environment. Set it, as in "
            f"`{unset[1]}=/path make ..`, or write the path into the recipe."
        )
    return Path(filled).expanduser()


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a folder holds. taken: name relative to it (with "/") and path of each file, sorted by name.

    passed_over: how many of the others, by why: "hidden", "link", "special" (a pipe, ..), or how their names end.
    """

    taken: list[tuple[str, Path]]
    passed_over: Counter[str]


def matching_files(files: Folder, where: str) -> Found:
    """The files to read, and what else is there. `where`: the recipe's key.

    Hidden files and folders are passed over, and so are links: they may lead out of the folder or round in a circle.
    """
    suffixes = files.suffixes or SUFFIXES
    found = every_file(files.folder, where, lambda name: form(name).suffix in suffixes)
    if not found.taken:
        raise UserError(
            f"collect.yaml: {where} = {files.folder}: no file there ends in {', '.join(suffixes)}. "
            "Put documents into it, give another folder, or change the suffixes."
        )
    return found


def every_file(text: str, where: str, wanted: Callable[[str], bool] = bool) -> Found:
    """Every wanted file below a folder, or the file itself. Raises UserError where there is neither."""
    folder = located(text, where)
    if folder.is_file():
        return Found(taken=[(folder.name, folder)] if wanted(folder.name) else [], passed_over=Counter())
    if not folder.is_dir():
        raise UserError(
            f"collect.yaml: {where} = {text}: there is no folder {folder.absolute()}. "
            "Give the folder that holds your documents."
        )
    taken: list[tuple[str, Path]] = []
    passed_over: Counter[str] = Counter()
    for path in folder.rglob("*"):
        name = path.relative_to(folder)
        if (path.is_dir() and not path.is_symlink()) or any((folder / up).is_symlink() for up in name.parents[:-1]):
            continue  # what stands behind a link to a folder is that one link
        if reason := unread(path, name, wanted):
            passed_over[reason] += 1
        else:
            # A name that is no UTF-8 could stand in no JSON file.
            taken.append((os.fsencode(name.as_posix()).decode("utf-8", "replace"), path))
    return Found(taken=sorted(taken), passed_over=passed_over)


def unread(path: Path, name: Path, wanted: Callable[[str], bool]) -> str:
    """Why a file is passed over; "" where it is taken."""
    if any(part.startswith(".") for part in name.parts):
        return "hidden"
    if path.is_symlink():
        return "link"
    if not path.is_file():
        return "special"
    return "" if wanted(path.name) else ENDING.search(path.name.lower())[0] or "no_suffix"  # type: ignore[index]


def sha256(path: Path) -> str:
    """Of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
