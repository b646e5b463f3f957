"""The labelled real data that `bench.corpus` measures on, and the measures.

The folder is `--data`, else $GROUNDUP_DATA, else ../shared/data beside the repository. Nothing of it is copied.
"""

import gzip
import hashlib
import io
import json
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
WORD = re.compile(r"\w+")


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table. value: what was measured. bar: what it must reach, "" where there is none."""

    what: str
    on: str
    value: str
    bar: str = ""
    reached: bool | None = None
    beside: str = ""


def folder(given: Path | None) -> Path:
    """Where the data lies; it need not exist."""
    return given or Path(os.environ.get("GROUNDUP_DATA", ROOT.parent / "shared" / "data"))


def named(package: str, what: str = "") -> str:
    """A library, or what of it is meant, with the installed version: what a figure of it is worth depends on that."""
    try:
        return f"{what or package} {version(package)}"
    except PackageNotFoundError:
        return f"{what or package}, not installed"


def text_of(path: Path) -> str:
    """A file's text, unpacked where its name ends in .gz."""
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return data.decode("utf-8")


def only(data: Path, pattern: str) -> Path:
    """The one file that matches. Raises FileNotFoundError naming the pattern."""
    found = sorted(data.glob(pattern))
    if not found:
        raise FileNotFoundError(f"{data}: nothing matches {pattern}")
    return found[0]


def json_of(path: Path) -> Any:
    """A JSON file's value."""
    return json.loads(text_of(path))


def jsonl_of(path: Path) -> Iterator[Any]:
    """The values of a JSONL file."""
    return (json.loads(line) for line in io.StringIO(text_of(path)) if line.strip())


def word_f1(text: str, gold: str) -> float:
    """F1 of the two bags of words, case aside; 1 for two empty texts."""
    a, b = Counter(WORD.findall(text.lower())), Counter(WORD.findall(gold.lower()))
    if not a or not b:
        return float(a == b)
    return 2 * (a & b).total() / (a.total() + b.total())


def auc(scores: Sequence[float], positive: Sequence[bool]) -> float:
    """Area under the ROC curve: the chance that a positive scores above a negative, ties counting half."""
    values, truth = np.asarray(scores, dtype=float), np.asarray(positive, dtype=bool)
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    rank = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    num_positive = int(truth.sum())
    above = rank[truth].sum() - num_positive * (num_positive + 1) / 2
    return float(above / (num_positive * (len(truth) - num_positive)))


def f1(found: Sequence[bool], truth: Sequence[bool]) -> float:
    """F1 of a yes-or-no verdict."""
    hits = sum(a and b for a, b in zip(found, truth, strict=True))
    return 2 * hits / max(1, sum(found) + sum(truth))


def fold(text: str, folds: int = 5) -> int:
    """The fold of a text: equal texts, case aside, are never on both sides."""
    return int.from_bytes(hashlib.sha256(" ".join(text.lower().split()).encode()).digest()[:4], "big") % folds
