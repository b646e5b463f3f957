"""GRPO: the SFT model learns from how the answers to a prompt compare with each other. `make grpo`

Reads  collect/prompts/rl.jsonl, sft/model (start and reference), reward/model (unless the recipe names a function).
Writes model/ (weights and tokenizer), log.jsonl (an object a step), samples.jsonl (some answers of each step),
       certificates/, where a prompt was dropped dropped.jsonl, and with LoRA adapter/.

Group Relative Policy Optimization (Shao et al. 2024, 2402.03300) by TRL's GRPOTrainer, beside our own PPO: no critic,
for an answer's advantage is its reward less the mean of the answers to the same prompt.
"""

import random
import shutil
import time
import warnings
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import torch
from datasets import Dataset
from transformers import AutoTokenizer
from trl import GRPOConfig, GRPOTrainer
from trl.trainer.utils import RepeatSampler

from pipeline.adapter import lora_config, merge
from pipeline.chat import save_chat_model
from pipeline.drift import NUM_PROMPTS_LAST, Drift, LogDrift, load_model, reference_of
from pipeline.functions import load_function
from pipeline.generate import window
from pipeline.grpo.episodes import Draw, Judge, Reward, by_function, by_model
from pipeline.grpo.recipe import Recipe
from pipeline.intervals import means
from pipeline.ppo.load import load_classifier
from pipeline.ppo.rewards import check_reward_model
from pipeline.prompts import Prompts, load_prompts
from pipeline.stage import Job, UserError
from pipeline.step_log import compared, read_log
from pipeline.trainers import common, score_trained_positions_only, train

# A step's answers are slow to draw: a checkpoint every 20 of them costs little beside, and saves minutes. With dropout
# an answer's probability would not be that with which it was drawn.
SETTINGS = {"logging_steps": 1, "save_steps": 20, "remove_unused_columns": False, "disable_dropout": True}


class PromptSampler(RepeatSampler):
    """TRL's order of prompts, each as often as it is answered; mends its resume.

    TRL seeds one random stream for the whole run, so a run resumed in a later epoch would begin again with the first
    one's order. Here an epoch's order is a function of (seed, epoch).
    """

    epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Called by the trainer at the start of every epoch."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        if self.shuffle:
            self.generator.manual_seed(self.seed * 100_003 + self.epoch)
        return super().__iter__()


class AnsweringTrainer(GRPOTrainer):
    """GRPOTrainer with answers drawn by pipeline/generate.py, whose KL is logged as every stage's: in nats an answer.

    TRL logs, where beta is not 0, the mean over tokens of an estimate from the drawn tokens alone; it is kept beside
    as kl_per_token.
    """

    def _get_train_sampler(self, dataset: Dataset | None = None) -> PromptSampler:
        theirs = super()._get_train_sampler(dataset)
        return PromptSampler(
            theirs.data_source,
            mini_repeat_count=theirs.mini_repeat_count,
            batch_size=theirs.batch_size,
            repeat_count=theirs.repeat_count,
            shuffle=theirs.shuffle,
            seed=theirs.seed,
        )

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        found = self._metrics["train"]
        if self.beta and "kl" in found:
            found["kl_per_token"] = found.pop("kl")
        if "kl_answer" in found:
            found["kl"] = found.pop("kl_answer")
        for same in ("mean", "std"):  # there is one reward only, which is logged already
            found.pop(f"rewards/reward/{same}", None)
        super().log(logs, *args, **kwargs)


def run(job: Job) -> dict[str, float]:
    """Trains the model; returns what reward, KL and the answers' length were at first and at last."""
    recipe: Recipe = job.recipe
    started, model_path = time.monotonic(), job.needs("sft") / "model"
    tokenizer = AutoTokenizer.from_pretrained(model_path, trust_remote_code=False)
    model = load_model(model_path)
    longest = recipe.drawing["max_completion_length"]
    prompts = load_prompts(job, tokenizer, window=window(model), max_completion_length=longest)
    per_step = recipe.answers_a_step // recipe.drawing["num_generations"]
    if len(prompts.rows) < per_step:
        raise UserError(
            f"grpo: {len(prompts.rows)} prompts are fewer than the {per_step} of one step. Lower "
            "per_device_train_batch_size or gradient_accumulation_steps, or let collect write more."
        )
    trainer = make_trainer(job, model, tokenizer, prompts, make_judge(job, tokenizer, prompts))
    prompts.write(job.out, "grpo")
    seed = random.Random(f"{job.seed}/grpo/drift").getrandbits(32)
    own = trainer.ref_model
    reference = reference_of(trainer, model_path) if own is None else lambda: nullcontext(own)
    drift = Drift(tokenizer, prompts.ids, reference, longest, seed)
    trainer.add_callback(LogDrift(trainer, drift, kl="kl_answer", length="length_at_1"))
    train(trainer, job, "grpo")
    shutil.copyfile(job.resume / "samples.jsonl", job.out / "samples.jsonl")
    final = trainer.accelerator.unwrap_model(trainer.model)
    kl, _ = drift.measure(final, NUM_PROMPTS_LAST)
    merged: dict[str, float] = {}
    if recipe.lora is not None:
        final, merged["merge_logit_difference"] = merge(
            final, prompts.ids, job.out / "adapter", recipe.lora.merge_tolerance
        )
    save_chat_model(final, tokenizer, job.out / "model")
    steps = trainer.state.global_step
    return {
        "prompts": len(prompts.rows),
        "prompts_too_long": prompts.too_long,
        **compared(read_log(job.out / "log.jsonl"), ("score", "length", "ended", "entropy", "groups_all_alike")),
        "steps": steps,
        "episodes": steps * recipe.answers_a_step,
        **means({"kl": kl}, job.seed),
        **merged,
        **prompts.metrics,
        "seconds": time.monotonic() - started,
    }


def make_judge(job: Job, tokenizer: Any, prompts: Prompts) -> Judge:
    """What gives each answer its number: the recipe's function, or the run's reward model."""
    recipe: Recipe = job.recipe
    if recipe.function is not None:
        return by_function(load_function(recipe.function, "grpo.yaml"))
    model, its_tokenizer = load_classifier(job.needs("reward") / "model", "reward")
    longest = max(len(ids) for ids in prompts.ids) + recipe.drawing["max_completion_length"]
    check_reward_model(model, its_tokenizer, tokenizer, longest)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return by_model(model.requires_grad_(False).to(device), tokenizer)


def make_trainer(job: Job, model: Any, tokenizer: Any, prompts: Prompts, judge: Judge) -> AnsweringTrainer:
    """The trainer. A row of its data set names a prompt by its place; the judge sees the row that collect wrote."""
    recipe: Recipe = job.recipe
    settings = {**common(job), **SETTINGS, **recipe.drawing, **recipe.trainer}
    reward = Reward(
        judge,
        prompts.rows,
        tokenizer,
        job.resume / "samples.jsonl",
        keep=recipe.num_samples,
        penalty=recipe.missing_eos_penalty,
    )
    rows = [{"prompt": row["prompt"], "row": place} for place, row in enumerate(prompts.rows)]
    with warnings.catch_warnings():
        # rollout_func is the only way to hand it answers; the version of trl is pinned, and tests run this.
        warnings.filterwarnings("ignore", message="You are using 'rollout_func'")
        trainer = AnsweringTrainer(
            model=model,
            reward_funcs=reward,
            args=GRPOConfig(**settings),
            train_dataset=Dataset.from_list(rows),
            processing_class=tokenizer,
            rollout_func=Draw(tokenizer, recipe.drawing, job.seed),
            peft_config=None if recipe.lora is None else lora_config(recipe.lora, model, tokenizer),
        )
    for one in (model, trainer.ref_model):
        if one is not None:
            score_trained_positions_only(one, recipe.drawing["temperature"])
    for one in (trainer.model, trainer.ref_model):
        if one is not None:
            one.register_forward_pre_hook(count_positions, with_kwargs=True)
    return trainer


def count_positions(model: torch.nn.Module, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Makes TRL's scoring of left-padded rows count positions from each row's first token, as drawing does.

    Without it a model with learned positions (GPT-2) would be trained on other probabilities than it is used with.
    """
    if kwargs.get("fused_lm_head") and "position_ids" not in kwargs:
        kwargs["position_ids"] = (kwargs["attention_mask"].long().cumsum(-1) - 1).clamp(min=0)  # (B, T)
    return args, kwargs
