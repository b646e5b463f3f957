"""What `preferences` reads from outside of the run: a given set, the file of a judge's function, a judging model.

A JSON value for the fingerprint; None where everything comes from the run or from pinned commits of the Hub. Imports
nothing heavy: the driver calls this at every start.
"""

from pathlib import Path
from typing import Any

from pipeline import artifact
from pipeline.functions import function_file
from pipeline.preferences.recipe import Recipe
from pipeline.stage import UserError
from pipeline.table import identity as table_identity

MODEL_FILES = (".safetensors", ".json", ".jinja")


def identity(recipe: Recipe) -> Any:
    """The JSON value. Raises UserError where something is not there."""
    if recipe.dataset is not None:
        return table_identity([recipe.dataset])
    if recipe.function is not None:
        return artifact.sha256(function_file(recipe.function, "preferences.yaml"))
    folder = recipe.reward_model
    if recipe.language_model is not None and not recipe.language_model.url and not recipe.language_model.revision:
        folder = recipe.language_model.model
    return model_identity(folder) if folder else None


def model_identity(model: str) -> list[dict[str, str]]:
    """The files of a model's folder, hashed. Raises UserError where it holds no model."""
    folder = Path(model).expanduser()
    names = sorted(p for p in folder.glob("*") if p.name.endswith(MODEL_FILES)) if folder.is_dir() else []
    if not any(path.suffix == ".safetensors" for path in names):
        raise UserError(f"preferences.yaml: {model}: holds no .safetensors. Name the folder of a saved model.")
    return [{"file": path.name, "sha256": artifact.sha256(path)} for path in names]
