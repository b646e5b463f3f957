"""Exact match as an `evaluate.Metric` that needs no network: whether an answer is the reference, after normalising.

Rajpurkar et al. 2016, "SQuAD", section 6.1: lower case, no punctuation, no articles (a, an, the), one blank between
words. Use: `ExactMatch(keep_in_memory=True).compute(predictions=[..], references=[..])`.
"""

import re
import unicodedata

import datasets
import evaluate

ARTICLES = re.compile(r"\b(a|an|the)\b")


def normalised(text: str) -> str:
    """What is compared. Punctuation is every character that Unicode calls so, or a symbol."""
    kept = "".join(c for c in text.casefold() if unicodedata.category(c)[0] not in "PS")
    return " ".join(ARTICLES.sub(" ", kept).split())


class ExactMatch(evaluate.Metric):
    """compute() gives {"exact_match": share, "scores": 1.0 or 0.0 a prediction}."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description="Share of predictions that equal their reference after SQuAD's normalisation.",
            citation="Rajpurkar et al. 2016, SQuAD: 100,000+ Questions for Machine Comprehension of Text.",
            inputs_description="predictions and references: one text each.",
            features=datasets.Features(
                {"predictions": datasets.Value("string"), "references": datasets.Value("string")}
            ),
        )

    def _compute(self, predictions: list[str], references: list[str]) -> dict[str, float | list[float]]:
        scores = [float(normalised(p) == normalised(r)) for p, r in zip(predictions, references, strict=True)]
        return {"exact_match": sum(scores) / len(scores), "scores": scores}
