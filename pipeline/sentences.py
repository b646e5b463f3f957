"""Sentences of a text, by marks and line ends: what the steps of corpus and the classifiers of text cut it into."""

import re
from functools import lru_cache

# A sentence ends at .!? and closing quotes before white space, or at a line's end.
SENTENCE_END = re.compile(r"(?<=[.!?…])[\"'”’)\]]*\s+|\n+")  # noqa: RUF001


@lru_cache(maxsize=4)  # three steps in a row ask for the same text's
def sentences(text: str) -> tuple[str, ...]:
    """The text cut after every sentence end; joined, the pieces are the text again."""
    pieces, start = [], 0
    for match in SENTENCE_END.finditer(text):
        pieces.append(text[start : match.end()])
        start = match.end()
    if start < len(text):
        pieces.append(text[start:])
    return tuple(pieces)
