"""Tokens, sentences and n-grams: what every step that compares text agrees on.

`Words` stands in for datatrove's English tokenizer, which needs spacy (200 documents/s with it, thousands without).
"""

import re

from datatrove.utils.word_tokenizers import WordTokenizer

from pipeline.sentences import sentences

TOKEN = re.compile(r"\w+(?:['’]\w+)*|[^\w\s]")  # noqa: RUF001 a typographic apostrophe is meant


class Words(WordTokenizer):
    """A word tokenizer on regular expressions, for datatrove's `language=` arguments."""

    def __init__(self) -> None:
        super().__init__("en")

    def word_tokenize(self, text: str) -> list[str]:
        """Words and single punctuation marks."""
        return TOKEN.findall(text)

    def sent_tokenize(self, text: str) -> list[str]:
        """Sentences without surrounding white space."""
        return [part.strip() for part in sentences(text) if part.strip()]

    def span_tokenize(self, text: str) -> list[tuple[int, int]]:
        """(start, end) of every sentence."""
        spans, start = [], 0
        for part in sentences(text):
            spans.append((start, start + len(part)))
            start += len(part)
        return spans

    def __eq__(self, other: object) -> bool:
        # datatrove keeps the last text's words per tokenizer; a copy in another process is the same tokenizer.
        return isinstance(other, Words)

    def __hash__(self) -> int:
        return hash(Words)


def ngrams(words: tuple[str, ...], n: int) -> set[str]:
    """The distinct word n-grams; of a shorter text the whole text, of an empty one nothing."""
    if len(words) <= n:
        return {" ".join(words)} if words else set()
    return {" ".join(words[i : i + n]) for i in range(len(words) - n + 1)}
