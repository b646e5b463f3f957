"""Scores of answers by a reward model, and what they are worth: accuracy on pairs, and the histogram of margins."""

from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch

from pipeline.intervals import bootstrap_mean


@torch.inference_mode()
def score(
    model: Any,
    sequences: Sequence[list[int]],
    pad_id: int,
    batch_size: int = 64,
    side: Literal["left", "right"] = "right",
) -> list[float]:
    """The reward of each sequence (prompt and answer), in the given order. Batches hold sequences of like length."""
    model.eval()
    rewards = [0.0] * len(sequences)
    order = sorted(range(len(sequences)), key=lambda index: len(sequences[index]))
    for start in range(0, len(order), batch_size):
        indices = order[start : start + batch_size]
        longest = max(len(sequences[index]) for index in indices)
        input_ids = torch.full((len(indices), longest), pad_id)  # (B, T)
        attention_mask = torch.zeros_like(input_ids)  # (B, T)
        for row, index in enumerate(indices):
            length = len(sequences[index])
            place = slice(0, length) if side == "right" else slice(longest - length, longest)
            input_ids[row, place] = torch.tensor(sequences[index])
            attention_mask[row, place] = 1
        device = model.device
        logits = model(
            input_ids=input_ids.to(device), attention_mask=attention_mask.to(device), use_cache=False
        ).logits  # (B, 1)
        for index, reward in zip(indices, logits.squeeze(-1).tolist(), strict=True):
            rewards[index] = reward
    return rewards


def padding_difference(model: Any, sequences: Sequence[list[int]], pad_id: int) -> float:
    """The largest change of a score between a sequence alone, padded on the right and padded on the left."""
    alone = np.array(score(model, sequences, pad_id, batch_size=1))
    padded = [np.array(score(model, sequences, pad_id, len(sequences), side)) for side in ("left", "right")]
    return float(max(np.abs(alone - rewards).max() for rewards in padded))


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
