"""PPO's two clipped losses (Schulman et al. 2017, 1707.06347), one number a token, and the share that was clipped."""

import torch
from torch import Tensor


def policy_loss(log_ratio: Tensor, advantages: Tensor, cliprange: float) -> tuple[Tensor, Tensor]:
    """Per token (N,): the loss, eq. 7 negated, and whether the clipped branch was taken (so no gradient flows).

    log_ratio is the log of the new probability over the one that the token was drawn with.
    """
    ratio = log_ratio.exp()
    plain = -advantages * ratio
    clipped = -advantages * ratio.clamp(1 - cliprange, 1 + cliprange)
    return torch.maximum(plain, clipped), clipped > plain


def value_loss(values: Tensor, old_values: Tensor, returns: Tensor, cliprange: float) -> tuple[Tensor, Tensor]:
    """Per token (N,): half the squared error, the larger of the value's and of the value held near its old one."""
    near = old_values + (values - old_values).clamp(-cliprange, cliprange)
    plain, clipped = (values - returns).square(), (near - returns).square()
    return 0.5 * torch.maximum(plain, clipped), clipped > plain
