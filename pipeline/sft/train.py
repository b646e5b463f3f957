"""SFT: the base model learns to answer, from conversations of which only the assistant's words are trained. `make sft`

Reads  pretrain/model (or the Hub model that the recipe names), collect/conversations.jsonl and
       heldout_conversations.jsonl.
Writes model/ (weights and tokenizer, with the tokens at which an answer ends), log.jsonl, and with LoRA adapter/.

Training is TRL's SFTTrainer. Conversations are rendered and encoded here (pipeline/chat.py), since TRL would parse a
special token that a user spelt out as the token.
"""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig
from trl import SFTConfig, SFTTrainer

from pipeline.adapter import lora_config, merge
from pipeline.chat import stop_ids
from pipeline.generate import window
from pipeline.intervals import bootstrap_mean
from pipeline.sft.data import IGNORED, Row, encode, read, sample
from pipeline.sft.recipe import Recipe
from pipeline.stage import Job, UserError
from pipeline.trainers import common, score_trained_positions_only, train

NUM_HELDOUT = 512  # held-out conversations measured after training; more would cost time and tell little
EVALUATION_BATCH = 32


def run(job: Job) -> dict[str, float]:
    """Trains the chat model; returns its held-out loss, its size and what training cost."""
    recipe: Recipe = job.recipe
    source, started = job.needs("collect"), time.monotonic()
    model, tokenizer = load(job)
    limit = min(length for length in (recipe.trainer.get("max_length"), window(model)) if length is not None)
    everything = read(source / "conversations.jsonl")
    rows, too_long = encode(tokenizer, sample(everything, recipe.max_rows, f"{job.seed}/sft/rows"), limit)
    unseen = sample(read(source / "heldout_conversations.jsonl"), NUM_HELDOUT, f"{job.seed}/sft/heldout")
    heldout, _ = encode(tokenizer, unseen, limit)
    trainer = make_trainer(job, model, tokenizer, rows, limit)
    trained = sum(p.numel() for p in trainer.model.parameters() if p.requires_grad)
    begun = time.monotonic()
    train(trainer, job, "sft")
    seconds = time.monotonic() - begun
    metrics: dict[str, float] = {}
    final = trainer.accelerator.unwrap_model(trainer.model)
    if recipe.lora is not None:
        final, metrics["merge_logit_difference"] = merge(
            final, [row["input_ids"] for row in heldout], job.out / "adapter", recipe.lora.merge_tolerance
        )
    save(final, tokenizer, job.out / "model")
    return {
        "conversations": len(rows),
        "conversations_too_long": too_long,
        **heldout_loss(final, tokenizer.pad_token_id, heldout, job.seed),
        "parameters": final.num_parameters(),
        "trained_parameters": trained,
        "tokens_per_second": sum(len(row["input_ids"]) for row in rows) * trainer.state.epoch / seconds,
        "training_seconds": seconds,
        "seconds": time.monotonic() - started,
        **metrics,
    }


def load(job: Job) -> tuple[Any, Any]:
    """The model to start from, in float32, and its tokenizer. Raises UserError where the recipe names none or two."""
    named = job.recipe.model
    if named is None:
        origin, revision = str(job.needs("pretrain") / "model"), None
    elif "pretrain" in job.inputs:
        raise UserError(
            f"sft: the recipe '{job.run_name}' trains a model of its own (pretrain.yaml) and names {named.id} to "
            "start from. Keep one: remove `model:` from sft.yaml, or pretrain.yaml."
        )
    else:
        origin, revision = named.id, named.revision
    tokenizer = AutoTokenizer.from_pretrained(origin, revision=revision, trust_remote_code=False)
    model = AutoModelForCausalLM.from_pretrained(
        origin, revision=revision, dtype=torch.float32, use_safetensors=True, trust_remote_code=False
    )
    num_rows = model.get_input_embeddings().weight.shape[0]
    if len(tokenizer) > num_rows:
        raise UserError(
            f"sft: the tokenizer of {origin} has {len(tokenizer)} tokens, the model embeds {num_rows}: they do not "
            "belong together. Train the model again with this tokenizer."
        )
    return model, tokenizer


def make_trainer(job: Job, model: Any, tokenizer: Any, rows: Sequence[Row], limit: int) -> SFTTrainer:
    """TRL's trainer on encoded rows."""
    recipe: Recipe = job.recipe
    settings = {
        **common(job),
        # Rows of like length share a batch, so little of it is padding. (Packing is slower on CPU: its batch is one
        # long row, and attention there grows with the square of the row.)
        "train_sampling_strategy": "group_by_length",
        **recipe.trainer,
        "max_length": limit,
    }
    if not settings.get("packing"):
        settings["dataset_kwargs"] = {"skip_prepare_dataset": True}
    else:
        settings.pop("train_sampling_strategy")
    trainer = SFTTrainer(
        model=model,
        args=SFTConfig(**settings),
        train_dataset=Dataset.from_list(list(rows)),
        processing_class=tokenizer,
        peft_config=None if recipe.lora is None else lora_config(recipe.lora, model, tokenizer),
    )
    # The model itself, also under an adapter: peft changes its layers and not its forward.
    score_trained_positions_only(model)
    return trainer


def save(model: Any, tokenizer: Any, folder: Path) -> None:
    """Writes what AutoModelForCausalLM and AutoTokenizer load, with the tokens that end an answer."""
    model.generation_config = GenerationConfig(
        eos_token_id=stop_ids(tokenizer), pad_token_id=tokenizer.pad_token_id, bos_token_id=tokenizer.bos_token_id
    )
    model.config.pad_token_id = tokenizer.pad_token_id
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


@torch.no_grad()
def heldout_loss(model: Any, pad: int, rows: Sequence[Row], seed: int) -> dict[str, float]:
    """Mean loss of a conversation's trained tokens, in nats a token, over the rows, with its interval."""
    model.eval()
    order = sorted(rows, key=lambda row: len(row["input_ids"]))
    losses: list[float] = []
    for start in range(0, len(order), EVALUATION_BATCH):
        batch = order[start : start + EVALUATION_BATCH]
        length = len(batch[-1]["input_ids"])
        ids = np.full((len(batch), length), pad)  # (B, T)
        labels = np.full((len(batch), length), IGNORED)
        for place, row in enumerate(batch):
            ids[place, : len(row["input_ids"])], labels[place, : len(row["labels"])] = row["input_ids"], row["labels"]
        wanted = torch.from_numpy(labels).to(model.device)[:, 1:]
        # Padding stands on the right of every row, where causal attention never looks from a trained token.
        logits = model(torch.from_numpy(ids).to(model.device), use_cache=False).logits[:, :-1].float()  # (B, T-1, V)
        each = F.cross_entropy(logits.transpose(1, 2), wanted, reduction="none", ignore_index=IGNORED)  # (B, T-1)
        losses += (each.sum(1) / (wanted != IGNORED).sum(1)).tolist()
    mean, low, high = bootstrap_mean(losses, seed)
    return {"heldout_loss": mean, "heldout_loss_low": low, "heldout_loss_high": high, "heldout_loss_n": len(losses)}
