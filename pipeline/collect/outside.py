"""What `collect` reads from outside the repository, as a JSON value that goes into the artifact's fingerprint.

A folder: path, size and sha256 of each file. The installed documentation: Python's version and every distribution's.
The story world reads nothing. Imports nothing heavy: the driver calls this at every start.
"""

import hashlib
import importlib.metadata
import platform
from pathlib import Path
from typing import Any

from pipeline.collect.recipe import Files, Recipe
from pipeline.stage import UserError


def identity(recipe: Recipe) -> Any:
    """The JSON value. Raises UserError where the folder of `files:` is missing or holds nothing to read."""
    if recipe.files is not None:
        return [
            {"path": name, "size": path.stat().st_size, "sha256": sha256(path)}
            for name, path in matching_files(recipe.files)
        ]
    if recipe.pydocs is not None:
        return {"python": platform.python_version(), "distributions": distributions()}
    return None


def distributions() -> list[list[str]]:
    """Name and version of every installed distribution, sorted, each once."""
    found = {
        (dist.metadata["Name"], dist.version)
        for dist in importlib.metadata.distributions()
        if dist.metadata and dist.metadata["Name"]
    }
    return [list(pair) for pair in sorted(found)]


def matching_files(files: Files) -> list[tuple[str, Path]]:
    """Name relative to the folder (with "/") and path of each file to read, sorted by name.

    Hidden files and folders are passed over, and so are links: they may lead out of the folder or round in a circle.
    """
    folder = Path(files.folder).expanduser()
    if not folder.is_dir():
        raise UserError(
            f"collect.yaml: files.folder = {files.folder}: there is no folder {folder.absolute()}. "
            "Give the folder that holds your documents."
        )
    found = []
    for path in folder.rglob("*"):
        name = path.relative_to(folder)
        if path.suffix.lower() not in files.suffixes or any(part.startswith(".") for part in name.parts):
            continue
        if path.is_file() and not any((folder / parent).is_symlink() for parent in (name, *name.parents[:-1])):
            found.append((name.as_posix(), path))
    if not found:
        raise UserError(
            f"collect.yaml: files.folder = {files.folder}: no file there ends in {', '.join(files.suffixes)}. "
            "Put documents into it, give another folder, or change files.suffixes."
        )
    return sorted(found)


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
