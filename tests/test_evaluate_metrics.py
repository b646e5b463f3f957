"""Our evaluate.Metric modules against independent implementations; none needs a network."""

import math
import random
import string

import numpy as np
import pytest

from pipeline.evaluate.metrics.bits_per_byte import BitsPerByte
from pipeline.evaluate.metrics.calibration_error import CalibrationError, calibration_error
from pipeline.evaluate.metrics.exact_match import ExactMatch, normalised
from pipeline.evaluate.metrics.preference_accuracy import PreferenceAccuracy


def test_bits_per_byte_is_minus_log2_of_the_probability_of_a_byte():
    # A text of n bytes under a model that gives each byte the probability 1/8 costs 3 bits a byte, whatever n.
    texts = ["abc", "", "naïve", "日本"]
    found = BitsPerByte(keep_in_memory=True).compute(
        predictions=[math.log((1 / 8) ** len(bytes(text, "utf-8"))) for text in texts], references=texts
    )
    assert found["bits_per_byte"] == pytest.approx(3.0)
    assert found["bytes"] == [3, 0, 6, 6] and found["bits"] == pytest.approx([9, 0, 18, 18])
    with pytest.raises(ValueError, match="no bytes at all"):
        BitsPerByte(keep_in_memory=True).compute(predictions=[-1.0], references=[""])


def squad(text: str) -> str:
    """SQuAD's published normalisation, in ASCII."""
    text = "".join(c for c in text.lower() if c not in set(string.punctuation))
    words = [word for word in text.split() if word not in ("a", "an", "the")]
    return " ".join(words)


def test_exact_match_normalises_as_squad_does():
    rng = random.Random(0)
    for _ in range(300):
        text = "".join(rng.choices("aAnthe  .,!'x1-$", k=rng.randrange(0, 14)))
        assert normalised(text) == squad(text), repr(text)


@pytest.mark.parametrize(
    ("prediction", "reference", "score"),
    [
        ("The Cat.", "cat", 1.0),
        ("cats", "cat", 0.0),
        ("“An  owl”", "owl", 1.0),
        ("", "the", 1.0),
        ("1,000", "1000", 1.0),
    ],
)
def test_exact_match_of_known_pairs(prediction, reference, score):
    found = ExactMatch(keep_in_memory=True).compute(predictions=[prediction, "x"], references=[reference, "x"])
    assert found == {"exact_match": (score + 1) / 2, "scores": [score, 1.0]}


def test_preference_accuracy_is_the_mean_of_the_pairs_signs():
    rng = np.random.default_rng(0)
    chosen, rejected = rng.integers(0, 5, 200).astype(float), rng.integers(0, 5, 200).astype(float)
    found = PreferenceAccuracy(keep_in_memory=True).compute(predictions=chosen, references=rejected)
    assert found["preference_accuracy"] == pytest.approx(((np.sign(chosen - rejected) + 1) / 2).mean())
    assert set(found["scores"]) == {0.0, 0.5, 1.0}


def slow_error(confidences: list[float], rights: list[int], num_bins: int = 10) -> float:
    """By the definition: bin m holds the confidences in ((m - 1) / M, m / M]."""
    total = 0.0
    for m in range(1, num_bins + 1):
        inside = [
            i for i, c in enumerate(confidences)
            if (m - 1) / num_bins < c <= m / num_bins or (c == 0 and m == 1)
        ]  # fmt: skip
        if inside:
            accuracy = sum(rights[i] for i in inside) / len(inside)
            confidence = sum(confidences[i] for i in inside) / len(inside)
            total += len(inside) / len(confidences) * abs(accuracy - confidence)
    return total


def test_calibration_error_is_the_definitions():
    rng = random.Random(1)
    for _ in range(50):
        confidences = [rng.choice([0.0, 1.0, 0.25, rng.random()]) for _ in range(rng.randrange(1, 60))]
        rights = [int(rng.random() < c) for c in confidences]
        found = CalibrationError(keep_in_memory=True).compute(predictions=confidences, references=rights)
        assert found["calibration_error"] == pytest.approx(slow_error(confidences, rights), abs=1e-12)
    rows = calibration_error(np.array([[0.9, 0.9], [0.5, 0.5]]), np.array([[1, 1], [0, 1]]))
    assert rows == pytest.approx([0.1, 0.0])


@pytest.mark.parametrize(("confidence", "right"), [(1.2, 1), (-0.1, 0), (0.5, 2)])
def test_calibration_error_refuses_what_is_no_confidence(confidence, right):
    with pytest.raises(ValueError, match=r"must be confidences in \[0, 1\], references 0 or 1"):
        CalibrationError(keep_in_memory=True).compute(predictions=[confidence], references=[right])
