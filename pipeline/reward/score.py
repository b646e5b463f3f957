"""What a reward model's scores are worth: accuracy on pairs and on kinds of pairs, calibration, the margins."""

from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.intervals import around, bootstrap_mean

MATCHED = 0.1  # sides whose lengths differ by at most this share of the longer one count as equally long
CALIBRATION_BINS = 10
CALIBRATION_RESAMPLES = 200
MOST_SOURCES = 12  # more than that are names, not kinds, and each is too few pairs for a figure


@dataclass(frozen=True, kw_only=True)
class ScoredPair:
    """A held-out pair in its right order: `better` over `worse` by the gold scores, or by the label without them."""

    prompt: Hashable
    better_reward: float
    worse_reward: float
    better_length: int
    worse_length: int
    source: str = ""

    def swapped(self) -> "ScoredPair":
        """The same pair in the other order."""
        return ScoredPair(
            prompt=self.prompt,
            better_reward=self.worse_reward,
            worse_reward=self.better_reward,
            better_length=self.worse_length,
            worse_length=self.better_length,
            source=self.source,
        )


def accuracies(pairs: Sequence[ScoredPair], seed: int) -> dict[str, tuple[float, float, float, int]]:
    """(share, low, high, prompts) of the pairs ordered rightly by the reward, by "longer is better" and by "shorter".

    A tie counts half. The unit is the prompt: pairs of one prompt share answers, so counting each as independent would
    give intervals that are too narrow.
    """
    rules = {
        "reward": [(pair.better_reward, pair.worse_reward) for pair in pairs],
        "longer": [(float(pair.better_length), float(pair.worse_length)) for pair in pairs],
        "shorter": [(-float(pair.better_length), -float(pair.worse_length)) for pair in pairs],
    }
    result = {}
    for rule, values in rules.items():
        right: dict[Hashable, list[float]] = defaultdict(list)
        for pair, (better, worse) in zip(pairs, values, strict=True):
            right[pair.prompt].append(0.5 if better == worse else float(better > worse))
        mean, low, high = bootstrap_mean([float(np.mean(values)) for values in right.values()], seed)
        result[rule] = (mean, low, high, len(right))
    return result


def margins(pairs: Sequence[ScoredPair], bins: int = 40) -> dict[str, list[float] | list[int]]:
    """The histogram of the better answer's reward less the worse one's."""
    counts, edges = np.histogram([pair.better_reward - pair.worse_reward for pair in pairs], bins=bins)
    return {"edges": [round(float(edge), 4) for edge in edges], "counts": [int(count) for count in counts]}


def length_matched(pairs: Sequence[ScoredPair]) -> list[ScoredPair]:
    """The pairs whose sides are about equally long: on them, length tells nothing."""
    return [
        pair
        for pair in pairs
        if abs(pair.better_length - pair.worse_length) <= MATCHED * max(pair.better_length, pair.worse_length)
    ]


def by_source(pairs: Sequence[ScoredPair]) -> dict[str, list[ScoredPair]]:
    """The pairs of each source; {} where there is one alone, or too many."""
    found: dict[str, list[ScoredPair]] = defaultdict(list)
    for pair in pairs:
        found[pair.source].append(pair)
    return dict(sorted(found.items())) if 1 < len(found) <= MOST_SOURCES else {}


def calibration(pairs: Sequence[ScoredPair]) -> list[dict[str, float]]:
    """Of ten bins of equally many pairs by confidence: mean confidence, share ordered rightly, number of pairs.

    The confidence is what the model gives the answer that it prefers: 1 / (1 + exp(-|margin|)), as it was trained
    (Bradley and Terry). A tie counts half.
    """
    margin = np.array([pair.better_reward - pair.worse_reward for pair in pairs])
    return _calibration(margin)


def calibration_error(pairs: Sequence[ScoredPair], seed: int) -> tuple[float, float, float, int]:
    """(error, low, high, prompts): the bins' mean distance of confidence and share right (Guo et al. 2017, ECE).

    The interval is the bootstrap's over prompts, as for the accuracies.
    """
    of_prompt: dict[Hashable, list[int]] = defaultdict(list)
    for index, pair in enumerate(pairs):
        of_prompt[pair.prompt].append(index)
    groups = [np.array(indices) for indices in of_prompt.values()]
    margin = np.array([pair.better_reward - pair.worse_reward for pair in pairs])
    rng = np.random.default_rng(seed)
    again = [
        _error(_calibration(margin[np.concatenate([groups[i] for i in rng.integers(0, len(groups), len(groups))])]))
        for _ in range(CALIBRATION_RESAMPLES)
    ]
    error = _error(_calibration(margin))
    return (error, *around(error, again), len(groups))


def _calibration(margin: np.ndarray) -> list[dict[str, float]]:
    confidence = 1 / (1 + np.exp(-np.abs(margin)))
    right = np.where(margin == 0, 0.5, margin > 0)
    bins = np.array_split(np.argsort(confidence, kind="stable"), min(CALIBRATION_BINS, len(margin)))
    return [
        {
            "confidence": round(float(confidence[places].mean()), 4),
            "right": round(float(right[places].mean()), 4),
            "pairs": len(places),
        }
        for places in bins
    ]


def _error(bins: Sequence[dict[str, float]]) -> float:
    total = sum(one["pairs"] for one in bins)
    return sum(one["pairs"] * abs(one["confidence"] - one["right"]) for one in bins) / total
