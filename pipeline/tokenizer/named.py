"""Tokenizers and texts that a recipe names: found, identified for the fingerprint, loaded.

A tokenizer is a folder with a tokenizer.json, or `org/name@<commit>` on the Hub. Of folders and parallel texts the
fingerprint holds the sha256; a commit names its content by itself.
"""

import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.artifact import sha256
from pipeline.stage import UserError

if TYPE_CHECKING:
    from pipeline.tokenizer.recipe import Recipe

# A Hub id with its commit, or a path: which has no @ in it.
HUB = r"[\w-][\w.-]*(?:/[\w-][\w.-]*)?@[0-9a-f]{40}"
REFERENCE = rf"^(?:{HUB}|[^@]+)$"


def identity(recipe: "Recipe") -> dict[str, Any] | None:
    """What the stage reads from outside of the run; None where that is nothing. Raises UserError for a path that
    does not lead to it."""
    names = [*recipe.compare, *([recipe.extend.tokenizer] if recipe.extend else [])]
    found: dict[str, Any] = {name: sha256(file(name)) for name in names if not on_hub(name)}
    if recipe.parallel is not None:
        found[recipe.parallel] = {path.name: sha256(path) for path in parallel_files(recipe.parallel)}
    return found or None


def on_hub(name: str) -> bool:
    """Whether the name is one of the Hub rather than a path."""
    return re.fullmatch(HUB, name) is not None


def file(name: str) -> Path:
    """The tokenizer.json in a folder."""
    path = Path(name).expanduser() / "tokenizer.json"
    if not path.is_file():
        raise UserError(
            f"tokenizer.yaml: {name}: there is no {path.absolute()}. Name a folder that holds a tokenizer.json, or a "
            f"tokenizer of the Hub as org/name@<commit of 40 hex digits>."
        )
    return path


def load(name: str) -> Any:
    """The tokenizer as transformers loads it. Raises UserError where it cannot be had, or has no fast version."""
    from transformers import AutoTokenizer

    place, _, revision = name.partition("@") if on_hub(name) else (str(file(name).parent), "", None)
    try:
        tokenizer = AutoTokenizer.from_pretrained(place, revision=revision, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise UserError(f"tokenizer.yaml: {name}: cannot be loaded: {str(error).splitlines()[0]}") from None
    if not tokenizer.is_fast:
        raise UserError(f"tokenizer.yaml: {name}: has no tokenizer.json, the form that this pipeline reads.")
    return tokenizer


def parallel_files(name: str) -> list[Path]:
    """The zip, or the folder's texts, sorted."""
    path = Path(name).expanduser()
    if path.is_file() and zipfile.is_zipfile(path):
        return [path]
    found = sorted(path.glob("*.txt")) if path.is_dir() else []
    if not found:
        raise UserError(
            f"tokenizer.yaml: parallel = {name}: {path.absolute()} is no zip, and no folder with <language>.txt files."
        )
    return found


def parallel_texts(name: str) -> Iterator[tuple[str, str]]:
    """Each language and its text, by language. Raises UserError for a text that is not UTF-8, or none at all."""
    count = 0
    for language, data in _parallel_bytes(parallel_files(name)):
        try:
            text = data.decode("utf-8-sig").strip()
        except UnicodeDecodeError as error:
            raise UserError(
                f"tokenizer.yaml: parallel = {name}: {language}.txt is not UTF-8: {error.reason}."
            ) from None
        if text:
            count += 1
            yield language, text
    if not count:
        raise UserError(f"tokenizer.yaml: parallel = {name}: holds no <language>.txt with text in it.")


def _parallel_bytes(files: list[Path]) -> Iterator[tuple[str, bytes]]:
    if files[0].suffix == ".txt":
        for path in files:
            yield path.stem, path.read_bytes()
        return
    with zipfile.ZipFile(files[0]) as archive:
        for name in sorted(archive.namelist()):
            if name.endswith(".txt"):
                yield Path(name).stem, archive.read(name)
