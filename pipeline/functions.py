"""A Python function that a recipe names to judge answers: `module:name`, or `./file.py:name`. Imports little."""

import importlib
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

from pydantic import Field

from pipeline.stage import UserError

FunctionName = Annotated[str, Field(pattern=r"^[^:]+:[A-Za-z_]\w*$")]


def function_file(named: str, where: str) -> Path:
    """The file that defines it, for a fingerprint; `where` is named in a message. Raises UserError without one."""
    module = named.rpartition(":")[0]
    if module.endswith(".py"):
        path = Path(module).expanduser()
    else:
        try:
            found = importlib.util.find_spec(module)
        except ModuleNotFoundError:
            found = None
        path = Path(found.origin) if found and found.origin else Path(module)
    if not path.is_file():
        raise UserError(f"{where}: function = {named}: there is no file or module {module}.")
    return path


def load_function(named: str, where: str) -> Callable[..., float]:
    """The function. Raises UserError where it is not there."""
    path, (module, _, name) = function_file(named, where), named.rpartition(":")
    if module.endswith(".py"):
        spec = importlib.util.spec_from_file_location(path.stem, path)
        assert spec is not None and spec.loader is not None, path
        loaded = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(loaded)
    else:
        loaded = importlib.import_module(module)
    function = getattr(loaded, name, None)
    if not callable(function):
        raise UserError(f"{where}: function = {named}: {path} defines no function '{name}'.")
    return function
