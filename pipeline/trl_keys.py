"""The keys of TRL's config classes, so that a recipe's `trainer:` section is checked before anything expensive starts.

TRL's own scripts drop unknown keys in silence and `SFTConfig(packing="False")` is accepted; here both are errors. The
table trl_keys.json beside this file is generated from the installed classes, since importing them takes eight seconds:

    python -m pipeline.trl_keys
"""

import dataclasses
import difflib
import enum
import importlib
import json
import types
import typing
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator

TABLE = Path(__file__).with_name("trl_keys.json")
CONFIGS = ("SFTConfig", "RewardConfig", "DPOConfig", "GRPOConfig")

_ARTIFACT = "the stage writes into its own artifact"
_SEED = "seeds come from `seed` in recipe.yaml"
_TRACKING = "what is logged goes to log.jsonl in the artifact"
_HUB = "publishing is not part of training, and a token must never stand in a recipe: use HF_TOKEN or `hf auth login`"
_HARDWARE = "precision and device are chosen for the machine"
_EVALUATION = "the held-out set is measured once, after training"
_CHECKPOINTS = "checkpoints are sealed by the stage (`save_steps` says how often)"
_TOKENIZER = "the template and the special tokens are read from the model's tokenizer"
_MODEL = "the stage loads the model by itself, without running code from its repository"
_ENGINE = "engines are chosen with ACCEL=<name under accelerate_configs/>"
_RUN = "the stage decides what it runs"
_DATA = "the stage encodes the conversations by itself"

# Keys that a recipe may not give: key -> why.
REFUSED: dict[str, str] = {
    "output_dir": _ARTIFACT,
    **dict.fromkeys(("seed", "data_seed"), _SEED),
    **dict.fromkeys(
        ("report_to", "run_name", "project", "trackio_space_id", "trackio_bucket_id", "trackio_static_space_id"),
        _TRACKING,
    ),
    **dict.fromkeys(("disable_tqdm", "logging_strategy", "logging_nan_inf_filter", "logging_first_step"), _TRACKING),
    **dict.fromkeys(
        ("push_to_hub", "hub_token", "hub_private_repo", "hub_model_id", "hub_strategy", "hub_always_push"), _HUB
    ),
    "hub_revision": _HUB,
    **dict.fromkeys(("use_cpu", "bf16", "fp16", "bf16_full_eval", "fp16_full_eval"), _HARDWARE),
    **dict.fromkeys(
        ("eval_strategy", "eval_steps", "eval_delay", "eval_on_start", "load_best_model_at_end"), _EVALUATION
    ),
    **dict.fromkeys(("metric_for_best_model", "greater_is_better", "eval_packing"), _EVALUATION),
    **dict.fromkeys(
        ("save_strategy", "save_total_limit", "save_only_model", "save_on_each_node", "enable_jit_checkpoint"),
        _CHECKPOINTS,
    ),
    **dict.fromkeys(("resume_from_checkpoint", "ignore_data_skip"), _CHECKPOINTS),
    **dict.fromkeys(("chat_template_path", "eos_token", "pad_token"), _TOKENIZER),
    **dict.fromkeys(("model_init_kwargs", "trust_remote_code"), _MODEL),
    **dict.fromkeys(("deepspeed", "fsdp", "fsdp_config", "local_rank", "ddp_backend"), _ENGINE),
    **dict.fromkeys(("do_train", "do_eval", "do_predict", "prediction_loss_only"), _RUN),
    **dict.fromkeys(
        ("dataset_text_field", "dataset_kwargs", "assistant_only_loss", "completion_only_loss", "truncation_mode"),
        _DATA,
    ),
    "gradient_checkpointing": "transformers 5 names it activation_checkpointing",
    "gradient_checkpointing_kwargs": "transformers 5 names it activation_checkpointing_kwargs",
}

# Keys that cannot change the trained model; a fingerprint leaves them out.
INTERVALS = ("logging_steps", "save_steps")

_ACCEPTS: dict[str, tuple[type, ...]] = {
    "bool": (bool,), "int": (int,), "float": (int, float), "str": (str,), "list": (list, tuple), "dict": (dict,),
    "null": (type(None),),
}  # fmt: skip


def check(config: str, section: dict[str, Any]) -> dict[str, Any]:
    """The section unchanged; raises ValueError for a key that `config` lacks, that is refused, or of a wrong type."""
    table = json.loads(TABLE.read_text(encoding="utf-8"))
    keys: dict[str, list[str]] = table[config]
    for key, value in section.items():
        if key in REFUSED and (key in keys or key == "output_dir"):
            raise ValueError(f"the key '{key}' cannot be given here: {REFUSED[key]}. Remove it.")
        if key not in keys:
            usable = [name for name in keys if name not in REFUSED]
            close = difflib.get_close_matches(key, usable, n=1, cutoff=0.5)
            hint = f" Did you mean '{close[0]}'?" if close else ""
            raise ValueError(f"trl's {config} has no key '{key}'.{hint} Accepted: {', '.join(usable)}.")
        _check_value(config, key, value, keys[key], table["choices"])
    return section


def without_intervals(section: dict[str, Any]) -> dict[str, Any]:
    """What of a section goes into a fingerprint."""
    return {key: value for key, value in section.items() if key not in INTERVALS}


def _check_value(config: str, key: str, value: Any, names: list[str], choices: dict[str, list[str]]) -> None:
    """Raises ValueError where a value is of none of the types, or is not among an enumeration's values."""
    options = [option for name in names for option in choices.get(name, ())]
    if options and isinstance(value, str):
        if value not in options:
            close = difflib.get_close_matches(value, options, n=1)
            hint = f" Did you mean '{close[0]}'?" if close else ""
            raise ValueError(f"{key} = {value!r}: trl's {config} takes one of {', '.join(options)}.{hint}")
        return
    kinds = [kind for name in names for kind in _ACCEPTS.get(name, ())]
    # bool is a subclass of int, but `learning_rate: true` is a mistake.
    fits = isinstance(value, tuple(kinds)) and (not isinstance(value, bool) or "bool" in names)
    if not fits:
        shown = " or ".join("text" if name in choices else name for name in names)
        raise ValueError(f"{key} = {value!r}: trl's {config} takes {shown} here, not {type(value).__name__}.")


SFTKeys = Annotated[dict[str, Any], AfterValidator(partial(check, "SFTConfig"))]
RewardKeys = Annotated[dict[str, Any], AfterValidator(partial(check, "RewardConfig"))]
DPOKeys = Annotated[dict[str, Any], AfterValidator(partial(check, "DPOConfig"))]
GRPOKeys = Annotated[dict[str, Any], AfterValidator(partial(check, "GRPOConfig"))]


def without_effect(reasons: dict[str, str]) -> AfterValidator:
    """A check that a section gives no key which a stage leaves without effect; `reasons` says of each key why."""

    def check_section(section: dict[str, Any]) -> dict[str, Any]:
        for key, reason in reasons.items():
            if key in section:
                raise ValueError(f"the key '{key}' would have no effect: {reason}. Remove it.")
        return section

    return AfterValidator(check_section)


def type_names(hint: Any, choices: dict[str, list[str]]) -> list[str]:
    """The names of the JSON types that a hint allows; an enumeration goes by its name, its values to `choices`."""
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        return sorted({name for option in typing.get_args(hint) for name in type_names(option, choices)})
    if origin is typing.Literal:
        return sorted({type(value).__name__ for value in typing.get_args(hint)})
    plain = origin or hint
    if plain is type(None):
        return ["null"]
    if isinstance(plain, type) and issubclass(plain, enum.Enum):
        choices[plain.__name__] = [str(member.value) for member in plain]
        return [plain.__name__]
    # Anything else (an object of accelerate) cannot be written in a recipe: no type accepts it.
    return [plain.__name__] if plain in (bool, int, float, str, list, dict) else []


def installed() -> dict[str, Any]:
    """The table of the installed classes. An enumeration that may also be text is checked as the enumeration."""
    trl = importlib.import_module("trl")
    choices: dict[str, list[str]] = {}
    table: dict[str, Any] = {}
    for config in CONFIGS:
        hints = typing.get_type_hints(getattr(trl, config))
        fields = sorted(field.name for field in dataclasses.fields(getattr(trl, config)) if field.init)
        table[config] = {name: type_names(hints[name], choices) for name in fields}
    for config in CONFIGS:
        for name, names in table[config].items():
            if any(n in choices for n in names):
                table[config][name] = [n for n in names if n != "str"]
    return {**table, "choices": dict(sorted(choices.items()))}


if __name__ == "__main__":
    TABLE.write_text(json.dumps(installed(), indent=1) + "\n", encoding="utf-8")
