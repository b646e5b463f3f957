"""A step's episodes: answers drawn from the policy, with all that the update needs to know of each of their tokens."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pipeline.chat import stop_ids
from pipeline.generate import generate
from pipeline.ppo.config import PPOConfig
from pipeline.ppo.data import Prompt
from pipeline.ppo.model import ActorCritic, Batch, bare, logits_and_hidden, pack, token_scores

Answers = list[list[int]]


@dataclass(kw_only=True)
class Rollout:
    """One process's episodes of a step. Matrices are (B, T), a row an answer, padded on the right with 0."""

    prompts: Sequence[Prompt]
    answers: Answers
    scores: np.ndarray  # (B,) as the reward model or function gave them
    ended: np.ndarray  # (B,) whether the answer has an end token
    mask: Tensor
    log_probs: Tensor
    ref_log_probs: Tensor
    entropies: Tensor
    values: Tensor
    seconds: dict[str, float]

    @property
    def lengths(self) -> Tensor:
        """(B,) tokens of each answer, its end token included."""
        return self.mask.sum(1)

    def batch(self, rows: Sequence[int], pad: int) -> Batch:
        """Some of the episodes, padded to the longest of these."""
        prompts = [self.prompts[row].ids for row in rows]
        return pack(prompts, [self.answers[row] for row in rows], pad, self.mask.device)


def draw(policy: Any, tokenizer: Any, prompts: Sequence[Prompt], args: PPOConfig, seed: int) -> Answers:
    """One answer a prompt, up to and with its end token; nothing stands after it, so nothing there can be trained."""
    return generate(
        bare(policy),
        tokenizer,
        [prompt.ids for prompt in prompts],
        max_new_tokens=args.max_completion_length,
        temperature=args.temperature,
        seed=seed,
        stop_ids=stop_ids(tokenizer),
    )


@torch.no_grad()
def collect(
    model: ActorCritic,
    reference: Callable[[Batch], Tensor],
    reward: Callable[[Sequence[Prompt], Answers], list[float]],
    tokenizer: Any,
    prompts: Sequence[Prompt],
    answers: Answers,
    args: PPOConfig,
) -> Rollout:
    """Everything about the answers. `reference` gives the log-probabilities (N,) of a batch's answers.

    The probabilities that answers were drawn with are computed again, by the forward that the update uses: what
    generation rounds otherwise (its batches, its cache) would else stand in the ratio.
    """
    started = time.monotonic()
    scores = np.array(reward(prompts, answers), dtype=np.float64)
    device = next(model.parameters()).device
    ends = frozenset(stop_ids(tokenizer))
    lengths = torch.tensor([len(answer) for answer in answers], device=device)
    mask = torch.arange(int(lengths.max()), device=device) < lengths[:, None]  # (B, T)
    blank = torch.zeros(mask.shape, device=device)
    rollout = Rollout(
        prompts=prompts,
        answers=answers,
        scores=scores,
        ended=np.array([answer[-1] in ends for answer in answers]),
        mask=mask,
        log_probs=blank,
        ref_log_probs=blank.clone(),
        entropies=blank.clone(),
        values=blank.clone(),
        seconds={},
    )
    matrices = (rollout.log_probs, rollout.entropies, rollout.values, rollout.ref_log_probs)
    totals = [len(prompt.ids) + len(answer) for prompt, answer in zip(prompts, answers, strict=True)]
    for rows in by_length(totals, args.local_rollout_forward_batch_size):
        batch = rollout.batch(rows, tokenizer.pad_token_id or 0)
        found = (*model(batch, args.temperature, with_entropy=True), reference(batch))
        for matrix, flat in zip(matrices, found, strict=True):
            matrix[rows] = torch.zeros_like(matrix[rows]).masked_scatter(mask[rows], flat)
    rollout.seconds["scoring"] = time.monotonic() - started
    return rollout


def by_length(lengths: Sequence[int], size: int) -> list[list[int]]:
    """Indices in batches of at most `size`, those of like length together, so that little is padding."""
    order = sorted(range(len(lengths)), key=lambda index: (lengths[index], index))
    return [order[start : start + size] for start in range(0, len(order), size)]


def answer_log_probs(policy: Any, batch: Batch, temperature: float) -> Tensor:
    """Log-probabilities (N,) of a batch's answers under a causal language model."""
    logits, _ = logits_and_hidden(policy, batch)
    return token_scores(logits, batch.tokens, temperature, with_entropy=False)[0]
