"""Quality by example: a fastText classifier, as DCLM and FineWeb-Edu use them, trained from labelled text or reused.

Trained at the start of the stage, it is kept as `models/quality.bin` in the artifact, where another recipe takes it:
`quality: {classifier: {model: runs/web/corpus/models/quality.bin, keep: [good]}}`.
"""

import random
import shutil
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import fasttext
from datatrove.data import Document

from pipeline import train_classifier
from pipeline.corpus.recipe import Classifier
from pipeline.corpus.step import Ledger, Step
from pipeline.labelled import Labelled, line, read
from pipeline.stage import UserError

KEY = "quality.classifier"


def prepare(recipe: Classifier, folder: Path, seed: int) -> None:
    """Puts the model at `quality.bin` in `folder`: trained, or copied. Raises UserError where that cannot be."""
    path = folder / "quality.bin"
    if recipe.labelled is not None:
        rows = read(Path(recipe.labelled).expanduser(), recipe.keep, KEY)
        if {row.label for row in rows} <= set(recipe.keep):
            raise UserError(f"corpus.yaml: {KEY}: every document of {recipe.labelled} is one to keep. Add others.")
        fit(rows, path, seed)
        return
    assert recipe.model is not None, recipe
    given = Path(recipe.model).expanduser()
    try:
        known = {label.removeprefix("__label__") for label in fasttext.load_model(str(given)).get_labels()}
    except ValueError as error:
        raise UserError(f"corpus.yaml: {KEY}: {given} is no fastText model ({error}).") from None
    if missing := [label for label in recipe.keep if label not in known]:
        raise UserError(f"corpus.yaml: {KEY}: {given} knows no label {missing[0]}. Known: {', '.join(sorted(known))}.")
    shutil.copyfile(given, path)


def fit(rows: Sequence[Labelled], path: Path, seed: int) -> None:
    """Trains on the rows and writes the model."""
    lines = [f"__label__{row.label} {line(row.text)}" for row in rows]
    random.Random(f"{seed}/quality").shuffle(lines)
    listing = path.with_suffix(".txt")
    listing.write_text("\n".join(lines) + "\n", encoding="utf-8")
    train_classifier.train(listing, path, seed)
    listing.unlink()


def score(model: Any, text: str, keep: Sequence[str]) -> float:
    """The probability of all wanted labels together."""
    labels, probabilities = model.predict(line(text), k=-1)
    wanted = {f"__label__{label}" for label in keep}
    return min(1.0, sum(float(p) for label, p in zip(labels, probabilities, strict=True) if label in wanted))


@cache
def load(path: Path) -> Any:
    """The model, loaded once a process."""
    return fasttext.load_model(str(path))


class QualityFilter(Step):
    """Drops what the classifier holds for unwanted."""

    name = "classifier"

    def __init__(self, path: Path, recipe: Classifier, ledger: Ledger) -> None:
        super().__init__(ledger)
        self.path = path
        self.recipe = recipe

    def filter(self, doc: Document) -> bool | tuple[bool, str]:
        """Whether the wanted labels are likely enough."""
        found = score(load(self.path), doc.text, self.recipe.keep)
        doc.metadata.setdefault("scores", {})["quality"] = round(found, 4)
        return True if found >= self.recipe.least else (False, "low_quality")
