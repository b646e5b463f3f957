"""Preference accuracy as an `evaluate.Metric` that needs no network: whether a score ranks pairs as people did.

Predictions are scores of the chosen answers, references those of the rejected ones, of a reward model or of a
language model. A tie counts half, as in the area under a ROC curve, so that a constant score gets 0.5.
Use: `PreferenceAccuracy(keep_in_memory=True).compute(predictions=[chosen, ..], references=[rejected, ..])`.
"""

import datasets
import evaluate


class PreferenceAccuracy(evaluate.Metric):
    """compute() gives {"preference_accuracy": mean, "scores": 1.0, 0.5 or 0.0 a pair}."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description="Share of pairs whose chosen answer scores above the rejected one; a tie counts half.",
            citation="Stiennon et al. 2020, Learning to Summarize from Human Feedback.",
            inputs_description="predictions: scores of the chosen answers; references: of the rejected ones.",
            features=datasets.Features(
                {"predictions": datasets.Value("float64"), "references": datasets.Value("float64")}
            ),
        )

    def _compute(self, predictions: list[float], references: list[float]) -> dict[str, float | list[float]]:
        scores = [0.5 if c == r else float(c > r) for c, r in zip(predictions, references, strict=True)]
        return {"preference_accuracy": sum(scores) / len(scores), "scores": scores}
