"""DPO: the SFT model learns directly from the pairs which answer is better. `make dpo`

Reads  sft/model (by path: start and reference alike), preferences/train.jsonl and heldout.jsonl.
Writes model/ (weights and tokenizer), log.jsonl.

Direct Preference Optimization (Rafailov et al. 2023) by TRL's DPOTrainer. Its reference is computed once, before the
first step, from the very weights that training starts from; that it is so is checked, since a wrong reference shows
nowhere else: the first loss must be ln 2 and the first margins 0.
"""

import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from transformers import AutoConfig, AutoTokenizer, GenerationConfig
from trl import DPOConfig, DPOTrainer

from pipeline.chat import stop_ids
from pipeline.dpo.recipe import Recipe
from pipeline.intervals import bootstrap_mean, proportion
from pipeline.length_grouped import STRATEGY, LengthGrouped
from pipeline.pairs import EncodedPair, best_against, encode_pairs, read_pairs, sample_pairs, show_pair
from pipeline.stage import Job, UserError
from pipeline.trainers import common, score_trained_positions_only, train

# Pairs of like length share a batch, so little of it is padding; the sampler needs the column "length".
SAMPLING = {"train_sampling_strategy": STRATEGY, "remove_unused_columns": False}
NUM_HELDOUT = 256  # held-out pairs measured before and after training; more would cost time and tell little
TOLERANCE = 1e-3
# The losses that equal ln 2 where policy and reference agree; of the others only the margin is checked.
LN2_LOSSES = ("sigmoid", "robust")


class EncodedDPOTrainer(LengthGrouped, DPOTrainer):
    """DPOTrainer on pairs that are token ids already.

    Mends one thing: TRL applies the chat template by itself, which would parse a special token spelt out in a user's
    text as the token. (RewardTrainer leaves encoded pairs alone; DPOTrainer has no such case yet.)
    """

    def _prepare_dataset(self, dataset: Dataset, *args: Any, **kwargs: Any) -> Dataset:
        return dataset


def run(job: Job) -> dict[str, float]:
    """Trains the model; returns the first loss and the held-out margins and log-probabilities."""
    recipe: Recipe = job.recipe
    start, source = time.monotonic(), job.needs("preferences")
    model_path = job.needs("sft") / "model"
    tokenizer = AutoTokenizer.from_pretrained(model_path)
    window = AutoConfig.from_pretrained(model_path).max_position_embeddings
    limit = min(window, recipe.trainer.get("max_length") or window)
    pairs, dropped = encode_pairs(tokenizer, read_pairs(source / "train.jsonl"), limit, str(source / "train.jsonl"))
    heldout, _ = encode_pairs(tokenizer, read_pairs(source / "heldout.jsonl"), limit, str(source / "heldout.jsonl"))
    show_pair(tokenizer, pairs[0], job.out, job.stage)
    if recipe.pairs != "all":
        pairs = best_against(pairs, "worst" if recipe.pairs == "best_against_worst" else "next")
    pairs = sample_pairs(pairs, recipe.max_pairs, f"{job.seed}/dpo/pairs")
    heldout = sample_pairs(heldout, NUM_HELDOUT, f"{job.seed}/dpo/heldout")
    trainer = make_trainer(job, model_path, tokenizer, pairs, limit)
    first_loss = check_start(trainer)
    before = log_probabilities(trainer, heldout)
    train(trainer, job, "dpo")
    after = log_probabilities(trainer, heldout)
    # The trainer sets the model's end token to the tokenizer's, the end of a document; answers end with a turn.
    trainer.model.generation_config = GenerationConfig(
        eos_token_id=stop_ids(tokenizer), pad_token_id=tokenizer.pad_token_id, bos_token_id=tokenizer.bos_token_id
    )
    trainer.model.save_pretrained(job.out / "model")
    tokenizer.save_pretrained(job.out / "model")
    return {
        "pairs": len(pairs),
        **{f"dropped_{reason}": count for reason, count in sorted(dropped.items())},
        "first_loss": first_loss,
        **heldout_figures(before, after, trainer.beta, job.seed),
        "seconds": time.monotonic() - start,
    }


def make_trainer(
    job: Job, model_path: Path, tokenizer: Any, pairs: Sequence[EncodedPair], limit: int
) -> EncodedDPOTrainer:
    """The trainer, with the reference's log-probabilities computed."""
    settings = {
        **common(job),
        "model_init_kwargs": {"use_safetensors": True},
        "precompute_ref_log_probs": True,
        **SAMPLING,
        **job.recipe.trainer,
        "max_length": limit,
    }
    trainer = EncodedDPOTrainer(
        model=str(model_path),
        args=DPOConfig(**settings),
        train_dataset=Dataset.from_list([row(pair) for pair in pairs]),
        processing_class=tokenizer,
    )
    score_trained_positions_only(trainer.model)
    return trainer


def row(pair: EncodedPair) -> dict[str, Any]:
    """The columns that DPOTrainer's collator takes, and the length that its sampler takes."""
    ids = {"prompt_ids": pair.prompt_ids, "chosen_ids": pair.chosen_ids, "rejected_ids": pair.rejected_ids}
    return {**ids, "length": pair.length}


def batch_of(trainer: DPOTrainer, rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
    """The rows as the trainer's own batch, on its device."""
    return {name: value.to(trainer.accelerator.device) for name, value in trainer.data_collator(rows).items()}


def check_start(trainer: DPOTrainer) -> float:
    """The loss on the first rows before any step. Raises UserError where the reference is not the starting model.

    The policy is untouched, so each pair's margin must be 0, and the loss of the sigmoid family ln 2.
    """
    num_rows = min(trainer.args.per_device_train_batch_size, len(trainer.train_dataset))
    batch = batch_of(trainer, [trainer.train_dataset[index] for index in range(num_rows)])
    trainer.model.eval()
    with torch.no_grad():
        loss = float(trainer.compute_loss(trainer.model, dict(batch)))
        chosen, rejected = trainer.compute_ref_log_probs(trainer.model, batch)
    margins = (chosen - batch["ref_chosen_logps"]) - (rejected - batch["ref_rejected_logps"])
    largest = trainer.beta * float(margins.abs().max())
    checks_loss = all(loss_type in LN2_LOSSES for loss_type in trainer.loss_types) and len(trainer.loss_types) == 1
    if largest > TOLERANCE or (checks_loss and abs(loss - math.log(2)) > TOLERANCE):
        raise UserError(
            f"dpo: before the first step the loss is {loss:.4f} (expected {math.log(2):.4f}) and the largest margin "
            f"is {largest:.4f} (expected 0), so the reference is not the model that training starts from. Has "
            "sft/model been changed since it was sealed? `make verify` tells."
        )
    return loss


def log_probabilities(trainer: DPOTrainer, pairs: Sequence[EncodedPair]) -> np.ndarray:
    """(num_pairs, 2): the summed log-probability that the policy gives each chosen and each rejected answer."""
    trainer.model.eval()
    size = trainer.args.per_device_eval_batch_size
    found = []
    for start in range(0, len(pairs), size):
        batch = batch_of(trainer, [row(pair) for pair in pairs[start : start + size]])
        found.append(torch.stack(trainer.compute_ref_log_probs(trainer.model, batch), dim=1).cpu())
    return torch.cat(found).double().numpy()


def heldout_figures(before: np.ndarray, after: np.ndarray, beta: float, seed: int) -> dict[str, float]:
    """What training moved on pairs that it did not see: implicit rewards as TRL names them, with 95 % intervals."""
    rewards = beta * (after - before)  # (N, 2)
    margin = rewards[:, 0] - rewards[:, 1]
    right = int((margin > 0).sum())
    low, high = proportion(right, len(margin))
    figures = {
        "rewards_accuracies": right / len(margin),
        "rewards_accuracies_low": low,
        "rewards_accuracies_high": high,
        "rewards_accuracies_n": len(margin),
    }
    means = {"rewards_margins": margin, "logps_chosen": after[:, 0], "logps_rejected": after[:, 1]}
    for name, values in means.items():
        mean, low, high = bootstrap_mean(values, seed)
        figures |= {name: mean, f"{name}_low": low, f"{name}_high": high, f"{name}_n": len(values)}
    figures["logps_chosen_before"] = float(before[:, 0].mean())
    figures["logps_rejected_before"] = float(before[:, 1].mean())
    return figures
