"""SFT: the base model learns to answer, from conversations of which only the assistant's words are trained. `make sft`

Reads  pretrain/model (or the model that the recipe names), collect/conversations.jsonl and heldout_conversations.jsonl
       (or the data sets that the recipe names), collect/evaluation (what must not stand in them).
Writes model/ (weights and tokenizer, with the tokens at which an answer ends), log.jsonl, trained_tokens.json (a
       sample of what is trained), certificates/, with LoRA adapter/, and where something was left out, dropped.jsonl.

Training is TRL's SFTTrainer. Conversations are rendered and encoded here (pipeline/chat.py), since TRL would parse a
special token that a user spelt out as the token.
"""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import SFTConfig, SFTTrainer

from pipeline.adapter import lora_config, merge, quantization, unrounded
from pipeline.chat import END_OF_TURN, PAD, START_OF_TURN, TEMPLATE, save_chat_model
from pipeline.chat_gate import ChatGate
from pipeline.generate import window
from pipeline.intervals import bootstrap_mean
from pipeline.screen.chats import Screening
from pipeline.sft.data import IGNORED, Conversation, Row, encode, mixture, read, sample, screened
from pipeline.sft.order import KeepOrder, KeepsOrder
from pipeline.sft.recipe import NUM_HELDOUT, Model, Recipe
from pipeline.stage import Job, UserError
from pipeline.trainers import common, score_trained_positions_only, train

EVALUATION_BATCH = 32


def run(job: Job) -> dict[str, float]:
    """Trains the chat model; returns its held-out loss, its size and what training cost."""
    recipe: Recipe = job.recipe
    started = time.monotonic()
    model, tokenizer = load(job)
    limit = min(length for length in (recipe.trainer.get("max_length"), window(model)) if length is not None)
    screening = Screening(recipe.screen, job.inputs.get("collect"))
    training, unseen, metrics = conversations(job, screening)
    metrics |= screening.finish("sft", job.out)
    most = recipe.data.max_left_out if recipe.data else 0.0
    rows, left_out = encode(tokenizer, training, limit, most)
    heldout, _ = encode(tokenizer, unseen, limit, most)
    if examples := [*screening.examples, *left_out.examples]:
        lines = [json.dumps(example, ensure_ascii=False) + "\n" for example in examples]
        (job.out / "dropped.jsonl").write_text("".join(lines), encoding="utf-8")
    mask = [label != IGNORED for label in rows[0]["labels"]]
    ChatGate(tokenizer).show(rows[0]["input_ids"], mask, job.out, "sft")
    trainer = make_trainer(job, model, tokenizer, rows, limit)
    trained = sum(p.numel() for p in trainer.model.parameters() if p.requires_grad)
    begun = time.monotonic()
    train(trainer, job, "sft")
    seconds = time.monotonic() - begun
    final = trainer.accelerator.unwrap_model(trainer.model)
    if recipe.lora is not None:
        sequences = [row["input_ids"] for row in heldout]
        if recipe.lora.load_in_4bit:
            final, metrics["rounding_logit_difference"] = unrounded(
                final, lambda: load(job, rounded=False)[0], sequences, job.out / "adapter"
            )
        final, metrics["merge_logit_difference"] = merge(
            final, sequences, job.out / "adapter", recipe.lora.merge_tolerance
        )
    save_chat_model(final, tokenizer, job.out / "model")
    return {
        "conversations": len(rows),
        "conversations_too_long": left_out.counts["too_long"] + left_out.counts["answer_cut_off"],
        **{f"dropped_{reason}": count for reason, count in sorted(left_out.counts.items())},
        **heldout_loss(final, tokenizer.pad_token_id, heldout, job.seed),
        "parameters": final.num_parameters(),
        "trained_parameters": trained,
        "tokens_per_second": sum(len(row["input_ids"]) for row in rows) * trainer.state.epoch / seconds,
        "training_seconds": seconds,
        "seconds": time.monotonic() - started,
        **metrics,
    }


def conversations(job: Job, screening: Screening) -> tuple[list[Conversation], list[Conversation], dict[str, float]]:
    """Those to train on and those held out, screened, with counts: collect's, or of the recipe's own data sets."""
    counts: dict[str, float] = {}
    if job.recipe.data is not None:
        training, unseen, counts = mixture(job.recipe.data, job.seed)
    else:
        source = job.needs("collect")
        training, unseen = read(source / "conversations.jsonl"), read(source / "heldout_conversations.jsonl")
    training = sample(training, job.recipe.max_rows, f"{job.seed}/sft/rows")
    unseen = sample(unseen, NUM_HELDOUT, f"{job.seed}/sft/heldout")
    return (
        screened(training, "conversations", screening),
        screened(unseen, "held-out conversations", screening),
        counts,
    )


def load(job: Job, rounded: bool = True) -> tuple[Any, Any]:
    """The model to start from, in float32 (with load_in_4bit and `rounded` in 4 bits), and its tokenizer.

    Raises UserError where the recipe names none or two.
    """
    named: Model | None = job.recipe.model
    if named is None:
        origin = str(job.needs("pretrain") / "model")
    elif "pretrain" in job.inputs:
        raise UserError(
            f"sft: the recipe '{job.run_name}' trains a model of its own (pretrain.yaml) and names {named.id} to "
            "start from. Keep one: remove `model:` from sft.yaml, or pretrain.yaml."
        )
    else:
        origin = str(Path(named.id).expanduser()) if named.is_folder else named.id
    place = {"revision": named.revision if named else None, "trust_remote_code": False}
    tokenizer = AutoTokenizer.from_pretrained(origin, **place)
    lora = job.recipe.lora
    four_bit = quantization() if rounded and lora is not None and lora.load_in_4bit else {}
    model = AutoModelForCausalLM.from_pretrained(
        origin, dtype=torch.float32, use_safetensors=True, **place, **four_bit
    )
    if named is not None and named.chat_template == "chatml":
        teach_chatml(model, tokenizer)
    num_rows = model.get_input_embeddings().weight.shape[0]
    if len(tokenizer) > num_rows:
        raise UserError(
            f"sft: the tokenizer of {origin} has {len(tokenizer)} tokens, the model embeds {num_rows}: they do not "
            "belong together. Train the model again with this tokenizer."
        )
    return model, tokenizer


def teach_chatml(model: Any, tokenizer: Any) -> None:
    """Gives a model the project's chat template, those of its tokens that it lacks, and a pad token of its own."""
    tokenizer.chat_template = TEMPLATE.read_text(encoding="utf-8")
    lacking = [token for token in (START_OF_TURN, END_OF_TURN, PAD) if token not in tokenizer.get_vocab()]
    tokenizer.add_special_tokens({"extra_special_tokens": lacking}, replace_extra_special_tokens=False)
    tokenizer.pad_token = PAD
    if len(tokenizer) > model.get_input_embeddings().weight.shape[0]:
        # The mean of all rows, transformers' default for new ones, keeps their logits from drowning the others.
        model.resize_token_embeddings(len(tokenizer))


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
    trainer = KeepsOrder(
        model=model,
        args=SFTConfig(**settings),
        train_dataset=Dataset.from_list(list(rows)),
        processing_class=tokenizer,
        peft_config=None if recipe.lora is None else lora_config(recipe.lora, model, tokenizer),
    )
    # The model itself, also under an adapter: peft changes its layers and not its forward.
    score_trained_positions_only(model)
    trainer.add_callback(KeepOrder(trainer))
    return trainer


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
