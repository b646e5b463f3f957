"""A model to go on from: any checkpoint of the Hub or of this machine, with a longer context where the recipe asks."""

from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PretrainedConfig, PreTrainedModel
from transformers import PreTrainedTokenizerBase as Tokenizer

from pipeline.pretrain.recipe import Checkpoint, Rope
from pipeline.stage import UserError


def load(start: Checkpoint, tokenizer: Tokenizer, context: int, attention: str | None) -> PreTrainedModel:
    """The checkpoint's model in float32, whatever it was saved in, with an embedding for every token.

    Raises UserError where the run's token ids are not the checkpoint's, or its context is too short.
    """
    origin = str(Path(start.id).expanduser()) if start.is_folder else start.id
    where = f"pretrain.yaml: continue_from.id = {start.id}"
    place: dict[str, Any] = {
        "revision": start.revision, "trust_remote_code": False, "local_files_only": start.is_folder,
    }  # fmt: skip
    try:
        config = AutoConfig.from_pretrained(origin, **place)
        if start.rope is not None:
            lengthen(config, start.rope)
        positions = getattr(config, "max_position_embeddings", None)
        if positions is not None and positions < context:
            raise UserError(
                f"{where}: context = {context} is longer than the model's {positions} positions. Lower it, or "
                f"lengthen them with continue_from.rope: {{rope_type: yarn, factor: {context / positions:g}}}."
            )
        own = AutoTokenizer.from_pretrained(origin, **place)
        model = AutoModelForCausalLM.from_pretrained(
            origin, config=config, dtype=torch.float32, use_safetensors=True, attn_implementation=attention, **place
        )
    except (OSError, ValueError, ImportError) as error:
        raise UserError(f"{where}: {error}") from None
    check_ids(own, tokenizer, where)
    if len(tokenizer) > model.get_input_embeddings().num_embeddings:
        model.resize_token_embeddings(len(tokenizer))  # new rows are drawn around the mean of the old ones
    model.config.bos_token_id, model.config.pad_token_id = None, tokenizer.pad_token_id
    model.config.eos_token_id = tokenizer.eos_token_id
    return model


def lengthen(config: PretrainedConfig, rope: Rope) -> None:
    """Scales the rotary positions, so that `factor` times as many fit. Raises UserError where there are none."""
    parameters, positions = getattr(config, "rope_parameters", None), getattr(config, "max_position_embeddings", None)
    if not isinstance(parameters, dict) or "rope_theta" not in parameters or positions is None:
        raise UserError(
            f"pretrain.yaml: continue_from.rope: a '{config.model_type}' has no rotary positions to scale. Remove it."
        )
    if parameters.get("rope_type", "default") != "default":
        raise UserError(
            f"pretrain.yaml: continue_from.rope: the model's positions are scaled already "
            f"({parameters['rope_type']}). Go on from the model before that, or remove rope."
        )
    config.max_position_embeddings = round(positions * rope.factor)
    config.rope_parameters = {
        **parameters,
        "rope_type": rope.rope_type,
        "factor": rope.factor,
        # Without it YaRN would take the new length for the old one.
        **({"original_max_position_embeddings": positions} if rope.rope_type == "yarn" else {}),
    }


def check_ids(own: Tokenizer, tokenizer: Tokenizer, where: str) -> None:
    """Raises UserError unless every token of the checkpoint has the same id in this run: with other ids its
    embeddings would mean other words. Tokens may have been added."""
    ids = tokenizer.get_vocab()
    other = [token for token, number in own.get_vocab().items() if ids.get(token) != number]
    if other:
        raise UserError(
            f"{where}: {len(other)} tokens of its vocabulary have other ids in this run's tokenizer, {other[0]!r} for "
            f"one. Give the run the checkpoint's tokenizer."
        )
