"""ROUGE-L as an `evaluate.Metric` that needs no network: the F measure of the longest common subsequence of words.

Lin 2004, "ROUGE: A Package for Automatic Evaluation of Summaries", section 3, with beta = 1; words are lower-cased
runs of letters and digits, no stemming. Use: `RougeL(keep_in_memory=True).compute(predictions=[..], references=[..])`.
"""

import re

import datasets
import evaluate

WORD = re.compile(r"[^\W_]+")


def words(text: str) -> list[str]:
    """The lower-cased words that are compared."""
    return WORD.findall(text.lower())


def common_length(a: list[str], b: list[str]) -> int:
    """Length of the longest common subsequence, one row of the table at a time: O(len(b)) memory."""
    row = [0] * (len(b) + 1)
    for left in a:
        diagonal = 0
        for j, right in enumerate(b, start=1):
            above = row[j]
            row[j] = diagonal + 1 if left == right else max(above, row[j - 1])
            diagonal = above
    return row[-1]


def rouge_l(prediction: str, reference: str) -> float:
    """F measure in [0, 1]; 0 where either side has no word."""
    predicted, expected = words(prediction), words(reference)
    common = common_length(predicted, expected)
    return 2 * common / (len(predicted) + len(expected)) if common else 0.0


class RougeL(evaluate.Metric):
    """compute() gives {"rouge_l": mean, "scores": one F measure a prediction}."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description="ROUGE-L F measure, beta = 1, no stemming.",
            citation="Lin 2004, ROUGE: A Package for Automatic Evaluation of Summaries.",
            inputs_description="predictions and references: one text each.",
            features=datasets.Features(
                {"predictions": datasets.Value("string"), "references": datasets.Value("string")}
            ),
        )

    def _compute(self, predictions: list[str], references: list[str]) -> dict[str, float | list[float]]:
        scores = [rouge_l(p, r) for p, r in zip(predictions, references, strict=True)]
        return {"rouge_l": sum(scores) / len(scores), "scores": scores}
