"""The low-rank adapter: made from the recipe's `lora:` section, merged into the model when training has ended.

Writes `adapter/` (peft's own files). Merging is exact up to rounding; the largest difference of a logit is measured
and reported, and above the recipe's bound no merged model is saved.
"""

import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel
from transformers import BitsAndBytesConfig

from pipeline.lora import Lora
from pipeline.stage import UserError

NUM_COMPARED = 32  # sequences on which the merged model is compared with the unmerged


def lora_config(lora: Lora, model: Any, tokenizer: Any) -> LoraConfig:
    """peft's config. Raises UserError for a token that the vocabulary lacks, or modules that the model has not."""
    vocabulary = tokenizer.get_vocab()
    missing = [token for token in lora.trainable_tokens if token not in vocabulary]
    if missing:
        raise UserError(f"lora.trainable_tokens: {missing[0]!r} is not in the model's vocabulary. Leave it out.")
    targets = lora.target_modules if isinstance(lora.target_modules, str) else list(lora.target_modules)
    linear = {name.rpartition(".")[2] for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)}
    unknown = [] if isinstance(targets, str) else sorted(set(targets) - linear)
    if unknown:
        raise UserError(
            f"lora.target_modules: the model has no linear layer {unknown[0]!r}. It has: {', '.join(sorted(linear))}."
        )
    return LoraConfig(
        task_type="CAUSAL_LM",
        r=lora.r,
        lora_alpha=lora.lora_alpha,
        lora_dropout=lora.lora_dropout,
        target_modules=targets,
        use_dora=lora.use_dora,
        trainable_token_indices=[vocabulary[token] for token in lora.trainable_tokens] or None,
    )


def quantization() -> dict[str, Any]:
    """What `from_pretrained` needs to load a model in 4 bits. Raises UserError where bitsandbytes is not there."""
    if importlib.util.find_spec("bitsandbytes") is None:
        raise UserError(
            "lora.load_in_4bit: needs the package bitsandbytes, which is not installed. `pip install bitsandbytes` "
            "(it runs on NVIDIA GPUs, and on some others), or leave load_in_4bit out: plain LoRA trains the same "
            "adapter on weights in full."
        )
    config = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16 if torch.cuda.is_available() else torch.float32,
    )
    return {"quantization_config": config}


def unrounded(
    model: PeftModel, load_base: Callable[[], Any], sequences: Sequence[list[int]], folder: Path
) -> tuple[PeftModel, float]:
    """The trained adapter on the base in full, since merging into 4 bits would round it away; and the largest
    difference of a logit that this makes."""
    model.save_pretrained(folder)
    before = [logits.cpu() for logits in _logits(model, sequences[:NUM_COMPARED])]
    full = PeftModel.from_pretrained(load_base().to(model.device), str(folder))
    after = [logits.cpu() for logits in _logits(full, sequences[:NUM_COMPARED])]
    return full, max(float((a.float() - b).abs().max()) for a, b in zip(before, after, strict=True))


def merge(model: PeftModel, sequences: Sequence[list[int]], folder: Path, tolerance: float) -> tuple[Any, float]:
    """Saves the adapter to `folder`; returns the merged model and the largest difference of a logit on `sequences`."""
    model.save_pretrained(folder)
    before = _logits(model, sequences[:NUM_COMPARED])
    merged = model.merge_and_unload(safe_merge=True)
    difference = max(
        float((a - b).abs().max()) for a, b in zip(before, _logits(merged, sequences[:NUM_COMPARED]), strict=True)
    )
    if not difference <= tolerance:
        raise UserError(
            f"merging the adapter changed a logit by {difference:.3g}; lora.merge_tolerance = {tolerance:g}. "
            "Nothing was saved as model/; raise the bound if that is acceptable, or train the full model."
        )
    return merged, difference


@torch.no_grad()
def _logits(model: Any, sequences: Sequence[list[int]]) -> list[torch.Tensor]:
    """(T, V) of each sequence."""
    model.eval()
    return [model(torch.tensor([ids], device=model.device), use_cache=False).logits[0] for ids in sequences]
