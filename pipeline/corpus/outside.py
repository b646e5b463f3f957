"""What `corpus` reads beside collect's artifact: the models and labelled texts that the recipe names, by content.

Goes into the fingerprint, so that another model under the same name builds the corpus again.
"""

import hashlib
from pathlib import Path
from typing import Any

from pipeline.corpus.recipe import Recipe
from pipeline.stage import UserError


def named(recipe: Recipe) -> dict[str, str]:
    """The recipe's keys that name files, and the files."""
    found = {"language_model": recipe.language_model}
    if recipe.quality.classifier is not None:
        found["quality.classifier.labelled"] = recipe.quality.classifier.labelled
        found["quality.classifier.model"] = recipe.quality.classifier.model
    if recipe.safety is not None:
        found["safety.labelled"] = recipe.safety.labelled
    return {key: path for key, path in found.items() if path is not None}


def identity(recipe: Recipe) -> Any:
    """key -> sha256 of the file; None where the recipe names none. Raises UserError for a file that is missing."""
    hashes = {}
    for key, name in named(recipe).items():
        path = Path(name).expanduser()
        if not path.is_file():
            raise UserError(f"corpus.yaml: {key}: there is no file {path.absolute()}. Correct the path.")
        with path.open("rb") as file:
            hashes[key] = hashlib.file_digest(file, "sha256").hexdigest()
    return hashes or None
