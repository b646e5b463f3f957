"""How well a vocabulary fits a text: bytes per token, tokens per word, single characters, entries never used.

Fed with held-out documents one by one; gives the report (fertility.json: all, and each source) and the metrics.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from pipeline.intervals import bootstrap_mean

# What is counted in each document, and the two of them whose quotient a figure is.
COUNTS = ("bytes", "tokens", "words", "single_characters")
FIGURES = {
    "bytes_per_token": ("bytes", "tokens"),
    "tokens_per_word": ("tokens", "words"),
    "single_character_share": ("single_characters", "tokens"),
}


class Fertility:
    """Counts over documents. Words are what blanks separate, so figures per word mean little in Chinese or Thai."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        size = tokenizer.get_vocab_size()
        self.special = sorted(tokenizer.get_added_tokens_decoder())
        # A piece that is no whole character (some bytes of one) counts as a single character.
        self.single = np.array([len(tokenizer.decode([i], skip_special_tokens=False)) <= 1 for i in range(size)])
        self.used = np.zeros(size, dtype=bool)
        self.documents: dict[str, list[tuple[int, int, int, int]]] = defaultdict(list)

    def add(self, source: str, text: str, ids: Sequence[int]) -> None:
        """Counts one document."""
        self.used[ids] = True
        singles = int(self.single[ids].sum())
        self.documents[source].append((len(text.encode()), len(ids), len(text.split()), singles))

    def unused_share(self) -> float:
        """The share of the vocabulary, special tokens aside, that no document used."""
        plain = np.delete(self.used, self.special)
        return float(1 - plain.mean())

    def report(self) -> dict[str, Any]:
        """Counts and figures of all documents and of each source."""
        everything = [counts for documents in self.documents.values() for counts in documents]
        return {
            "split": "heldout",
            "vocabulary_size": len(self.used),
            "unused_vocabulary_share": self.unused_share(),
            "all": summary(everything),
            "by_source": {source: summary(documents) for source, documents in sorted(self.documents.items())},
        }

    def metrics(self, seed: int) -> dict[str, float]:
        """The figures over all documents with their 95 % intervals over documents."""
        table = np.array([counts for documents in self.documents.values() for counts in documents], dtype=np.float64)
        metrics = {"unused_vocabulary_share": self.unused_share()}
        for name, (above, below) in FIGURES.items():
            numerators, denominators = table[:, COUNTS.index(above)], table[:, COUNTS.index(below)]
            ratio = numerators.sum() / max(denominators.sum(), 1)
            # A quotient of sums is, to first order, the mean of these values (Cochran, Sampling Techniques, 6.3).
            values = ratio + (numerators - ratio * denominators) / max(denominators.mean(), 1e-9)
            _, low, high = bootstrap_mean(values, seed)
            metrics |= {name: float(ratio), f"{name}_low": low, f"{name}_high": high, f"{name}_n": len(table)}
        return metrics


def summary(documents: Sequence[Sequence[int]]) -> dict[str, float]:
    """Totals and figures of some documents."""
    totals = dict(zip(COUNTS, np.sum(documents, axis=0).tolist(), strict=True))
    figures = {name: totals[above] / max(totals[below], 1) for name, (above, below) in FIGURES.items()}
    return {"documents": len(documents), **totals, **figures}
