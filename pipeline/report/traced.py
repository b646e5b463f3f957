"""Whether a sealed report still says what the manifests say: `make verify` draws it again and compares.

A sha256 shows that the page is as it was written, not that its figures are those of the artifacts: a manifest is not
among the files that it seals. The page is a pure function of the artifacts, so one that is drawn again from them must
have the same bytes, and every number in it is traced to a manifest or to a file that a manifest seals.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline import artifact
from pipeline.report.read import stages
from pipeline.report.recipe import STAGE, Recipe
from pipeline.report.run import context, render

BEFORE, AFTER = 40, 60  # characters that are shown around the first difference


def drawn(folder: Path, sealed: Mapping[str, Any], public: bool = False) -> str:
    """The page of the run whose report is in `folder`. public: as it is published, without texts that were dropped
    from the data, which are the spam, abuse and personal data in them, and without samples of what was trained on."""
    inputs = {name: (folder.resolve() / link["folder"]).resolve() for name, link in sealed["inputs"].items()}
    recipe = Recipe.model_validate_json(json.dumps(sealed["recipe"]))
    return render(context(sealed["run"], recipe, stages(inputs, STAGE.reads), public))


def untraced(folder: Path) -> list[str] | None:
    """What the page in `folder` says otherwise than its sources do; None of one that other code made."""
    sealed, page = artifact.manifest(folder), folder / "index.html"
    if sealed is None or sealed["identity"]["version"] != STAGE.version or not page.is_file():
        return None
    again = drawn(folder, sealed)
    # Not read_text, which makes a line feed of a carriage return, and a model may well write one.
    text = page.read_bytes().decode("utf-8")
    if text == again:
        return []
    at = next((n for n, both in enumerate(zip(text, again, strict=False)) if both[0] != both[1]), len(again))
    has, give = (" ".join(one[max(at - BEFORE, 0) : at + AFTER].split()) for one in (text, again))
    return [f"{page}: is not what the run's manifests say now: it has '{has}', and they give '{give}'"]
