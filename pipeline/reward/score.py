"""What a reward model's scores are worth: accuracy on pairs, and the histogram of margins."""

from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.intervals import bootstrap_mean


@dataclass(frozen=True, kw_only=True)
class ScoredPair:
    """A held-out pair in its right order: `better` over `worse` by the gold scores, or by the label without them."""

    prompt: Hashable
    better_reward: float
    worse_reward: float
    better_length: int
    worse_length: int

    def swapped(self) -> "ScoredPair":
        """The same pair in the other order."""
        return ScoredPair(
            prompt=self.prompt,
            better_reward=self.worse_reward,
            worse_reward=self.better_reward,
            better_length=self.worse_length,
            worse_length=self.better_length,
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
