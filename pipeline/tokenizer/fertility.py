"""How well a vocabulary fits a text: bytes per token, tokens per word, single characters, entries never used, and what
does not come back.

Fed with documents one by one; gives a tokenizer's entry in the report (fertility.json) and the metrics.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from pipeline.intervals import bootstrap_mean

# What is counted in each document, and the two of them whose quotient a figure is.
COUNTS = ("documents", "bytes", "characters", "tokens", "words", "single_characters", "unknown", "exact", "lost")
FIGURES = {
    "bytes_per_token": ("bytes", "tokens"),
    "tokens_per_word": ("tokens", "words"),
    "tokens_per_document": ("tokens", "documents"),
    "single_character_share": ("single_characters", "tokens"),
}
# Of what a tokenizer loses: documents that come back exactly, tokens that stand for anything, characters gone.
LOSSES = {
    "exact_share": ("exact", "documents"),
    "unknown_share": ("unknown", "tokens"),
    "lost_character_share": ("lost", "characters"),
}


class Fertility:
    """Counts over documents. Words are what blanks separate, so figures per word mean little in Chinese or Thai."""

    def __init__(self, tokenizer: Tokenizer, unknown_id: int | None = None) -> None:
        size = max(tokenizer.get_vocab().values()) + 1
        self.tokenizer, self.unknown_id = tokenizer, unknown_id
        self.special = sorted(tokenizer.get_added_tokens_decoder())
        # A piece that is no whole character (some bytes of one) counts as a single character.
        self.single = np.array([len(tokenizer.decode([i], skip_special_tokens=False)) <= 1 for i in range(size)])
        self.used = np.zeros(size, dtype=bool)
        self.documents: dict[tuple[str, str], list[tuple[int, ...]]] = defaultdict(list)

    def add(self, source: str, language: str, text: str, ids: Sequence[int]) -> None:
        """Counts one document."""
        self.used[ids] = True
        back = self.tokenizer.decode(ids, skip_special_tokens=False)
        self.documents[source, language].append(
            (
                1,
                len(text.encode()),
                len(text),
                len(ids),
                len(text.split()),
                int(self.single[ids].sum()),
                0 if self.unknown_id is None else list(ids).count(self.unknown_id),
                int(back == text),
                0 if back == text else (Counter(text) - Counter(back)).total(),
            )
        )

    def unused_share(self) -> float:
        """The share of the vocabulary, special tokens aside, that no document used."""
        plain = np.delete(self.used, self.special)
        return float(1 - plain.mean())

    def report(self) -> dict[str, Any]:
        """Counts and figures of all documents, of each source and of each language that is known."""
        by_source: dict[str, list[tuple[int, ...]]] = defaultdict(list)
        by_language: dict[str, list[tuple[int, ...]]] = defaultdict(list)
        for (source, language), documents in self.documents.items():
            by_source[source] += documents
            if language:
                by_language[language] += documents
        return {
            "vocabulary_size": len(self.used),
            "unused_vocabulary_share": self.unused_share(),
            "all": summary(self.table()),
            "by_source": {name: summary(documents) for name, documents in sorted(by_source.items())},
            "by_language": {name: summary(documents) for name, documents in sorted(by_language.items())},
        }

    def table(self) -> np.ndarray:
        """(documents, COUNTS), in the order of the sources' first documents."""
        return np.array([counts for documents in self.documents.values() for counts in documents], dtype=np.float64)

    def metrics(self, seed: int) -> dict[str, float]:
        """The figures over all documents with their 95 % intervals over documents, and what is lost."""
        table = self.table()
        metrics = {"unused_vocabulary_share": self.unused_share()}
        for name, (above, below) in FIGURES.items():
            numerators, denominators = table[:, COUNTS.index(above)], table[:, COUNTS.index(below)]
            ratio = numerators.sum() / max(denominators.sum(), 1)
            # A quotient of sums is, to first order, the mean of these values (Cochran, Sampling Techniques, 6.3).
            values = ratio + (numerators - ratio * denominators) / max(denominators.mean(), 1e-9)
            _, low, high = bootstrap_mean(values, seed)
            metrics |= {name: float(ratio), f"{name}_low": low, f"{name}_high": high, f"{name}_n": len(table)}
        return metrics | {name: summary(table)[name] for name in LOSSES}


def summary(documents: Iterable[Sequence[float]]) -> dict[str, float]:
    """Totals and figures of some documents."""
    totals = dict(zip(COUNTS, np.sum(np.array(list(documents)), axis=0).astype(int).tolist(), strict=True))
    return totals | {
        name: totals[above] / max(totals[below], 1) for name, (above, below) in (FIGURES | LOSSES).items()
    }
