"""Coarse words: those of a text that stand on better-profanity's list. What ships for safety without labelled text.

A list sees words and no meaning: medicine, history and novels use some of them, so corpus drops only a document
that is full of them. `make bench-corpus` says what the list is worth beside a trained classifier.
"""

import importlib.util
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path

WORD = re.compile(r"[a-z0-9][a-z0-9@$*'-]*")
LEAST = 2  # occurrences below which nothing is said of a document


@cache
def words() -> frozenset[str]:
    """The list's single words. The package is located, not imported: importing it expands every spelling."""
    spec = importlib.util.find_spec("better_profanity")
    assert spec is not None and spec.origin is not None, "better-profanity is a dependency"
    listing = Path(spec.origin).with_name("profanity_wordlist.txt").read_text(encoding="utf-8")
    return frozenset(line.strip().lower() for line in listing.splitlines() if line.strip())


def count(found: Sequence[str]) -> int:
    """How many of these words, in lower case, are on the list, also in the plural."""
    listed = words()
    return sum(word in listed or word.removesuffix("s") in listed for word in found)


def coarse(text: str) -> bool:
    """Whether any word of the text is on the list."""
    return count(WORD.findall(text.lower())) > 0


def share(text: str) -> float:
    """Coarse words of all words; 0 where there are fewer than LEAST of them."""
    found = WORD.findall(text.lower())
    number = count(found)
    return number / len(found) if number >= LEAST else 0.0
