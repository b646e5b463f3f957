"""DPO: the SFT model learns directly from the pairs which answer is better. `make dpo`

Reads  sft/model (by path: start and reference alike), preferences/train.jsonl and heldout.jsonl.
Writes model/ (weights and tokenizer), log.jsonl (an object a step), trained_tokens.json, with LoRA adapter/.

Direct Preference Optimization (Rafailov et al. 2023) by TRL's DPOTrainer. Its reference is computed once, before the
first step, from the very weights that training starts from; that it is so is checked, since a wrong reference shows
nowhere else: the first loss must be what the recipe's losses give at a margin of 0 (ln 2 for DPO's own) and the first
margins 0.
"""

import math
import random
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from peft import PeftModel
from transformers import AutoConfig, AutoTokenizer
from trl import DPOConfig, DPOTrainer

from pipeline.adapter import lora_config, merge
from pipeline.chat import save_chat_model
from pipeline.dpo.recipe import Recipe
from pipeline.drift import NUM_PROMPTS_LAST, Drift, LogDrift, load_model, reference_of
from pipeline.intervals import means, proportion
from pipeline.length_grouped import STRATEGY, LengthGrouped
from pipeline.lora import Lora
from pipeline.pairs import EncodedPair, best_against, encode_pairs, read_pairs, sample_pairs, show_pair
from pipeline.stage import Job, UserError
from pipeline.trainers import common, score_trained_positions_only, train

# Pairs of like length share a batch, so little of it is padding; the sampler needs the column "length".
SAMPLING = {"train_sampling_strategy": STRATEGY, "remove_unused_columns": False}
NUM_HELDOUT = 256  # held-out pairs measured before and after training; more would cost time and tell little
TOLERANCE = 1e-3


def expected_loss(losses: Sequence[str], weights: Sequence[float], beta: float) -> float | None:
    """What the losses give where policy and reference agree, whatever the label smoothing; None where it depends on
    the answers or the smoothing (sft, exo_pair, discopop). The formulas are those of trl's DPOTrainer."""
    ln2 = math.log(2)
    at_zero = {
        **dict.fromkeys(("sigmoid", "sigmoid_norm", "robust", "aot", "aot_unpaired"), ln2),
        **dict.fromkeys(("nca_pair", "bco_pair"), 2 * ln2),
        **dict.fromkeys(("hinge", "apo_zero", "apo_down"), 1.0),
        "ipo": (1 / (2 * beta)) ** 2,
        "sppo_hard": 2 * (0.5 / beta) ** 2,
    }
    if not set(losses) <= at_zero.keys():
        return None
    return sum(weight * at_zero[loss] for loss, weight in zip(losses, weights, strict=True))


class EncodedDPOTrainer(LengthGrouped, DPOTrainer):
    """DPOTrainer on pairs that are token ids already.

    Mends two things: TRL scores the reference with a head that is slow on CPU, and it applies the chat template by
    itself, which would parse a special token spelt out in a user's text as the token. (RewardTrainer leaves encoded
    pairs alone; DPOTrainer has no such case yet.)
    """

    has_own_head = False

    def _prepare_dataset(self, dataset: Dataset, *args: Any, **kwargs: Any) -> Dataset:
        return dataset

    def compute_ref_log_probs(self, model: Any, inputs: dict[str, Any]) -> Any:
        """TRL's. The reference is computed while the trainer is made, so this is where its model gets our head."""
        if not self.has_own_head:
            # The model itself, also under an adapter: peft changes its layers and not its forward.
            plain = self.accelerator.unwrap_model(self.model)
            score_trained_positions_only(plain.get_base_model() if isinstance(plain, PeftModel) else plain)
            self.has_own_head = True
        return super().compute_ref_log_probs(model, inputs)

    def compute_loss(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """TRL's, which logs the log-probabilities of both sides; the lengths of both sides are logged as well."""
        logged = self._metrics["train" if self.model.training else "eval"]
        sides = inputs["completion_mask"].sum(1).float().chunk(2)
        for name, lengths in zip(("length/chosen", "length/rejected"), sides, strict=True):
            logged[name].append(self.accelerator.gather(lengths).mean().item())
        return super().compute_loss(model, inputs, *args, **kwargs)


def run(job: Job) -> dict[str, float]:
    """Trains the model; returns the first loss and the held-out margins and log-probabilities."""
    recipe: Recipe = job.recipe
    # TRL asks transformers by an old name; a reader of the log can do nothing about it.
    warnings.filterwarnings("ignore", message=".is_gradient_checkpointing. is deprecated", category=FutureWarning)
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
    prompts = [list(ids) for ids in dict.fromkeys(tuple(pair.prompt_ids) for pair in heldout)]
    longest = max(max(len(pair.chosen_ids), len(pair.rejected_ids)) for pair in pairs)
    seed = random.Random(f"{job.seed}/dpo/drift").getrandbits(32)
    drift = Drift(tokenizer, prompts, reference_of(trainer, model_path), longest, seed)
    trainer.add_callback(LogDrift(trainer, drift))
    train(trainer, job, "dpo")
    after = log_probabilities(trainer, heldout)
    final = trainer.accelerator.unwrap_model(trainer.model)
    kl, lengths = drift.measure(final, NUM_PROMPTS_LAST)
    merged: dict[str, float] = {}
    if recipe.lora is not None:
        sequences = [pair.prompt_ids + pair.chosen_ids for pair in heldout]
        final, merged["merge_logit_difference"] = merge(
            final, sequences, job.out / "adapter", recipe.lora.merge_tolerance
        )
    save_chat_model(final, tokenizer, job.out / "model")
    return {
        "pairs": len(pairs),
        **{f"dropped_{reason}": count for reason, count in sorted(dropped.items())},
        "first_loss": first_loss,
        **heldout_figures(before, after, trainer.beta, job.seed),
        **means({"kl": kl, "length": lengths}, job.seed),
        **merged,
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
        "logging_steps": 1,
        **SAMPLING,
        **job.recipe.trainer,
        "max_length": limit,
    }
    lora: Lora | None = job.recipe.lora
    # An adapter's config is checked against the model, so the model has to be there first; without one TRL needs the
    # path, for the reference is loaded from it.
    base = None if lora is None else load_model(model_path)
    if base is not None:
        del settings["model_init_kwargs"]
    return EncodedDPOTrainer(
        model=str(model_path) if base is None else base,
        args=DPOConfig(**settings),
        train_dataset=Dataset.from_list([row(pair) for pair in pairs]),
        processing_class=tokenizer,
        peft_config=None if lora is None else lora_config(lora, base, tokenizer),
    )


def row(pair: EncodedPair) -> dict[str, Any]:
    """The columns that DPOTrainer's collator takes, and the length that its sampler takes."""
    ids = {"prompt_ids": pair.prompt_ids, "chosen_ids": pair.chosen_ids, "rejected_ids": pair.rejected_ids}
    return {**ids, "length": pair.length}


def batch_of(trainer: DPOTrainer, rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
    """The rows as the trainer's own batch, on its device."""
    return {name: value.to(trainer.accelerator.device) for name, value in trainer.data_collator(rows).items()}


def check_start(trainer: DPOTrainer) -> float:
    """The loss on the first rows before any step. Raises UserError where the reference is not the starting model.

    The policy is untouched, so each pair's margin must be 0, and the loss what the losses give there.
    """
    num_rows = min(trainer.args.per_device_train_batch_size, len(trainer.train_dataset))
    batch = batch_of(trainer, [trainer.train_dataset[index] for index in range(num_rows)])
    trainer.model.eval()
    with torch.no_grad():
        loss = float(trainer.compute_loss(trainer.model, dict(batch)))
        chosen, rejected = policy_log_probs(trainer, batch)
    margins = (chosen - batch["ref_chosen_logps"]) - (rejected - batch["ref_rejected_logps"])
    largest = trainer.beta * float(margins.abs().max())
    plain_weights = not trainer.use_weighting and trainer.f_divergence_type == "reverse_kl"
    expected = expected_loss(trainer.loss_types, trainer.loss_weights, trainer.beta) if plain_weights else None
    if largest > TOLERANCE or (expected is not None and abs(loss - expected) > TOLERANCE * max(1.0, expected)):
        wanted = "" if expected is None else f" (expected {expected:.4f})"
        raise UserError(
            f"dpo: before the first step the loss is {loss:.4f}{wanted} and the largest margin is {largest:.4f} "
            "(expected 0), so the reference is not the model that training starts from. Has sft/model been changed "
            "since it was sealed? `make verify` tells."
        )
    return loss


def policy_log_probs(trainer: DPOTrainer, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """(B,) each: the policy's summed log-probability of the chosen and of the rejected answers.

    TRL computes the same for the reference; without a model for that it would switch the policy's adapter off.
    """
    held, trainer.ref_model = trainer.ref_model, trainer.model
    try:
        return trainer.compute_ref_log_probs(trainer.model, batch)
    finally:
        trainer.ref_model = held


def log_probabilities(trainer: DPOTrainer, pairs: Sequence[EncodedPair]) -> np.ndarray:
    """(num_pairs, 2): the summed log-probability that the policy gives each chosen and each rejected answer."""
    trainer.model.eval()
    size = trainer.args.per_device_eval_batch_size
    found = np.empty((len(pairs), 2))
    # Pairs of like length in a batch leave little padding; the longest first, since they need the most memory.
    order = sorted(range(len(pairs)), key=lambda index: -pairs[index].length)
    for start in range(0, len(order), size):
        taken = order[start : start + size]
        batch = batch_of(trainer, [row(pairs[index]) for index in taken])
        found[taken] = torch.stack(policy_log_probs(trainer, batch), dim=1).double().cpu().numpy()
    return found


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
    figures |= means({"rewards_margins": margin, "logps_chosen": after[:, 0], "logps_rejected": after[:, 1]}, seed)
    figures["logps_chosen_before"] = float(before[:, 0].mean())
    figures["logps_rejected_before"] = float(before[:, 1].mean())
    return figures
