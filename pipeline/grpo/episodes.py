"""GRPO's answers and what each earns: drawn by pipeline/generate.py, scored by the reward model or a function."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pipeline.chat import render_prompt, stop_ids
from pipeline.classifier import score
from pipeline.generate import generate
from pipeline.ppo.data import step_seed
from pipeline.ppo.model import bare
from pipeline.ppo.rewards import CONSTANT_STEPS, SAME
from pipeline.stage import UserError
from pipeline.step_log import Log

Ids = Sequence[int]
# A judge of answers: (rows of the prompt file, the answers' token ids, their texts) -> a number each.
Judge = Callable[[Sequence[dict[str, Any]], Sequence[Ids], Sequence[str]], list[float]]


class Draw:
    """TRL's rollout_func. A step's answers depend on (seed, step) and the weights alone, so a resumed run draws the
    same; a special token spelt out in a prompt's text stays text."""

    def __init__(self, tokenizer: Any, how: dict[str, Any], seed: int) -> None:
        self.tokenizer, self.how, self.seed = tokenizer, how, seed

    def __call__(self, prompts: Sequence[Any], trainer: Any) -> dict[str, Any]:
        ids = [render_prompt(self.tokenizer, prompt) for prompt in prompts]
        model = bare(trainer.accelerator.unwrap_model(trainer.model))
        training = model.training
        answers = generate(
            model.eval(),
            self.tokenizer,
            ids,
            max_new_tokens=self.how["max_completion_length"],
            temperature=self.how["temperature"],
            top_p=self.how["top_p"],
            seed=step_seed(self.seed, "grpo", trainer.state.global_step, 0),
            stop_ids=stop_ids(self.tokenizer),
        )
        model.train(training)
        return {"prompt_ids": ids, "completion_ids": answers, "logprobs": None}


class Reward:
    """TRL's reward function: the judge's numbers, less `penalty` where an answer never ends; some answers of each step
    are written to samples.jsonl.

    Raises UserError where a number is not finite, or where no two of the first steps' have differed.
    """

    __name__ = "reward"

    def __init__(
        self, judge: Judge, rows: Sequence[dict[str, Any]], tokenizer: Any, samples: Path, keep: int, penalty: float
    ) -> None:
        self.judge, self.rows, self.ends = judge, rows, frozenset(stop_ids(tokenizer))
        self.samples, self.keep, self.penalty = samples, keep, penalty
        self.log: Log | None = None
        self.lowest, self.highest = math.inf, -math.inf

    def __call__(
        self,
        *,
        completions: Sequence[Any],
        completion_ids: Sequence[Ids],
        row: Sequence[int],
        trainer_state: Any,
        log_metric: Callable[[str, float], None],
        **_: Any,
    ) -> list[float]:
        step, rows = trainer_state.global_step + 1, [self.rows[index] for index in row]
        texts = [messages[0]["content"].strip() for messages in completions]
        scores = self.judge(rows, completion_ids, texts)
        for value, one in zip(scores, rows, strict=True):
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
                raise UserError(
                    f"grpo: the reward of an answer in step {step} is {value!r}, no finite number; the prompt is "
                    f"{one['prompt']!r:.200}. The weights are as they were before the step; mend the reward."
                )
        self.lowest, self.highest = min(self.lowest, *scores), max(self.highest, *scores)
        # A resumed run knows from the log whether rewards differed before.
        varied = any(entry.get("reward_std", 0.0) > SAME for entry in trainer_state.log_history)
        alike = self.highest - self.lowest <= SAME * max(1.0, abs(self.highest))
        if alike and not varied and step in (CONSTANT_STEPS, trainer_state.max_steps):
            raise UserError(
                f"grpo: the reward is constant: {self.highest:.6g} for each answer so far, so there is nothing to "
                "learn. Look at samples.jsonl, and at the reward model or function."
            )
        ended = [ids[-1] in self.ends for ids in completion_ids]
        log_metric("ended", sum(ended) / len(ended))
        if self.log is None:
            self.log = Log(self.samples, step=step - 1, writes=True)
        for index in range(min(self.keep, len(texts))):
            self.log.write(
                {
                    "step": step, "prompt": rows[index]["prompt"], "answer": texts[index],
                    "score": scores[index], "ended": ended[index],
                }
            )  # fmt: skip
        return [float(value) - self.penalty * (not over) for value, over in zip(scores, ended, strict=True)]


def by_function(function: Callable[..., float]) -> Judge:
    """A judge that calls (prompt, answer, row) -> number."""

    def judge(rows: Sequence[dict[str, Any]], ids: Sequence[Ids], texts: Sequence[str]) -> list[float]:
        return [function(row["prompt"], text, row) for row, text in zip(rows, texts, strict=True)]

    return judge


def by_model(model: Any, tokenizer: Any) -> Judge:
    """A judge that reads a sequence classifier's one output at the answer's last token."""

    def judge(rows: Sequence[dict[str, Any]], ids: Sequence[Ids], texts: Sequence[str]) -> list[float]:
        prompts = [render_prompt(tokenizer, row["prompt"]) for row in rows]
        sequences = [[*prompt, *answer] for prompt, answer in zip(prompts, ids, strict=True)]
        return score(model, sequences, tokenizer.pad_token_id)

    return judge
