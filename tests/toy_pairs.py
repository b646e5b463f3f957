"""A toy chat model and toy artifacts for the tests of preferences, reward and dpo: built in a second, no network."""

import json
import random
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from pipeline.chat import END_OF_TEXT, END_OF_TURN, PAD, SPECIAL_TOKENS, TEMPLATE

WORDS = ("fox", "owl", "kite", "lake", "lost", "found", "smiled", "cried", "happily", "home", "the", "and", "a")


def save_toy_model(folder: Path, seed: int = 0) -> Path:
    """A two-layer Llama with its tokenizer, saved as sft/model is."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=330,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([" ".join(WORDS)] * 5, trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END_OF_TEXT, pad_token=PAD)
    fast.add_special_tokens({"extra_special_tokens": [t for t in SPECIAL_TOKENS if t not in (END_OF_TEXT, PAD)]})
    fast.chat_template = TEMPLATE.read_text(encoding="utf-8")
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(fast),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=128,
        tie_word_embeddings=True,
        eos_token_id=fast.convert_tokens_to_ids(END_OF_TURN),
        pad_token_id=fast.pad_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    fast.save_pretrained(folder)
    return folder


def pair_row(pair_id: str, prompt: str, chosen: str, rejected: str) -> dict:
    """One row of a preference file."""
    return {
        "id": pair_id,
        "prompt": [{"role": "user", "content": prompt}],
        "chosen": [{"role": "assistant", "content": chosen}],
        "rejected": [{"role": "assistant", "content": rejected}],
        "source": "toy",
    }


def write_jsonl(path: Path, rows: list[dict]) -> None:
    """One object a line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def save_toy_preferences(folder: Path, num_pairs: int = 48, num_heldout: int = 16) -> Path:
    """Pairs whose better answer ends with "happily"; a tenth of the labels is swapped; gold scores 1 and 0."""
    rng = random.Random("toy preferences")
    rows, gold = [], []
    for index in range(num_pairs + num_heldout):
        words = [rng.choice(WORDS) for _ in range(6)]
        good, bad = " ".join([*words, "happily"]), " ".join([*words[: rng.randint(3, 6)], "cried"])
        swapped = index % 10 == 9
        chosen, rejected = (bad, good) if swapped else (good, bad)
        rows.append(pair_row(f"p{index}/0-1", f"a story with {words[0]} and {words[1]} {index}", chosen, rejected))
        gold.append({"id": f"p{index}/0-1", "chosen_gold": 1.0 - swapped, "rejected_gold": float(swapped)})
    write_jsonl(folder / "train.jsonl", rows[:num_pairs])
    write_jsonl(folder / "heldout.jsonl", rows[num_pairs:])
    write_jsonl(folder / "gold.jsonl", gold)
    return folder
