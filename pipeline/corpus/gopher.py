"""datatrove's two Gopher filters with the same rules and verdicts, three to five times faster.

What took the time: every n-gram of six lengths joined into a string, where a text without one repeated 5-gram has no
repeated longer one; every word walked through letter by letter, where `str.isalnum` settles nearly all of them. A test
compares the verdicts with datatrove's own.
"""

from collections import Counter
from collections.abc import Sequence
from operator import itemgetter

from datatrove.data import Document
from datatrove.pipeline.filters.gopher_quality_filter import GopherQualityFilter
from datatrove.pipeline.filters.gopher_repetition_filter import (
    GopherRepetitionFilter,
    find_all_duplicate,
    find_duplicates,
)
from datatrove.utils.text import PUNCTUATION_SET, split_into_words

Verdict = bool | tuple[bool, str]


def grams(words: Sequence[str], n: int) -> zip:  # type: ignore[type-arg]
    """The word n-grams as tuples."""
    return zip(*(words[start:] for start in range(n)), strict=False)


def most_frequent(words: Sequence[str], n: int) -> tuple[int, int]:
    """(characters, count) of the most frequent n-gram, words joined by spaces; (0, 0) of fewer than n words."""
    counts = Counter(grams(words, n))
    if not counts:
        return 0, 0
    gram, count = max(counts.items(), key=itemgetter(1))
    return sum(map(len, gram)) + n - 1, count


class Repetition(GopherRepetitionFilter):
    """Repeated lines, paragraphs and n-grams: table A1 of 2112.11446."""

    def filter(self, doc: Document) -> Verdict:
        """The first limit that the text exceeds."""
        if not doc.text:
            return False, "empty"
        return self.repeated_parts(doc.text) or self.repeated_words(doc.text) or True

    def repeated_parts(self, text: str) -> tuple[bool, str] | None:
        """Paragraphs and lines."""
        for name, parts, share, characters in (
            ("para", self.paragraph_exp.split(text.strip()), self.dup_para_frac, self.dup_para_char_frac),
            ("line", self._line_splitter.split(text), self.dup_line_frac, self.dup_line_char_frac),
        ):
            count, length = find_duplicates(parts)
            if share and count / len(parts) > share:
                return False, f"dup_{name}_frac"
            if characters and length / len(text) > characters:
                return False, f"dup_{name}_char_frac"
        return None

    def repeated_words(self, text: str) -> tuple[bool, str] | None:
        """N-grams."""
        words = split_into_words(text, self.language)
        unrepeated = len(words)  # the shortest n-gram known to stand nowhere twice; no longer one does either
        for n, limit in self.top_n_grams:
            characters, count = most_frequent(words, n)
            if characters * count / len(text) > limit:
                return False, f"top_{n}_gram"
            unrepeated = min(unrepeated, n) if count == 1 else unrepeated
        for n, limit in self.dup_n_grams:
            if n < unrepeated and len(set(grams(words, n))) == len(words) - n + 1:
                unrepeated = n
            if n < unrepeated and find_all_duplicate(words, n) / len(text) > limit:
                return False, f"duplicated_{n}_n_grams"
        return None


class Quality(GopherQualityFilter):
    """Length, word length, symbols, bullets, letters and stop words: appendix A1.1 of 2112.11446."""

    def filter(self, doc: Document) -> Verdict:
        """The first rule that the text breaks."""
        words = split_into_words(doc.text, self.language)
        plain = [word for word in words if word.isalnum() or not PUNCTUATION_SET.issuperset(word)]
        count = len(plain)
        if self.min_doc_words and count < self.min_doc_words:
            return False, "gopher_short_doc"
        if self.max_doc_words and count > self.max_doc_words:
            return False, "gopher_long_doc"
        if not words:
            return False, "gopher_short_doc"
        mean = sum(map(len, plain)) / max(1, count)
        if self.min_avg_word_length and mean < self.min_avg_word_length:
            return False, "gopher_below_avg_threshold"
        if self.max_avg_word_length and mean > self.max_avg_word_length:
            return False, "gopher_above_avg_threshold"
        return self.marks(doc.text, len(words)) or self.letters(words) or True

    def marks(self, text: str, num_words: int) -> tuple[bool, str] | None:
        """Hashes and ellipses by the word; bullets and ellipses by the line."""
        limit = self.max_symbol_word_ratio
        if limit and text.count("#") / num_words > limit:
            return False, "gopher_too_many_hashes"
        if limit and (text.count("...") + text.count("…")) / num_words > limit:
            return False, "gopher_too_many_ellipsis"
        lines = text.splitlines()
        bullets = sum(line.lstrip().startswith(("•", "-")) for line in lines)
        if self.max_bullet_lines_ratio and bullets / len(lines) > self.max_bullet_lines_ratio:
            return False, "gopher_too_many_bullets"
        ellipses = sum(line.rstrip().endswith(("...", "…")) for line in lines)
        if self.max_ellipsis_lines_ratio and ellipses / len(lines) > self.max_ellipsis_lines_ratio:
            return False, "gopher_too_many_end_ellipsis"
        return None

    def letters(self, words: Sequence[str]) -> tuple[bool, str] | None:
        """The share of words with a letter; stop words."""
        limit = self.max_non_alpha_words_ratio
        if limit:
            lettered = sum(word.isalpha() or any(map(str.isalpha, word)) for word in words)
            if lettered / len(words) < limit:
                return False, "gopher_below_alpha_threshold"
        if self.min_stop_words and len(self.stop_words.intersection(words)) < self.min_stop_words:
            return False, "gopher_enough_stop_words"
        return None
