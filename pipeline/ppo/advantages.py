"""From rewards to advantages, on right-padded matrices of answers: (B, T), a row an episode, a column a token.

`mask` is True where an answer has a token, its end token included; every input is 0 elsewhere, and so is every output.
"""

from collections.abc import Callable

import torch
from torch import Tensor

Reduce = Callable[[Tensor], Tensor]  # sums a tensor over processes


def kl_per_token(log_probs: Tensor, ref_log_probs: Tensor, estimator: str) -> Tensor:
    """(B, T): estimates of KL(policy || reference) in nats, from the tokens that the policy drew.

    k1 = log p/q is unbiased, with much variance and negative values; k3 = q/p - 1 - log q/p is unbiased too, and
    never negative (Schulman 2020, joschu.net/blog/kl-approx.html).
    """
    log_ratio = log_probs - ref_log_probs
    if estimator == "k1":
        return log_ratio
    assert estimator == "k3", estimator
    return torch.expm1(-log_ratio) + log_ratio


def token_rewards(scores: Tensor, kl: Tensor, mask: Tensor, kl_coef: float) -> Tensor:
    """(B, T): what each token earns. scores (B,) are paid at the last token of an answer, the KL at every token."""
    rewards = -kl_coef * kl
    last = mask.sum(1, keepdim=True) - 1  # (B, 1)
    return rewards.scatter_add(1, last, scores[:, None].to(rewards))


def gae(rewards: Tensor, values: Tensor, mask: Tensor, gamma: float, lam: float) -> tuple[Tensor, Tensor]:
    """Advantages and returns, (B, T) each, by generalised advantage estimation (Schulman et al. 2016, 1506.02438).

    delta_t = r_t + gamma V_(t+1) - V_t and A_t = delta_t + gamma lam A_(t+1). Behind an answer's last token the value
    is 0: the episode is over, whether the answer ended or was cut off.
    """
    advantages = torch.zeros_like(rewards)
    following = torch.zeros_like(rewards[:, 0])  # A_(t+1)
    next_values = torch.zeros_like(following)
    for t in reversed(range(rewards.shape[1])):
        delta = rewards[:, t] + gamma * next_values - values[:, t]
        following = (delta + gamma * lam * following) * mask[:, t]
        advantages[:, t] = following
        next_values = values[:, t] * mask[:, t]
    return advantages, (advantages + values) * mask


def whiten(values: Tensor, mask: Tensor, reduce: Reduce = lambda sums: sums) -> Tensor:
    """The values with mean 0 and variance 1 over all tokens of all processes."""
    kept = values[mask].double()
    count, total = reduce(torch.stack([torch.ones_like(kept).sum(), kept.sum()]))
    mean = total / count
    variance = reduce((kept - mean).square().sum()) / count
    return torch.where(mask, (values - mean) * (variance + 1e-8).rsqrt(), 0.0).to(values.dtype)


def explained_variance(values: Tensor, returns: Tensor, mask: Tensor) -> Tensor:
    """1 - Var(returns - values) / Var(returns): 1 for a perfect critic, 0 for one that says the mean."""
    found, wanted = values[mask].double(), returns[mask].double()
    return 1 - (wanted - found).var(correction=0) / wanted.var(correction=0).clamp(min=1e-12)
