"""What a step's episodes teach: advantages, then passes over mini-batches with the clipped losses.

Gradients of micro-batches, cut to their own longest episode, add up to that of a mini-batch's mean over its tokens.
"""

import itertools
import math
import random
from typing import NamedTuple

import torch
from accelerate import Accelerator
from torch import Tensor

from pipeline.engine import build_engine, trained
from pipeline.ppo.advantages import explained_variance, gae, whiten
from pipeline.ppo.config import PPOConfig
from pipeline.ppo.data import step_seed
from pipeline.ppo.losses import policy_loss, value_loss
from pipeline.ppo.model import ActorCritic
from pipeline.ppo.rollout import Rollout
from pipeline.stage import UserError

# What an update says about each token; the log has their means over all updates of a step.
PER_TOKEN = ("policy_loss", "value_loss", "clip_fraction", "value_clip_fraction", "approx_kl", "ratio")


class Targets(NamedTuple):
    """What the losses pull towards, (B, T) each."""

    advantages: Tensor
    returns: Tensor


class Learner:
    """Policy and critic with their optimiser, in the hands of the engine that the accelerate config names."""

    def __init__(self, args: PPOConfig, model: ActorCritic, accelerator: Accelerator, pad: int) -> None:
        self.args, self.accelerator, self.pad = args, accelerator, pad
        self.micro_batch_size = micro_batch_size(args, accelerator.num_processes)
        optimizer = torch.optim.AdamW(trained(model).values(), lr=args.learning_rate, weight_decay=0.0, fused=True)
        self.engine = build_engine(accelerator, model, [optimizer], self.micro_batch_size, args.max_grad_norm)
        self.model: ActorCritic = self.engine.bare
        # A critic of its own shares nothing with the policy, so one can be done before the other begins: half the
        # memory, the same gradients. Engines of several processes want one forward for one backward.
        self.one_by_one = (
            model.value_model is not None and accelerator.num_processes == 1 and not self.engine.in_shares
        )

    def update(self, rollout: Rollout, rewards: Tensor, step: int) -> dict[str, float]:
        """The step's passes over its episodes. rewards: (B, T), of each token. Returns what the log says of them.

        first_ratio_difference: the largest distance from 1 of a ratio in the first mini-batch, where nothing has
        changed since the answers were drawn: more than rounding is a fault.
        """
        args, mask = self.args, rollout.mask
        advantages, returns = gae(rewards, rollout.values, mask, args.gamma, args.lam)
        explained = explained_variance(rollout.values, returns, mask)
        targets = Targets(whiten(advantages, mask, lambda sums: self.accelerator.reduce(sums, "sum")), returns)
        rate = self.learning_rate(step)
        for group in itertools.chain(*(optimizer.param_groups for optimizer in self.engine.optimizers)):
            group["lr"] = rate
        sums, differences = torch.zeros(len(PER_TOKEN), device=mask.device), []
        norms = []
        for epoch in range(args.num_ppo_epochs):
            for rows in self._mini_batches(len(rollout.answers), step, epoch):
                found, difference = self._accumulate(rollout, rows, targets)
                sums += found
                differences.append(difference)
                norms.append(self.engine.clip(args.max_grad_norm))
                if math.isfinite(norms[-1]):
                    self.engine.step()
                else:
                    self.engine.discard()
        tokens = self.accelerator.reduce(mask.sum(), "sum") * args.num_ppo_epochs
        means = self.accelerator.reduce(sums, "sum") / tokens
        finite = [norm for norm in norms if math.isfinite(norm)]
        return {
            "learning_rate": rate,
            **dict(zip(PER_TOKEN, means.tolist(), strict=True)),
            "first_ratio_difference": float(differences[0]),
            "explained_variance": float(self.accelerator.reduce(explained, "mean")),
            "gradient_norm": sum(finite) / max(len(finite), 1),
            "skipped_updates": len(norms) - len(finite),
        }

    def _accumulate(self, rollout: Rollout, rows: list[int], targets: Targets) -> tuple[Tensor, Tensor]:
        """Adds the gradient of a mini-batch's mean loss over its tokens; returns the sums of PER_TOKEN over them, and
        the largest distance of a ratio from 1."""
        args, size = self.args, self.micro_batch_size
        # Gradients are averaged over processes, so each one's part of the mean over all tokens is scaled up.
        tokens = self.accelerator.reduce(rollout.lengths[rows].sum(), "sum")
        scale = self.accelerator.num_processes / tokens
        rows = sorted(rows, key=lambda row: len(rollout.prompts[row].ids) + len(rollout.answers[row]))
        sums, largest = torch.zeros(len(PER_TOKEN), device=tokens.device), torch.zeros((), device=tokens.device)
        for start in range(0, len(rows), size):
            part = rows[start : start + size]
            mask = rollout.mask[part]
            old, old_values, advantages, returns = (
                matrix[part][mask] for matrix in (rollout.log_probs, rollout.values, *targets)
            )  # (N,) each
            last = start + size >= len(rows)
            batch = rollout.batch(part, self.pad)
            with_entropy = args.entropy_coef > 0
            with self.engine.accumulation(last):
                if self.one_by_one:
                    with self.accelerator.autocast():
                        log_probs, entropy, _ = self.model.act(batch, args.temperature, with_entropy)
                else:
                    log_probs, entropy, values = self.engine.model(batch, args.temperature, with_entropy)
                log_ratio = log_probs - old
                actor, clipped = policy_loss(log_ratio, advantages, args.cliprange)
                loss = actor - args.entropy_coef * entropy
                if self.one_by_one:
                    self.engine.backward(loss.sum() * scale, last)
                    with self.accelerator.autocast():
                        loss, values = torch.zeros_like(loss), self.model.criticise(batch)
                critic, value_clipped = value_loss(values, old_values, returns, args.cliprange_value)
                self.engine.backward((loss + args.vf_coef * critic).sum() * scale, last)
            with torch.no_grad():
                ratio = log_ratio.exp()
                largest = torch.maximum(largest, (ratio - 1).abs().max())
                # The k3 estimate of KL from the policy that drew the answers to the present one.
                approx_kl = ratio - 1 - log_ratio
                per_token = (actor, critic, clipped, value_clipped, approx_kl, ratio)
                sums += torch.stack([numbers.sum() for numbers in per_token])
        return sums, largest

    def learning_rate(self, step: int) -> float:
        """Of a step, from 0."""
        done = step / self.args.num_steps if self.args.lr_scheduler_type == "linear" else 0.0
        return self.args.learning_rate * (1 - done)

    def _mini_batches(self, num_rows: int, step: int, epoch: int) -> list[list[int]]:
        """This process's rows of each mini-batch, in an order that only (seed, step, epoch) decide."""
        rows = list(range(num_rows))
        seed = step_seed(self.args.seed, f"minibatches/{epoch}", step, self.accelerator.process_index)
        random.Random(seed).shuffle(rows)
        size = num_rows // self.args.num_mini_batches
        return [rows[start : start + size] for start in range(0, num_rows, size)]


def micro_batch_size(args: PPOConfig, num_processes: int) -> int:
    """The episodes at once in an update of one process. Raises UserError where the batch cannot be shared out."""
    share, rest = divmod(args.batch_size, num_processes * args.num_mini_batches)
    micro = args.micro_batch_size or share
    if rest or share % micro:
        raise UserError(
            f"batch_size = {args.batch_size} must be a multiple of num_mini_batches = {args.num_mini_batches} x "
            f"{num_processes} process(es) x micro_batch_size = {micro}."
        )
    return micro
