"""Gibberish: text whose spelling is unlike any that labelled text shows.

A model of letter trigrams is learned from the documents in collect's labelled.jsonl (no word list), spam and abuse
among them, since they are badly meant and not badly spelt. A document is dropped when its mean log-probability a
character lies below what nearly all labelled text reaches. Trigrams with marks or foreign letters do not count: a name
like Łukasz is no gibberish.
"""

import re
from functools import cache
from pathlib import Path

import numpy as np
from datatrove.data import Document

from pipeline.corpus.step import Ledger, Step

SYMBOLS = 28  # a to z, white space, anything else (digits, marks, foreign letters)
OTHER = 27
FLOOR = 0.5  # pseudo-count of a trigram that was never seen
SLACK = 0.25  # share of the distance from labelled text's median to its tail by which the threshold is moved out

# ASCII letters to 0..25, the space to 26, every other byte to OTHER.
_TABLE = bytes(
    26 if c == 32 else (c | 32) - 97 if chr(c).isascii() and chr(c).isalpha() else OTHER for c in range(256)
)
SPACES = re.compile(r"\s+")


def codes(text: str) -> np.ndarray:
    """The text as numbers 0 to 27, runs of white space as one."""
    flat = " " + SPACES.sub(" ", text).strip() + " "
    return np.frombuffer(flat.encode("ascii", "replace").translate(_TABLE), dtype=np.uint8).astype(np.int64)


def trigrams(text: str) -> np.ndarray:
    """The index of every trigram of letters and spaces."""
    code = codes(text)
    plain = (code[:-2] != OTHER) & (code[1:-1] != OTHER) & (code[2:] != OTHER)
    return ((code[:-2] * SYMBOLS + code[1:-1]) * SYMBOLS + code[2:])[plain]


def learn(texts: list[str]) -> np.ndarray:
    """log2 P(third character | first two), one number a trigram, smoothed by FLOOR."""
    counts = np.zeros(SYMBOLS**3)
    for text in texts:
        counts += np.bincount(trigrams(text), minlength=SYMBOLS**3)
    table = counts.reshape(SYMBOLS**2, SYMBOLS) + FLOOR
    return np.log2(table / table.sum(axis=1, keepdims=True)).reshape(-1)


def score(text: str, model: np.ndarray) -> float:
    """Mean log2 probability a character; -inf of a text without letters."""
    index = trigrams(text)
    return float(model[index].mean()) if index.size else float("-inf")


def train(texts: list[str], share: float, path: Path) -> None:
    """Learns model and threshold and writes both to `path`; `share` of the texts may score below the threshold.

    The threshold is set on texts that the model scoring them has not seen (two halves, each scored by the other).
    """
    halves = texts[::2], texts[1::2]
    scores = [
        score(text, model)
        for model, half in ((learn(halves[1]), halves[0]), (learn(halves[0]), halves[1]))
        for text in half
    ]
    tail, middle = np.quantile(scores, [share, 0.5])
    np.savez(path, model=learn(texts), threshold=tail - SLACK * (middle - tail))


@cache
def load(path: Path) -> tuple[np.ndarray, float]:
    """Model and threshold, loaded once a process."""
    with np.load(path) as data:
        return data["model"], float(data["threshold"])


class Gibberish(Step):
    """Drops text that is spelt like no clean text."""

    name = "gibberish"

    def __init__(self, path: Path, ledger: Ledger) -> None:
        super().__init__(ledger)
        self.path = path

    def filter(self, doc: Document) -> bool | tuple[bool, str]:
        """Whether the spelling is likely enough."""
        model, threshold = load(self.path)
        found = score(doc.text, model)
        doc.metadata.setdefault("scores", {})["spelling"] = round(found, 4)
        return True if found >= threshold else (False, "gibberish")
