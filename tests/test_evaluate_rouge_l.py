"""ROUGE-L against an independent, slow and simple longest common subsequence."""

import random
from functools import cache

import pytest

from pipeline.evaluate.metrics.rouge_l import RougeL, common_length, rouge_l, words


def simple_lcs(a: tuple[str, ...], b: tuple[str, ...]) -> int:
    """By the definition: drop the first of either side, or take it where they agree."""

    @cache
    def longest(i: int, j: int) -> int:
        if i == len(a) or j == len(b):
            return 0
        if a[i] == b[j]:
            return 1 + longest(i + 1, j + 1)
        return max(longest(i + 1, j), longest(i, j + 1))

    return longest(0, 0)


def test_the_longest_common_subsequence_is_the_definitions():
    rng = random.Random(0)
    for _ in range(300):
        a, b = (tuple(rng.choices("abcde", k=rng.randrange(0, 12))) for _ in range(2))
        assert common_length(list(a), list(b)) == simple_lcs(a, b)


@pytest.mark.parametrize(
    ("prediction", "reference", "score"),
    [
        ("the cat sat", "the cat sat", 1.0),
        ("The CAT, sat!", "the cat sat", 1.0),
        ("police kill the gunman", "police killed the gunman", 0.75),
        ("the gunman kill police", "police killed the gunman", 0.5),
        ("the cat", "the cat sat on the mat", 2 * 2 / 8),
        ("", "the cat", 0.0),
        ("dog", "", 0.0),
        ("...", "...", 0.0),
    ],
)
def test_known_scores(prediction, reference, score):
    assert rouge_l(prediction, reference) == pytest.approx(score)


def test_words_are_lower_cased_runs_of_letters_and_digits():
    assert words("Return_the 2nd value, naïvely.") == ["return", "the", "2nd", "value", "naïvely"]


def test_the_metric_gives_the_mean_and_every_score():
    metric = RougeL(keep_in_memory=True)
    found = metric.compute(predictions=["a b c d", "x"], references=["a c d b", "y"])
    assert found["scores"] == [pytest.approx(0.75), 0.0]
    assert found["rouge_l"] == pytest.approx(0.375)
    again = metric.compute(predictions=["x"], references=["x"])
    assert again == {"rouge_l": 1.0, "scores": [1.0]}
