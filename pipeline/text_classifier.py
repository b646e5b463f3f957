"""A fastText classifier of text by labels, one of them "clean": corpus drops by it, evaluate measures toxicity by it.

Character n-grams let it recognise words that it never saw, by their parts and their company.
"""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import fasttext

from pipeline import train_classifier
from pipeline.labelled import Labelled, line
from pipeline.sentences import sentences

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
