"""Scores of whole answers by a sequence classifier with one output, the kind of model that a reward model is."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch


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
