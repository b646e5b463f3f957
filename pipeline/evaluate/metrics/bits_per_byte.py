"""Bits per byte as an `evaluate.Metric` that needs no network: the price of texts, free of the tokenizer.

Gao et al. 2020, "The Pile", section 3.1: the negative log-likelihood of all texts in bits, over all bytes in UTF-8.
Use: `BitsPerByte(keep_in_memory=True).compute(predictions=[log-likelihood in nats, ..], references=[text, ..])`.
"""

import math

import datasets
import evaluate


class BitsPerByte(evaluate.Metric):
    """compute() gives {"bits_per_byte": of all texts together, "bits": of each, "bytes": of each}."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description="Negative log-likelihood in bits, over bytes in UTF-8.",
            citation="Gao et al. 2020, The Pile: An 800GB Dataset of Diverse Text for Language Modeling.",
            inputs_description="predictions: the log-likelihood of each text in nats; references: the texts.",
            features=datasets.Features(
                {"predictions": datasets.Value("float64"), "references": datasets.Value("string")}
            ),
        )

    def _compute(self, predictions: list[float], references: list[str]) -> dict[str, float | list[float] | list[int]]:
        bits = [-value / math.log(2) for value in predictions]
        sizes = [len(text.encode()) for text in references]
        if not sum(sizes):
            raise ValueError("bits_per_byte: the references have no bytes at all")
        return {"bits_per_byte": sum(bits) / sum(sizes), "bits": bits, "bytes": sizes}
