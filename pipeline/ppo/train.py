"""PPO: the SFT model learns from the reward model, answering prompts that nothing has trained on yet. `make ppo`

Reads  collect/prompts/rl.jsonl, sft/model (start and reference), reward/model (and where the recipe says so, the
       critic's start).
Writes model/ (weights and tokenizer), log.jsonl (an object a step), samples.jsonl (some answers of each step),
       certificates/, where a prompt was dropped dropped.jsonl, and with LoRA adapter/.
"""

import dataclasses
import json
import logging
import random
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from pipeline.adapter import lora_config, merge
from pipeline.chat import stop_ids
from pipeline.chat_gate import ChatGate
from pipeline.generate import window
from pipeline.ppo.recipe import Recipe
from pipeline.ppo.trainer import PPOTrainer
from pipeline.screen.chats import Screening
from pipeline.stage import Job, UserError

SHARE_COMPARED = 0.1  # of the steps, at the beginning and at the end, that the metrics compare

log = logging.getLogger(__name__)


def run(job: Job) -> dict[str, float]:
    """Trains the model; returns what the reward, the KL and the answers' length were at first and at last."""
    recipe: Recipe = job.recipe
    started = time.monotonic()
    source, reward_model = job.needs("sft") / "model", job.needs("reward") / "model"
    path = job.needs("collect") / "prompts" / "rl.jsonl"
    args = dataclasses.replace(recipe.trainer, output_dir=str(job.resume), seed=job.seed)
    tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
    model = AutoModelForCausalLM.from_pretrained(
        source, dtype=torch.float32, use_safetensors=True, trust_remote_code=False
    )
    room = (window(model) or sys.maxsize) - args.max_completion_length
    screening = Screening(recipe.screen, job.needs("collect"))
    rows = screened(read_prompts(path), screening)
    metrics = screening.finish("ppo", job.out)
    gate = ChatGate(tokenizer)
    lengths = [len(gate.prompt(row["prompt"], f"{path}, line {row['line']}")) for row in rows]
    fitting = [{"prompt": row["prompt"]} for row, length in zip(rows, lengths, strict=True) if length <= room]
    if not fitting:
        raise UserError(
            f"{path}: none of its {len(rows)} prompts leaves room for trainer.max_completion_length = "
            f"{args.max_completion_length} in the model's window. Lower it in ppo.yaml."
        )
    random.Random(f"{job.seed}/ppo/rows").shuffle(fitting)
    fitting = fitting[: recipe.max_prompts]
    trainer = PPOTrainer(
        model=model,
        reward_model=reward_model,
        args=args,
        train_dataset=fitting,
        processing_class=tokenizer,
        value_model=reward_model if recipe.value == "reward" else None,
        peft_config=None if recipe.lora is None else lora_config(recipe.lora, model, tokenizer),
    )
    if trainer.accelerator.is_main_process:
        gate.show_prompt(fitting[0]["prompt"], job.out, "ppo")
    standing = trainer.train(resume_from_checkpoint=True)
    if trainer.accelerator.is_main_process:
        policy = trainer.model.policy
        if recipe.lora is not None:
            prompts = [prompt.ids for prompt in trainer.prompts]
            policy, metrics["merge_logit_difference"] = merge(
                policy, prompts, job.out / "adapter", recipe.lora.merge_tolerance
            )
        save(policy, tokenizer, job.out / "model")
        for name in ("log.jsonl", "samples.jsonl"):
            shutil.copyfile(job.resume / name, job.out / name)
        if screening.examples:
            lines = [json.dumps(example, ensure_ascii=False) + "\n" for example in screening.examples]
            (job.out / "dropped.jsonl").write_text("".join(lines), encoding="utf-8")
    trainer.accelerator.wait_for_everyone()
    return {
        "prompts": len(fitting),
        "prompts_too_long": len(rows) - len(fitting),
        **compared([json.loads(line) for line in (job.resume / "log.jsonl").read_text("utf-8").splitlines()]),
        "steps": standing.step,
        "episodes": standing.step * args.batch_size,
        "stopped_by_kl_budget": int(standing.over_budget),
        "skipped_steps": len(standing.skipped),
        "episodes_per_second": standing.step * args.batch_size / standing.seconds,
        "training_seconds": standing.seconds,
        "seconds": time.monotonic() - started,
        **metrics,
    }


def read_prompts(path: Path) -> list[dict[str, Any]]:
    """{"prompt", "line"} of each row of the prompt file. Raises UserError where there is none."""
    if not path.is_file():
        raise UserError(f"ppo: {path} is not there: the source of this recipe's collect has no prompts.")
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    for number, row in enumerate(rows, start=1):
        if not row.get("prompt"):
            raise UserError(f"{path}, line {number}: has no 'prompt'. Its columns are: {', '.join(row)}.")
    if not rows:
        raise UserError(f"{path}: holds no prompt. Let collect write some (its key `rl`).")
    return [{"prompt": row["prompt"], "line": line} for line, row in enumerate(rows, start=1)]


def screened(rows: list[dict[str, Any]], screening: Screening) -> list[dict[str, Any]]:
    """The prompts with private data replaced, without those that hold evaluation items."""
    screening.begin("prompts")
    kept = ((row, screening.screened(row["prompt"], f"rl.jsonl, line {row['line']}")) for row in rows)
    return [{**row, "prompt": messages} for row, messages in kept if messages is not None]


def save(model: Any, tokenizer: Any, folder: Path) -> None:
    """Writes what AutoModelForCausalLM and AutoTokenizer load, with the tokens that end an answer."""
    model.generation_config = GenerationConfig(
        eos_token_id=stop_ids(tokenizer), pad_token_id=tokenizer.pad_token_id, bos_token_id=tokenizer.bos_token_id
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def compared(log: list[dict[str, float]]) -> dict[str, float]:
    """Means over the first and the last tenth of the steps. kl: nats an answer; length: tokens; ended: a share."""
    few = max(1, round(SHARE_COMPARED * len(log)))
    figures: dict[str, float] = {}
    for key in ("score", "reward", "length", "ended", "entropy"):
        for name, steps in (("first", log[:few]), ("last", log[-few:])):
            figures[f"{key}_{name}"] = sum(entry[key] for entry in steps) / len(steps)
    figures["kl"] = sum(entry["kl"] for entry in log[-few:]) / few
    figures["first_ratio_difference"] = max(entry.get("first_ratio_difference", 0.0) for entry in log)
    return figures
