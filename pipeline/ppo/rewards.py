"""Scores of whole answers, from a reward model or a Python function, and what is made of them before PPO sees them."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.chat import stop_ids
from pipeline.classifier import score
from pipeline.ppo.config import PPOConfig
from pipeline.ppo.data import Prompt
from pipeline.stage import UserError

CONSTANT_STEPS = 3  # a reward that has not varied by then is taken for a mistake
SAME = 1e-6  # deviations below this, relative to the mean, are rounding
DEFAULT_HORIZON = 10_000  # episodes over which kl_coef is adapted (Ziegler et al. 2019)

Ids = Sequence[int]


class RewardFunction:
    """Scores from a Python function, called as TRL's GRPOTrainer calls its own: with keyword arguments `prompts`,
    `completions` (messages where the prompts are conversations, else text), `completion_ids`, and every other column
    of the data set. It returns one number an answer."""

    def __init__(self, function: Callable[..., Sequence[float]], tokenizer: Any) -> None:
        self.function, self.tokenizer = function, tokenizer

    def __call__(self, prompts: Sequence[Prompt], answers: Sequence[Ids]) -> list[float]:
        texts = [text.strip() for text in self.tokenizer.batch_decode(list(answers), skip_special_tokens=True)]
        completions = [
            text if isinstance(prompt.prompt, str) else [{"role": "assistant", "content": text}]
            for prompt, text in zip(prompts, texts, strict=True)
        ]
        columns = {name: [prompt.columns[name] for prompt in prompts] for name in prompts[0].columns}
        scores = self.function(
            prompts=[prompt.prompt for prompt in prompts],
            completions=completions,
            completion_ids=list(answers),
            **columns,
        )
        if len(scores) != len(answers):
            raise UserError(
                f"reward function {name_of(self.function)}: returned {len(scores)} numbers for {len(answers)} "
                "answers. Return one each, in their order."
            )
        return [float("nan") if score is None else float(score) for score in scores]


class RewardModel:
    """Scores from a sequence classifier with one output, read at the last token of prompt + answer."""

    def __init__(self, model: Any, tokenizer: Any, batch_size: int) -> None:
        self.model, self.pad, self.batch_size = model, tokenizer.pad_token_id, batch_size

    def __call__(self, prompts: Sequence[Prompt], answers: Sequence[Ids]) -> list[float]:
        sequences = [[*prompt.ids, *answer] for prompt, answer in zip(prompts, answers, strict=True)]
        return score(self.model, sequences, self.pad, self.batch_size)


def name_of(function: Callable[..., Any]) -> str:
    """What to call it in a message."""
    return getattr(function, "__name__", type(function).__name__)


def check_reward_model(model: Any, its_tokenizer: Any | None, tokenizer: Any, needed: int) -> None:
    """Raises UserError where the model cannot score these answers; `needed`: tokens of the longest prompt + answer.

    its_tokenizer: the one that lies beside the model; None where there is none to compare.
    """
    name = model.config._name_or_path or type(model).__name__
    if model.config.num_labels != 1:
        raise UserError(
            f"reward_model {name}: gives {model.config.num_labels} numbers an answer. Load it with num_labels=1."
        )
    num_rows = model.get_input_embeddings().weight.shape[0]
    if (its_tokenizer is not None and its_tokenizer.get_vocab() != tokenizer.get_vocab()) or num_rows < len(tokenizer):
        theirs = num_rows if its_tokenizer is None else len(its_tokenizer)
        raise UserError(
            f"reward_model {name}: has another tokenizer ({theirs} tokens) than the policy ({len(tokenizer)}), so it "
            "would score other words than were written. Train it from the policy's model, or pass a function that "
            "tokenises the text anew."
        )
    if tokenizer.pad_token_id is None or tokenizer.pad_token_id in stop_ids(tokenizer):
        raise UserError(
            f"reward_model {name}: reads the score at the last token that is not padding, so the tokenizer's pad "
            f"token ({tokenizer.pad_token!r}) must not be one that ends answers. Give it a pad token of its own."
        )
    if model.config.pad_token_id != tokenizer.pad_token_id:
        raise UserError(
            f"reward_model {name}: its config says pad_token_id = {model.config.pad_token_id}, the tokenizer "
            f"{tokenizer.pad_token_id}, so it would read the score at padding. Set it in the model's config.json."
        )
    window = model.config.get_text_config().to_dict().get("max_position_embeddings")
    if window is not None and window < needed:
        raise UserError(
            f"reward_model {name}: its window of {window} tokens is less than the {needed} of the longest prompt "
            "and max_completion_length. Lower the latter, or leave out long prompts."
        )


def check_finite(scores: np.ndarray, prompts: Sequence[Prompt], step: int) -> None:
    """Raises UserError where a score is no finite number, since one such would spoil every weight."""
    bad = [index for index, score in enumerate(scores) if not math.isfinite(score)]
    if bad:
        raise UserError(
            f"ppo: {len(bad)} of {len(scores)} rewards of step {step + 1} are not finite numbers, the first "
            f"({scores[bad[0]]}) for an answer to {prompts[bad[0]].prompt!r:.200}. The weights are as they were "
            "before the step; mend the reward model or function."
        )


@dataclass(kw_only=True)
class Moments:
    """Mean and deviation of all rewards so far (Chan et al. 1983, the update of two samples)."""

    count: int = 0
    mean: float = 0.0
    squares: float = 0.0  # the sum of squared differences from the mean

    def update(self, scores: np.ndarray) -> None:
        """Takes in a step's rewards."""
        number, mean = len(scores), float(scores.mean())
        total, shift = self.count + number, mean - self.mean
        self.squares += float(np.square(scores - mean).sum()) + shift**2 * self.count * number / total
        self.mean += shift * number / total
        self.count = total

    @property
    def deviation(self) -> float:
        """The standard deviation."""
        return math.sqrt(self.squares / self.count) if self.count else 0.0

    def check_varies(self, step: int, last: bool) -> None:
        """Raises UserError where no two rewards have differed yet and some should have."""
        if (step >= CONSTANT_STEPS or last) and self.deviation <= SAME * max(1.0, abs(self.mean)):
            raise UserError(
                f"ppo: the reward is constant: {self.mean:.6g} for each of {self.count} answers so far, so there is "
                "nothing to learn. Look at samples.jsonl, and at the reward model or function."
            )


def shaped(scores: np.ndarray, ended: np.ndarray, moments: Moments, args: PPOConfig) -> np.ndarray:
    """What the answers earn before KL: standardised and clipped (Zheng et al. 2023, 2307.04964, eq. 17), then less the
    penalty for those that never end."""
    if args.scale_rewards:
        scores = (scores - moments.mean) / max(moments.deviation, SAME)
    if args.reward_clip is not None:
        scores = scores.clip(-args.reward_clip, args.reward_clip)
    return scores - (args.missing_eos_penalty or 0.0) * ~ended


def adapted(kl_coef: float, kl: float, args: PPOConfig) -> float:
    """The next step's kl_coef: moved towards kl_target by a clipped proportional error (Ziegler et al. 2019,
    1909.08593, section 2.2)."""
    if args.kl_target is None:
        return kl_coef
    error = min(max(kl / args.kl_target - 1, -0.2), 0.2)
    return kl_coef * (1 + error * args.batch_size / (args.kl_horizon or DEFAULT_HORIZON))
