"""Whether a benchmark's questions, as the harness asks them, are among the items that a certificate was given for.

A certificate says that these items were searched for. It covers a question whose text, in words without case and
punctuation, stands in an item, or holds an item that is at least half of it (an item may be a question without its
prompt).
"""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from pipeline.words import normal_words

LEAST = 0.5  # of a question's words that an item within it must have: a short one would be found in anything


class Items:
    """The normal words of collect/evaluation/<benchmark>.jsonl, to look questions up in."""

    def __init__(self, path: Path) -> None:
        with path.open(encoding="utf-8") as lines:
            texts = [json.loads(line)["text"] for line in lines if line.strip()]
        # collect puts an item's columns below each other, so most questions are a line of their item.
        parts = {normal_words(part) for text in texts for part in (text, *text.split("\n"))} - {()}
        self.parts = {" ".join(words) for words in parts}
        self.lengths = sorted({len(words) for words in parts}, reverse=True)
        self.whole = "\n".join(f" {' '.join(normal_words(text))} " for text in texts)

    def cover(self, text: str) -> bool:
        """Whether the text stands in an item or holds one. A text without a word is covered by none."""
        words = normal_words(text)
        if not words:
            return False
        told = " ".join(words)
        return told in self.parts or f" {told} " in self.whole or self._within(words)

    def _within(self, words: Sequence[str]) -> bool:
        lengths = [length for length in self.lengths if LEAST * len(words) <= length < len(words)]
        return any(
            " ".join(words[at : at + length]) in self.parts
            for length in lengths
            for at in range(len(words) - length + 1)
        )


def uncovered(path: Path, questions: Iterable[Sequence[str]]) -> str | None:
    """What speaks against the certificate of the items in `path`, in words; None where they cover every question.

    questions: of each the texts that tell it, as the harness renders it and as its data have it.
    """
    items = Items(path)
    asked = [list(texts) for texts in questions]
    missing = [texts for texts in asked if not any(items.cover(text) for text in texts)]
    if not missing:
        return None
    shown = next((" ".join(text.split()) for text in missing[0] if text.strip()), "(no text)")
    return (
        f"{len(missing)} of the {len(asked)} questions that the harness asks are not among the items in "
        f"collect/evaluation/{path.name} that the certificate is for, such as '{shown[:80]}'"
    )
