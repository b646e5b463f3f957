"""The Hub's rules for the front matter of a card, as far as its documentation states them.

Sources: hub-docs/modelcard.md and datasetcard.md (fields, which are required, the sections that are checked), the page
"Licenses" (identifiers), and `YAML Metadata` of the docs (types). The Hub checks in secret what is not written there.
"""

import re
from typing import Any

import yaml

LICENCES = set(
    """apache-2.0 mit openrail bigscience-openrail-m creativeml-openrail-m bigscience-bloom-rail-1.0 bigcode-openrail-m
    afl-3.0 artistic-2.0 bsl-1.0 bsd bsd-2-clause bsd-3-clause bsd-3-clause-clear c-uda cc cc0-1.0 cc-by-2.0 cc-by-2.5
    cc-by-3.0 cc-by-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nd-4.0 cc-by-nc-nd-3.0
    cc-by-nc-nd-4.0 cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cdla-sharing-1.0 cdla-permissive-1.0
    cdla-permissive-2.0 wtfpl ecl-2.0 epl-1.0 epl-2.0 etalab-2.0 eupl-1.1 agpl-3.0 gfdl gpl gpl-2.0 gpl-3.0 lgpl
    lgpl-2.1 lgpl-3.0 isc lppl-1.3c ms-pl mpl-2.0 odc-by odbl openrail++ osl-3.0 postgresql ofl-1.1 ncsa unlicense zlib
    pddl lgpl-lr deepfloyd-if-license llama2 gemma unknown other""".split()  # noqa: SIM905
)
SIZES = {
    "n<1K", "1K<n<10K", "10K<n<100K", "100K<n<1M", "1M<n<10M", "10M<n<100M", "100M<n<1B", "1B<n<10B", "10B<n<100B",
    "100B<n<1T", "n>1T",
}  # fmt: skip
TASKS = {"text-generation", "text-classification", "question-answering", "summarization", "translation", "fill-mask"}
REPO = re.compile(r"[\w.-]+(/[\w.-]+)?")


def card_mistakes(content: str, repo_type: str) -> list[str]:
    """What the Hub would refuse; [] for a good card."""
    found = re.match(r"---\n(.*?)\n---[ \t]*(\n|$)", content, re.S)
    if not found:
        return ["empty or missing yaml metadata in repo card"]
    try:
        data = yaml.safe_load(found[1])
    except yaml.YAMLError as error:
        return [f"not valid YAML: {error}"]
    if not isinstance(data, dict):
        return ["repo card metadata block should be a dict"]
    mistakes = [*_licence(data), *_lists(data), *(_model(data) if repo_type == "model" else _dataset(data))]
    if any(value is None for value in data.values()):
        mistakes.append("a key without a value")
    return mistakes


def _licence(data: dict[str, Any]) -> list[str]:
    given = data.get("license", [])
    mistakes = [f'"license" must be one of the list, not {x!r}' for x in _listed(given) if x not in LICENCES]
    if "other" in _listed(given) and not (data.get("license_name") or data.get("license_details")):
        mistakes.append('"license: other" needs a "license_name"')
    return mistakes


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _lists(data: dict[str, Any]) -> list[str]:
    mistakes = []
    for key in ("tags", "datasets", "metrics", "language", "base_model"):
        if key in data and not all(isinstance(x, str) and x for x in _listed(data[key])):
            mistakes.append(f'"{key}" must be text or a list of texts')
    for code in _listed(data.get("language", [])):
        if not re.fullmatch(r"[a-z]{2,3}|code|multilingual", str(code)):
            mistakes.append(f'"language": {code!r} is no ISO 639 code')
    for key in ("datasets", "base_model"):
        mistakes += [f'"{key}": {x!r} is no repository' for x in _listed(data.get(key, [])) if not REPO.fullmatch(x)]
    return mistakes


def _model(data: dict[str, Any]) -> list[str]:
    mistakes = []
    if "pipeline_tag" in data and data["pipeline_tag"] not in TASKS:
        mistakes.append(f'"pipeline_tag": {data["pipeline_tag"]!r} is unknown')
    index = data.get("model-index", [])
    if not isinstance(index, list):
        return [*mistakes, '"model-index" must be an array']
    for i, model in enumerate(index):
        if not isinstance(model.get("name"), str):
            mistakes.append(f'"model-index[{i}].name" is required')
        for j, result in enumerate(model.get("results", [])):
            mistakes += [f'"model-index[{i}].results[{j}].{mistake}' for mistake in _result(result)]
    return mistakes


def _result(result: dict[str, Any]) -> list[str]:
    dataset = result.get("dataset", {})
    mistakes = [f'dataset.{part}" is required' for part in ("type", "name") if not isinstance(dataset.get(part), str)]
    if not isinstance(result.get("task", {}).get("type"), str):
        mistakes.append('task.type" is required')
    if not re.fullmatch(r"[\w./-]+", str(dataset.get("type"))):
        mistakes.append('dataset.type" must be an identifier')
    if not result.get("metrics"):
        mistakes.append('metrics" is required')
    for metric in result.get("metrics", []):
        if not isinstance(metric.get("type"), str) or metric.get("value") is None:
            mistakes.append('metrics" need a type and a value')
    return mistakes


def _dataset(data: dict[str, Any]) -> list[str]:
    mistakes = [f'"size_categories": {x!r}' for x in _listed(data.get("size_categories", [])) if x not in SIZES]
    mistakes += [f'"task_categories": {x!r}' for x in data.get("task_categories", []) if x not in TASKS]
    for config in data.get("configs", []):
        if not isinstance(config.get("config_name"), str):
            mistakes.append('"configs" need a config_name')
        for file in config.get("data_files", []):
            if not re.fullmatch(r"\w+(\.\w+)*", str(file.get("split"))) or not isinstance(file.get("path"), str):
                mistakes.append('"configs.data_files" need a split and a path')
    return mistakes
