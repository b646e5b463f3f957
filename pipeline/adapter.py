"""The low-rank adapter: made from the recipe's `lora:` section, merged into the model when training has ended.

Writes `adapter/` (peft's own files). Merging is exact up to rounding; the largest difference of a logit is measured
and reported, and above the recipe's bound no merged model is saved.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel

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
        trainable_token_indices=[vocabulary[token] for token in lora.trainable_tokens] or None,
    )


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
