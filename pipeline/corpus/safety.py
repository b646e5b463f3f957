"""Safety: a fastText classifier for spam and abuse, trained at the start of the stage, and a list of coarse words.

It learns from collect's labelled.jsonl, or from a file that the recipe names. Character n-grams let it recognise words
that it never saw, by their parts and their company. The threshold is set on labelled documents that the training did
not see.
"""

import json
import random
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import fasttext
import numpy as np
from datatrove.data import Document

from pipeline.corpus import lexicon, train_classifier
from pipeline.corpus.labelled import Labelled, line
from pipeline.corpus.recipe import Safety
from pipeline.corpus.step import Ledger, Step
from pipeline.corpus.words import sentences

WINDOW = 2  # sentences judged together


def windows(text: str) -> list[str]:
    """The whole text, and every run of WINDOW sentences: a bad line must not drown in a long document."""
    pieces = [piece for piece in map(line, sentences(text)) if piece]
    runs = [" ".join(pieces[i : i + WINDOW]) for i in range(max(1, len(pieces) - WINDOW + 1))]
    return [" ".join(pieces), *runs] if len(runs) > 1 else runs


def fit(rows: Sequence[Labelled], path: Path, seed: int) -> Any:
    """A fastText classifier of these rows, written to `path`.

    Clean documents are also shown window by window, or every short text would look unlike "clean".
    """
    lines = [f"__label__{row.label} {line(row.text)}" for row in rows]
    lines += [f"__label__clean {part}" for row in rows if row.label == "clean" for part in windows(row.text)[1:]]
    random.Random(f"{seed}/safety").shuffle(lines)
    listing = path.with_suffix(".txt")
    listing.write_text("\n".join(lines) + "\n", encoding="utf-8")
    train_classifier.train(listing, path, seed)
    listing.unlink()
    return fasttext.load_model(str(path))


def scores(model: Any, text: str, labels: Sequence[str]) -> tuple[float, str]:
    """(the highest probability that a window is of any of `labels`, the likeliest of them for the whole text)."""
    parts = [part for part in windows(text) if part]
    if not parts:
        return 0.0, labels[0]
    found, probabilities = model.predict(parts, k=-1)
    tables = [
        {name.removeprefix("__label__"): float(value) for name, value in zip(names, values, strict=True)}
        for names, values in zip(found, probabilities, strict=True)
    ]
    bad = max(sum(table.get(label, 0.0) for label in labels) for table in tables)
    return min(bad, 1.0), max(labels, key=lambda label: tables[0].get(label, 0.0))


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
            found["coarse"] = round(lexicon.share(doc.text), 4)
            if found["coarse"] >= self.recipe.coarse_share:
                return False, "coarse"
        return True
