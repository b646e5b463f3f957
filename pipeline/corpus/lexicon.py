"""Coarse words: the share of a document's words that stand on better-profanity's list. What ships for safety without
labelled text.

A list sees words and no meaning: medicine, history and novels use some of them, so only a document full of them goes.
`make bench-corpus` says what that is worth beside a trained classifier.
"""

import importlib.util
import re
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


def share(text: str) -> float:
    """Coarse words of all words; 0 where there are fewer than LEAST of them."""
    found = WORD.findall(text.lower())
    listed = words()
    count = sum(word in listed or word.removesuffix("s") in listed for word in found)
    return count / len(found) if count >= LEAST else 0.0
