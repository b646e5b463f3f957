"""The fields of transformers' model configs, so that a misspelt one in `model:` is an error.

transformers takes `LlamaConfig(hiden_size=64)` without a word and builds the default size. The table model_fields.json
beside this file is generated from the installed classes, since importing them takes seconds; a model type that is not
in it is looked up in transformers when the stage starts.

    python -m pipeline.pretrain.fields
"""

import dataclasses
import difflib
import importlib
import json
from pathlib import Path
from typing import Any

TABLE = Path(__file__).with_name("model_fields.json")
LISTED = ("gpt2", "gpt_neo", "llama", "mistral", "mixtral", "qwen3", "qwen3_moe")

# Fields that a recipe may not give: field -> where the value comes from.
REFUSED: dict[str, str] = {
    **dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"), "it is read from the tokenizer"),
    **dict.fromkeys(("dtype", "use_cache", "architectures", "transformers_version"), "the stage sets it"),
    **dict.fromkeys(("output_hidden_states", "output_attentions", "return_dict"), "the stage sets it"),
    **dict.fromkeys(
        ("is_encoder_decoder", "id2label", "label2id", "problem_type"), "a language model has no use for it"
    ),
}


def check(section: dict[str, Any]) -> dict[str, Any]:
    """The section unchanged; raises ValueError for a missing model_type and for a field that its config lacks."""
    model_type = section.get("model_type")
    if not isinstance(model_type, str):
        raise ValueError("the key 'model_type' is missing: give a type that transformers knows, such as llama")
    fields = json.loads(TABLE.read_text(encoding="utf-8")).get(model_type)
    return section if fields is None else check_against(section, model_type, fields)


def check_against(section: dict[str, Any], model_type: str, fields: list[str]) -> dict[str, Any]:
    """The section unchanged; raises ValueError for a field that is not among `fields` or not the recipe's to give."""
    for name in section:
        if name in REFUSED:
            raise ValueError(f"the field '{name}' cannot be given: {REFUSED[name]}. Remove it.")
        if name != "model_type" and name not in fields:
            close = difflib.get_close_matches(name, fields, n=1, cutoff=0.5)
            hint = f" Did you mean '{close[0]}'?" if close else ""
            raise ValueError(
                f"the config of '{model_type}' has no field '{name}'.{hint} Accepted: {', '.join(fields)}."
            )
    return section


def installed(model_type: str) -> list[str]:
    """The fields that a recipe may give for a model type, of the installed transformers. ValueError if unknown."""
    mapping = importlib.import_module("transformers.models.auto.configuration_auto").CONFIG_MAPPING
    if model_type not in mapping:
        close = difflib.get_close_matches(model_type, list(mapping), n=1)
        hint = f" Did you mean '{close[0]}'?" if close else ""
        raise ValueError(f"transformers knows no model_type '{model_type}'.{hint}")
    config = mapping[model_type]
    names = {field.name for field in dataclasses.fields(config)} | set(config.attribute_map)
    return sorted(names - set(REFUSED))


if __name__ == "__main__":
    TABLE.write_text(json.dumps({name: installed(name) for name in LISTED}, indent=1) + "\n", encoding="utf-8")
