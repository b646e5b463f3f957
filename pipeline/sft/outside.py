"""What `sft` reads from outside of the run: the files of its data, and of the model where that is a folder.

A JSON value for the fingerprint; None where everything comes from the run or from pinned commits of the Hub. Imports
nothing heavy: the driver calls this at every start.
"""

from pathlib import Path
from typing import Any

from pipeline import artifact
from pipeline.sft.recipe import Recipe
from pipeline.stage import UserError
from pipeline.table import identity as table_identity

MODEL_FILES = (".safetensors", ".json", ".jinja")


def identity(recipe: Recipe) -> Any:
    """The JSON value. Raises UserError where something is not there."""
    found: dict[str, Any] = {}
    if recipe.data is not None:
        found["data"] = table_identity(recipe.data.sources)
    if recipe.model is not None and recipe.model.is_folder:
        folder = Path(recipe.model.id).expanduser()
        names = sorted(p for p in folder.glob("*") if p.name.endswith(MODEL_FILES)) if folder.is_dir() else []
        if not any(path.suffix == ".safetensors" for path in names):
            raise UserError(
                f"sft.yaml: model.id = {recipe.model.id}: holds no .safetensors. Name the folder of a saved model."
            )
        found["model"] = [{"file": path.name, "sha256": artifact.sha256(path)} for path in names]
    return found or None
