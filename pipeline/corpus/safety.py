"""Safety: a fastText classifier for spam and abuse, trained at the start of the stage, and a list of coarse words.

It learns from collect's labelled.jsonl, or from a file that the recipe names. Character n-grams let it recognise words
that it never saw, by their parts and their company. The threshold is set on labelled documents that the training did
not see.
"""

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import fasttext
import numpy as np
from datatrove.data import Document

from pipeline import coarse_words
from pipeline.corpus.recipe import Safety
from pipeline.corpus.step import Ledger, Step
from pipeline.labelled import Labelled
from pipeline.text_classifier import fit, scores


def train(rows: Sequence[Labelled], recipe: Safety, folder: Path, seed: int) -> None:
    """Writes `safety.bin` and `safety.json` (the threshold) into `folder`.

    The threshold is what all but `clean_share` of the clean documents stay below, each scored by a model that was
    trained on the other half, and at least one half.
    """
    ordered = sorted(rows, key=lambda row: row.label)  # each half has its share of every label
    halves = ordered[::2], ordered[1::2]
    paths = [folder / name for name in ("first_half.bin", "second_half.bin", "safety.bin")]
    with ThreadPoolExecutor(2) as pool:  # each training is a process of its own with one thread
        models = list(pool.map(fit, (*halves, rows), paths, (seed, seed, seed)))
    clean = [
        scores(model, row.text, recipe.labels)[0]
        for model, other in ((models[0], halves[1]), (models[1], halves[0]))
        for row in other
        if row.label == "clean"
    ]
    threshold = max(0.5, float(np.quantile(clean, 1 - recipe.clean_share)))
    for path in paths[:2]:
        path.unlink()
    (folder / "safety.json").write_text(json.dumps(threshold), encoding="utf-8")


@cache
def load(folder: Path) -> tuple[Any, float]:
    """Classifier and threshold, loaded once a process."""
    threshold = json.loads((folder / "safety.json").read_text(encoding="utf-8"))
    return fasttext.load_model(str(folder / "safety.bin")), threshold


class SafetyFilter(Step):
    """Drops documents in which a window is more likely bad than clean text ever is, or full of coarse words."""

    name = "safety"

    def __init__(self, folder: Path, recipe: Safety, ledger: Ledger) -> None:
        super().__init__(ledger)
        self.folder = folder
        self.recipe = recipe

    def filter(self, doc: Document) -> bool | tuple[bool, str]:
        """Drops for the likeliest label, or for "coarse"."""
        found = doc.metadata.setdefault("scores", {})
        if self.recipe.labels:
            model, threshold = load(self.folder)
            bad, label = scores(model, doc.text, self.recipe.labels)
            found["unsafe"] = round(bad, 4)
            if bad > threshold:
                return False, label
        if self.recipe.coarse_share is not None:
            found["coarse"] = round(coarse_words.share(doc.text), 4)
            if found["coarse"] >= self.recipe.coarse_share:
                return False, "coarse"
        return True
