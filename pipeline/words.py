"""The words of a text as texts are compared by: in lower case, without punctuation, whatever the layout."""

import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache

WORD = re.compile(r"\w+(?:['’]\w+)*")  # noqa: RUF001 a typographic apostrophe is meant
# Scripts without spaces, where a run of letters is a whole clause: Thai, Lao, Burmese, Khmer, kana and Han.
UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff"
)
LETTER = re.compile(rf"[{UNSPACED}]")
WORD_OR_LETTER = re.compile(rf"[{UNSPACED}]|[^\W{UNSPACED}]+(?:['’][^\W{UNSPACED}]+)*")  # noqa: RUF001
OF_A_WORD = 0.5  # what such a letter counts for: Chinese and Japanese words have about two


@lru_cache(maxsize=4)  # three steps of corpus in a row ask for the same text's
def normal_words(text: str) -> tuple[str, ...]:
    """The words in lower case without punctuation: the same for texts that differ in layout only.

    Of scripts without spaces every letter is a word, so that a sentence is found inside a longer text.
    """
    if text.isascii():
        return tuple(WORD.findall(text.casefold()))
    text = unicodedata.normalize("NFC", text).casefold()
    return tuple((WORD_OR_LETTER if LETTER.search(text) else WORD).findall(text))


def length(words: Sequence[str]) -> float:
    """How long a run of them is, in words of a script with spaces."""
    return sum(OF_A_WORD if LETTER.match(word) else 1 for word in words)
