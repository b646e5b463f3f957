"""PPO: the SFT model learns from the reward model, answering prompts that nothing has trained on yet. `make ppo`

Reads  collect/prompts/rl.jsonl, sft/model (start and reference), reward/model (and where the recipe says so, the
       critic's start).
Writes model/ (weights and tokenizer), log.jsonl (an object a step), samples.jsonl (some answers of each step),
       certificates/, where a prompt was dropped dropped.jsonl, and with LoRA adapter/.
"""

import dataclasses
import logging
import shutil
import time

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from pipeline.adapter import lora_config, merge
from pipeline.chat import save_chat_model
from pipeline.generate import window
from pipeline.ppo.recipe import Recipe
from pipeline.ppo.trainer import PPOTrainer
from pipeline.prompts import load_prompts
from pipeline.stage import Job
from pipeline.step_log import compared, read_log

log = logging.getLogger(__name__)


def run(job: Job) -> dict[str, float]:
    """Trains the model; returns what the reward, the KL and the answers' length were at first and at last."""
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
    if trainer.accelerator.is_main_process:
        policy = trainer.model.policy
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
        "steps": standing.step,
        "episodes": standing.step * args.batch_size,
        "stopped_by_kl_budget": int(standing.over_budget),
        "skipped_steps": len(standing.skipped),
        "episodes_per_second": standing.step * args.batch_size / standing.seconds,
        "training_seconds": standing.seconds,
        "seconds": time.monotonic() - started,
        **prompts.metrics,
    }


def told(log: list[dict[str, float]]) -> dict[str, float]:
    """The log in short. kl: nats an answer, in the last steps; length: tokens; ended: a share."""
    figures = compared(log, ("score", "reward", "length", "ended", "entropy", "kl"))
    figures["kl"] = figures.pop("kl_last")
    del figures["kl_first"]  # 0: nothing was learnt yet
    figures["first_ratio_difference"] = max(entry.get("first_ratio_difference", 0.0) for entry in log)
    return figures
