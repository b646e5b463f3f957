"""The settings of PPOTrainer, under TRL's names where TRL has them. Imports no torch, so that recipes can hold it."""

from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass

STRICT = ConfigDict(extra="forbid", strict=True)

Count = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class PPOConfig:
    """
    output_dir: where checkpoints, log.jsonl and samples.jsonl are written.
    total_episodes: prompts answered in all; the run has total_episodes // batch_size steps.
    batch_size: episodes a step, over all processes. num_mini_batches: updates that each pass over them makes.
    num_ppo_epochs: passes over a step's episodes.
    micro_batch_size: episodes at once in an update of one process, whose gradients are accumulated; null: the whole
        mini-batch. local_rollout_forward_batch_size: episodes at once where no gradient is needed.
    max_completion_length: tokens of an answer, at most. temperature: of sampling, and of every log-probability.
    missing_eos_penalty: taken off the reward of an answer that never ends; null: nothing.
    learning_rate: at the first step; then linearly down to 0, or constant (lr_scheduler_type).
    gamma, lam: of the generalised advantage estimation.
    cliprange: of the probability ratio; cliprange_value: of a value's change. vf_coef, entropy_coef: their weights.
    kl_coef: what a nat of KL to the reference costs in reward. kl_estimator: how a token's KL is estimated from the
        one token that was drawn (k1 = log ratio, k3 = ratio - 1 - log ratio; Schulman 2020, "Approximating KL").
    kl_target: where given, kl_coef is adapted until an answer's KL is so many nats, over some kl_horizon episodes.
    kl_budget: an answer's mean KL, in nats, above which the run stops; null: never.
    scale_rewards: rewards are standardised by the mean and deviation of all seen so far, so that kl_coef and vf_coef
        mean the same for every reward model. reward_clip: bound of a reward's size after that; null: none.
    save_steps: steps between checkpoints. num_samples: episodes of each step that samples.jsonl keeps.
    """

    output_dir: str = "ppo"
    seed: int = 0
    total_episodes: Count = 1024
    batch_size: Count = 64
    num_mini_batches: Count = 4
    num_ppo_epochs: Count = 4
    micro_batch_size: Count | None = None
    local_rollout_forward_batch_size: Count = 64
    max_completion_length: Count = 128
    temperature: Positive = 1.0
    missing_eos_penalty: NotNegative | None = None
    learning_rate: Positive = 3e-6
    lr_scheduler_type: Literal["linear", "constant"] = "linear"
    max_grad_norm: Positive = 1.0
    gamma: Share = 1.0
    lam: Share = 0.95
    cliprange: Positive = 0.2
    cliprange_value: Positive = 0.2
    vf_coef: NotNegative = 0.1
    entropy_coef: NotNegative = 0.0
    kl_coef: NotNegative = 0.05
    kl_estimator: Literal["k1", "k3"] = "k1"
    kl_target: Positive | None = None
    kl_horizon: Count | None = None
    kl_budget: Positive | None = None
    scale_rewards: bool = False
    reward_clip: Positive | None = None
    save_steps: Count = 50
    num_samples: Annotated[int, Field(ge=0)] = 2

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.batch_size % self.num_mini_batches:
            raise ValueError(
                f"batch_size = {self.batch_size} cannot be cut into num_mini_batches = {self.num_mini_batches} equal "
                "parts: make one a multiple of the other."
            )
        if self.total_episodes < self.batch_size:
            raise ValueError(
                f"total_episodes = {self.total_episodes} is less than one step of batch_size = {self.batch_size}."
            )
        if self.kl_horizon is not None and self.kl_target is None:
            raise ValueError("kl_horizon is without effect unless kl_target is given.")
        if self.kl_target is not None and self.kl_coef == 0:
            raise ValueError("kl_target adapts kl_coef by factors, so kl_coef = 0 would stay 0: start above it.")
        return self

    @property
    def num_steps(self) -> int:
        """Steps of the whole run, each of batch_size episodes."""
        return self.total_episodes // self.batch_size
