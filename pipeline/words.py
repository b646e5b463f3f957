"""The words of a text as texts are compared by: in lower case, without punctuation, whatever the layout."""

import re
from functools import lru_cache

WORD = re.compile(r"\w+(?:['’]\w+)*")  # noqa: RUF001 a typographic apostrophe is meant


@lru_cache(maxsize=4)  # three steps of corpus in a row ask for the same text's
def normal_words(text: str) -> tuple[str, ...]:
    """The words in lower case without punctuation: the same for texts that differ in layout only."""
    return tuple(WORD.findall(text.casefold()))
