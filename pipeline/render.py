"""How pages and cards are filled from templates, and what they may tell of the user's machine.

environment(Path(__file__).parent, html=True).get_template("page.html").render(values)
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined


def environment(folder: Path, *, html: bool) -> Environment:
    """Templates from a folder. What a template names and does not get is an error; html: values are escaped."""
    return Environment(
        loader=FileSystemLoader(folder),
        autoescape=html,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def without_paths(value: Any) -> Any:
    """A recipe's values as they may be published: of a place on the user's machine only its last name."""
    if isinstance(value, Mapping):
        return {
            key: Path(inner).expanduser().name if key == "folder" and isinstance(inner, str) else without_paths(inner)
            for key, inner in value.items()
        }
    if isinstance(value, list | tuple):
        return [without_paths(inner) for inner in value]
    if isinstance(value, str) and value.startswith(("/", "~/", "../")):
        return Path(value).name
    return value
