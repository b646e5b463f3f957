"""Repeated passages inside a document: of equal paragraphs, and of equal runs of sentences, the first stays.

It runs before the repetition heuristics: a story with one paragraph pasted twice is mended, not thrown away.
"""

import re
from collections.abc import Sequence

from datatrove.data import Document

from pipeline.corpus.step import Ledger, Step
from pipeline.sentences import sentences
from pipeline.words import normal_words

# A shorter sentence ("Yes!", "He ran and ran.") may well be said twice in an honest text.
MIN_WORDS = 6
MIN_RUN_WORDS = 12  # shorter sentences count when they repeat in a run of at least so many words


def repeated(pieces: Sequence[str]) -> set[int]:
    """The indices of pieces that repeat what stands earlier."""
    keys = [normal_words(piece) for piece in pieces]
    first: dict[tuple[str, ...], int] = {}
    gone: set[int] = set()
    index = 0
    while index < len(pieces):
        start = first.get(keys[index]) if keys[index] else None
        if start is None:
            first.setdefault(keys[index], index)
            index += 1
            continue
        length = 0
        while index + length < len(pieces) and start + length < index and keys[start + length] == keys[index + length]:
            length += 1
        words = [len(keys[index + i]) for i in range(length)]
        if sum(words) >= MIN_RUN_WORDS:
            gone.update(range(index, index + length))
        else:
            gone.update(index + i for i, count in enumerate(words) if count >= MIN_WORDS)
        index += max(1, length)
    return gone


def once(text: str) -> tuple[str, int]:
    """The text with every passage once, and how many sentences went."""
    pieces = sentences(text)
    gone = repeated(pieces)
    if not gone:
        return text, 0
    kept: list[str] = []
    for index, piece in enumerate(pieces):
        if index not in gone:
            kept.append(piece)
        elif "\n" in piece and kept:
            # The paragraph ended here; what follows must not run on.
            kept[-1] = kept[-1].rstrip() + piece[len(piece.rstrip()) :]
    return re.sub(r"\n{3,}", "\n\n", "".join(kept)).strip(), len(gone)


class Passages(Step):
    """Removes repeated passages; drops nothing."""

    name = "passages"

    def __init__(self, ledger: Ledger) -> None:
        super().__init__(ledger)

    def filter(self, doc: Document) -> bool | tuple[bool, str]:
        """Edits in place."""
        doc.text, gone = once(doc.text)
        self.edited("passage", gone)
        return True
