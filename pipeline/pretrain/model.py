"""The model of a recipe: built from `model:` and the tokenizer, and saved so that transformers alone loads it."""

from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    GenerationConfig,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from pipeline.chat import stop_ids
from pipeline.engine import trained
from pipeline.pretrain.fields import check_against, installed
from pipeline.stage import UserError
from pipeline.training_state import Tensors


def build(
    section: dict[str, Any],
    tokenizer: PreTrainedTokenizerBase,
    context: int,
    seed: int,
    attention: str | None = None,
) -> PreTrainedModel:
    """A freshly initialised model in float32. Raises UserError for a config that does not stand or does not fit."""
    config = configure(
        section,
        context,
        vocabulary=len(tokenizer),
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    torch.manual_seed(seed)
    try:
        return AutoModelForCausalLM.from_config(config, dtype=torch.float32, attn_implementation=attention)
    except (ImportError, ValueError) as error:
        raise UserError(f"pretrain.yaml: attention = {attention}: {error}") from None


def configure(
    section: dict[str, Any], context: int, *, vocabulary: int, **special_ids: int | None
) -> PretrainedConfig:
    """The config of a recipe's `model:`. Raises UserError where it does not stand or does not fit."""
    fields = {"vocab_size": vocabulary, **section}
    model_type = fields.pop("model_type")
    try:
        names = installed(model_type)
        check_against(fields, model_type, names)
        config = AutoConfig.for_model(
            model_type,
            # Models without learned or rotary limits have no such field.
            **({"max_position_embeddings": context} if _lacks_positions(fields, names) else {}),
            **initializer_range(fields, names),
            **fields,
            **{"bos_token_id": None, "eos_token_id": None, "pad_token_id": None, **special_ids},
        )
    except (StrictDataclassError, ValueError, TypeError) as error:
        raise UserError(f"pretrain.yaml, model: {error}") from None
    if config.vocab_size < vocabulary:
        raise UserError(
            f"pretrain.yaml, model: vocab_size = {config.vocab_size} is smaller than the tokenizer's "
            f"{vocabulary}. Leave it out, or give at least that many."
        )
    positions = getattr(config, "max_position_embeddings", context)
    if positions < context:
        raise UserError(f"pretrain.yaml: context = {context} is longer than the model's {positions} positions.")
    return config


def initializer_range(fields: dict[str, Any], names: list[str]) -> dict[str, float]:
    """The standard deviation of fresh weights: 1 / sqrt(hidden_size), unless the recipe gives one.

    Every config's own 0.02 fits models of some 2,000 dimensions. At 128 it leaves embeddings so small that a model
    learns to copy a fact from its context only after several times as many tokens (see LOG.md).
    """
    size = fields.get("hidden_size")
    if "initializer_range" in fields or "initializer_range" not in names or not isinstance(size, int) or size < 1:
        return {}
    return {"initializer_range": size**-0.5}


def _lacks_positions(fields: dict[str, Any], names: list[str]) -> bool:
    return "max_position_embeddings" in names and not {"max_position_embeddings", "n_positions"} & set(fields)


def assembled(sharded: PreTrainedModel, weights: Tensors) -> PreTrainedModel:
    """A model of the same config with these weights, on the processor."""
    model = AutoModelForCausalLM.from_config(sharded.config, dtype=torch.float32)
    with torch.no_grad():
        for name, parameter in trained(model).items():
            parameter.copy_(weights[name])
    return model


def save(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Writes weights, config, generation config and tokenizer, then loads them again and compares.

    Sampling stops at the end of a document and at the end of a chat's turn, so that the base model and what is trained
    from it stop where they should with plain `generate`.
    """
    context = getattr(model.config, "max_position_embeddings", None)
    model.generation_config = GenerationConfig(eos_token_id=stop_ids(tokenizer), pad_token_id=tokenizer.pad_token_id)
    model.config.use_cache = True
    model.save_pretrained(folder)
    if context is not None:
        tokenizer.model_max_length = context
    tokenizer.save_pretrained(folder)
    check_saved(model, folder)


def check_saved(model: PreTrainedModel, folder: Path) -> None:
    """Raises RuntimeError where what was saved is not the model: other parameters or other logits for equal ids."""
    loaded = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, use_safetensors=True, trust_remote_code=False, local_files_only=True
    )
    if loaded.num_parameters() != model.num_parameters():
        raise RuntimeError(f"{folder}: saved {loaded.num_parameters()} parameters of {model.num_parameters()}")
    ids = torch.arange(16).remainder(model.config.vocab_size).unsqueeze(0)  # (1, T)
    model.eval()
    with torch.inference_mode():
        expected = model(input_ids=ids.to(model.device), use_cache=False).logits.float().cpu()
        found = loaded.eval()(input_ids=ids, use_cache=False).logits
    # Equal on CPU; a GPU sums in another order.
    if not torch.allclose(expected, found, atol=1e-3, rtol=1e-3):
        raise RuntimeError(f"{folder}: the saved model's logits differ by {(expected - found).abs().max():.2g}")
