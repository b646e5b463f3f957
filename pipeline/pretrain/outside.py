"""What pretraining reads from outside of the run: the checkpoint that it goes on from."""

from pathlib import Path
from typing import Any

from pipeline.artifact import sha256
from pipeline.pretrain.recipe import Recipe
from pipeline.stage import UserError


def identity(recipe: Recipe) -> Any:
    """The sha256 of every file of a folder with a model; None for a model of the Hub, whose commit says as much, and
    for a run that begins with fresh weights. Raises UserError where the folder holds no safetensors."""
    start = recipe.continue_from
    if start is None or not start.is_folder:
        return None
    folder = Path(start.id).expanduser()
    files = [path for path in sorted(folder.iterdir()) if path.is_file()] if folder.is_dir() else []
    if not any(path.suffix == ".safetensors" for path in files):
        raise UserError(
            f"pretrain.yaml: continue_from.id = {start.id}: no folder with *.safetensors and config.json. Name one, "
            f"or a model of the Hub with its revision."
        )
    return {path.name: sha256(path) for path in files}
