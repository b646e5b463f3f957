"""PPO: the SFT model learns from the reward model, answering prompts that nothing has trained on yet. `make ppo`

Reads  collect/prompts/rl.jsonl, sft/model (start and reference), reward/model (and where the recipe says so, the
       critic's start).
Writes model/ (weights and tokenizer), log.jsonl (an object a step), samples.jsonl (some answers of each step),
       certificates/, where a prompt was dropped dropped.jsonl, and with LoRA adapter/.
"""

import dataclasses
import logging
import random
import shutil
import time
from contextlib import nullcontext
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from pipeline.adapter import lora_config, merge
from pipeline.chat import save_chat_model
from pipeline.drift import NUM_PROMPTS_LAST, Drift, adapter_off
from pipeline.generate import window
from pipeline.intervals import means
from pipeline.ppo.recipe import Recipe
from pipeline.ppo.trainer import PPOTrainer
from pipeline.prompts import Prompts, load_prompts
from pipeline.stage import Job
from pipeline.step_log import compared, read_log

log = logging.getLogger(__name__)


def run(job: Job) -> dict[str, float]:
    """Trains the model; returns what reward and the answers' length were at first and at last, and the KL."""
    recipe: Recipe = job.recipe
    started = time.monotonic()
    source, reward_model = job.needs("sft") / "model", job.needs("reward") / "model"
    args = dataclasses.replace(recipe.trainer, output_dir=str(job.resume), seed=job.seed)
    tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
    model = AutoModelForCausalLM.from_pretrained(
        source, dtype=torch.float32, use_safetensors=True, trust_remote_code=False
    )
    prompts = load_prompts(job, tokenizer, window=window(model), max_completion_length=args.max_completion_length)
    trainer = PPOTrainer(
        model=model,
        reward_model=reward_model,
        args=args,
        train_dataset=[{"prompt": row["prompt"]} for row in prompts.rows],
        processing_class=tokenizer,
        value_model=reward_model if recipe.value == "reward" else None,
        peft_config=None if recipe.lora is None else lora_config(recipe.lora, model, tokenizer),
    )
    if trainer.accelerator.is_main_process:
        prompts.write(job.out, "ppo")
    standing = trainer.train(resume_from_checkpoint=True)
    policy = trainer.policy()
    moved: dict[str, float] = {}
    if trainer.accelerator.is_main_process:
        moved = drift(trainer, policy, prompts, job.seed)
        if recipe.lora is not None:
            policy, prompts.metrics["merge_logit_difference"] = merge(
                policy, prompts.ids, job.out / "adapter", recipe.lora.merge_tolerance
            )
        save_chat_model(policy, tokenizer, job.out / "model")
        for name in ("log.jsonl", "samples.jsonl"):
            shutil.copyfile(job.resume / name, job.out / name)
    trainer.accelerator.wait_for_everyone()
    return {
        "prompts": len(prompts.rows),
        "prompts_too_long": prompts.too_long,
        **told(read_log(job.out / "log.jsonl")),
        **moved,
        "steps": standing.step,
        "episodes": standing.step * args.batch_size,
        "stopped_by_kl_budget": int(standing.over_budget),
        "skipped_steps": len(standing.skipped),
        "episodes_per_second": standing.step * args.batch_size / standing.seconds,
        "training_seconds": standing.seconds,
        "seconds": time.monotonic() - started,
        **prompts.metrics,
    }


def drift(trainer: PPOTrainer, policy: Any, prompts: Prompts, seed: int) -> dict[str, float]:
    """{"kl": nats an answer, with its 95 % interval}: how far training went, measured as dpo and grpo do."""
    frozen = trainer.reference
    reference = adapter_off(policy) if frozen is None else lambda: nullcontext(frozen)
    own = random.Random(f"{seed}/ppo/drift").getrandbits(32)
    measured = Drift(trainer.processing_class, prompts.ids, reference, trainer.args.max_completion_length, own)
    kl, _ = measured.measure(policy.to(trainer.accelerator.device), NUM_PROMPTS_LAST)
    return means({"kl": kl}, seed)


def told(log: list[dict[str, float]]) -> dict[str, float]:
    """The log in short. length: tokens; ended: a share."""
    figures = compared(log, ("score", "reward", "length", "ended", "entropy"))
    figures["first_ratio_difference"] = max(entry.get("first_ratio_difference", 0.0) for entry in log)
    return figures
