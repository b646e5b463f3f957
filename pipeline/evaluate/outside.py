"""What evaluate reads from outside of the run, as a JSON value that goes into the artifact's fingerprint.

Files and folders that the recipe names, each with size and sha256. Models on the Hub are named by their commit, which
stands in the recipe. Imports nothing heavy: the driver calls this at every start.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.artifact import sha256
from pipeline.evaluate.recipe import Recipe
from pipeline.stage import UserError


def named(recipe: Recipe) -> Iterator[tuple[str, str]]:
    """(key, path) of everything on this machine that the recipe names."""
    for model in recipe.models:
        if model.folder is not None:
            yield f"models.{model.name}.folder", model.folder
    if recipe.judge and not recipe.judge.url and not recipe.judge.revision:
        yield "judge.model", recipe.judge.model
    if recipe.tasks and recipe.tasks.folder is not None:
        yield "tasks.folder", recipe.tasks.folder
    for task, local in recipe.tasks.data.items() if recipe.tasks else ():
        for split, path in local.files.items():
            yield f"tasks.data.{task}.{split}", path
    if recipe.instructions is not None:
        yield "instructions", recipe.instructions
    for key, path in recipe.safety.files.items() if recipe.safety else ():
        yield f"safety.{key}", path


def identity(recipe: Recipe) -> Any:
    """{path: [[file, bytes, sha256], ..]}, None where the recipe names nothing. UserError for what is missing."""
    found = {}
    for key, name in named(recipe):
        path = Path(name).expanduser()
        if not path.exists():
            raise UserError(
                f"evaluate.yaml: {key} = {name}: there is nothing at {path.absolute()}. Give another path."
            )
        files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
        shown = [(p.name if p == path else p.relative_to(path).as_posix(), p) for p in files]
        kept = [
            (short, p) for short, p in shown if not any(part.startswith((".", "__")) for part in Path(short).parts)
        ]
        found[name] = [[short, p.stat().st_size, sha256(p)] for short, p in kept]
    return found or None
