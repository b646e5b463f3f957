"""The models that PPOTrainer is handed, as objects or as paths, checked for belonging together."""

import copy
from pathlib import Path
from typing import Any

import torch
from peft import PeftConfig, PeftModel, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from pipeline.stage import UserError

PLAIN = {"dtype": torch.float32, "use_safetensors": True, "trust_remote_code": False}
ADAPTER = "adapter_config.json"


def load_policy(model: Any, peft_config: PeftConfig | str | Path | None) -> Any:
    """The policy in float32, with the adapter that is to be trained, where there is one.

    model: a causal language model, or where one lies. peft_config: of a new adapter, or where a saved one lies that is
    to be trained on. Raises UserError for an adapter that was made for another model.
    """
    if isinstance(model, str | Path):
        model = AutoModelForCausalLM.from_pretrained(str(model), **PLAIN)
    if peft_config is None:
        return model
    if isinstance(model, PeftModel):
        raise UserError("peft_config: the model has an adapter already. Merge it first, or leave peft_config out.")
    if isinstance(peft_config, PeftConfig):
        return get_peft_model(model, peft_config)
    folder = Path(peft_config)
    if not (folder / ADAPTER).is_file():
        raise UserError(f"peft_config: {folder} holds no adapter (no {ADAPTER}).")
    base, given = PeftConfig.from_pretrained(str(folder)).base_model_name_or_path, model.config._name_or_path
    if base and given and resolved(base) != resolved(given):
        raise UserError(
            f"peft_config: the adapter {folder} was made for {base}, not for {given}. Load that model, or make a new "
            "adapter."
        )
    try:
        return PeftModel.from_pretrained(model, str(folder), is_trainable=True)
    except (RuntimeError, ValueError) as error:  # sizes that differ, or modules that the model has not
        raise UserError(
            f"peft_config: the adapter {folder} does not fit {given or type(model).__name__}, so it was made for "
            f"another model: {str(error).splitlines()[-1].strip()}"
        ) from None


def resolved(name: str) -> str:
    """A local path made absolute; a name of the Hub as it is."""
    return str(Path(name).resolve()) if Path(name).exists() else name


def load_reference(ref_model: Any, policy: Any) -> Any | None:
    """The frozen reference; None where it is the policy with its adapter off."""
    if isinstance(ref_model, str | Path):
        ref_model = AutoModelForCausalLM.from_pretrained(str(ref_model), **PLAIN)
    if ref_model is None:
        if isinstance(policy, PeftModel):
            return None
        ref_model = copy.deepcopy(policy)
    if ref_model is policy:
        raise UserError("ref_model: is the model that is trained, so it would move with it. Pass None, or a copy.")
    rows = [model.get_input_embeddings().weight.shape[0] for model in (ref_model, policy)]
    if rows[0] != rows[1]:
        raise UserError(
            f"ref_model: has {rows[0]} tokens, the policy {rows[1]}. Take the model that training starts from."
        )
    return ref_model.requires_grad_(False).eval()


def load_classifier(model: Any, what: str) -> tuple[Any, Any | None]:
    """A sequence classifier, given or from where it lies, and the tokenizer beside it, where there is one.

    Raises UserError for a model without a trained head, which transformers would give random weights.
    """
    if isinstance(model, str | Path):
        path = str(model)
        architectures = AutoConfig.from_pretrained(path, trust_remote_code=False).architectures or ["a base model"]
        if not architectures[0].endswith("ForSequenceClassification"):
            raise UserError(
                f"{what}: {path} is {architectures[0]}, which has no trained head to score with. Name a sequence "
                "classifier, such as reward/model."
            )
        model = AutoModelForSequenceClassification.from_pretrained(path, **PLAIN)
    place = model.config._name_or_path
    if not place or not (Path(place) / "tokenizer_config.json").is_file():
        return model, None
    return model, AutoTokenizer.from_pretrained(place, trust_remote_code=False, local_files_only=True)
