"""The learning rate as a pure function of the step: nothing to save, nothing to restore."""

import math

DECAY_SHARE = 0.3  # of the steps, at the end of a warmup-stable-decay schedule


def factor(step: int, num_steps: int, schedule: str, warmup_share: float) -> float:
    """What the peak learning rate is multiplied with at a step (from 0): a linear rise over the warmup, then `cosine`
    or `linear` down to 0, or `wsd`: at the peak until the last 30 %, then linear (Hägele et al. 2024, 2405.18392)."""
    warmup = max(1, round(warmup_share * num_steps))
    if step < warmup:
        return (step + 1) / warmup
    done = (step - warmup) / max(1, num_steps - warmup)
    if schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * done))
    if schedule == "linear":
        return 1 - done
    assert schedule == "wsd", schedule
    return min(1.0, (1 - done) / DECAY_SHARE)
