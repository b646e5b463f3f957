"""The model card and the data card: front matter that the Hub reads, and prose filled from the manifests.

`model_card` and `data_card` return Markdown; the templates beside this file hold the words. Equal manifests give equal
cards, so that a push which is repeated changes nothing.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import DatasetCardData, EvalResult, ModelCardData

from pipeline.chain import MODEL_STAGES
from pipeline.corpus.card import split_note
from pipeline.evaluate.results import METRICS, lossy, shown
from pipeline.hub import facts
from pipeline.hub.facts import Origin
from pipeline.licences import LICENCES
from pipeline.render import environment
from pipeline.shown import energy, money

WHAT = {
    "pretrain": "a base model, which goes on with a text",
    "sft": "a chat model, fine-tuned on conversations",
    "dpo": "a chat model, aligned to preferences with DPO",
    "ppo": "a chat model, aligned to a reward model with PPO",
    "grpo": "a chat model, aligned to a reward with GRPO",
    "reward": "a reward model, which scores answers",
    "corpus": "a cleaned text corpus",
    "preferences": "pairs of answers, the better one chosen",
}
SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"),
         (10_000_000, "1M<n<10M"), (100_000_000, "10M<n<100M"), (1_000_000_000, "100M<n<1B"),
         (10_000_000_000, "1B<n<10B"), (100_000_000_000, "10B<n<100B"), (1_000_000_000_000, "100B<n<1T"))  # fmt: skip
# What the snippet does where the run evaluated nothing.
SETTINGS = {"prompts": 0, "max_new_tokens": 100, "temperature": 0.7}
HELDOUT = ("bits_per_byte", "perplexity")  # of an evaluation that does not say what its figures are over
# What a figure is over (results.json) that is no benchmark by name; documents are the corpus's held-out split.
OVER = {
    "prompts": "evaluation prompts", "unprompted": "stories that nobody asked for",
    "openings": "openings of training documents", "instructions": "instructions",
    "harmful": "harmful prompts", "harmless": "harmless prompts", "continuations": "texts to go on with",
}  # fmt: skip


def model_card(
    repo_id: str, origins: Mapping[str, Origin], evaluate: Origin | None, licence: str | None, has_report: bool
) -> str:
    """README.md of a model. `origins` ends with the model's own stage."""
    own = list(origins.values())[-1]
    results = evaluate.json("results.json") if evaluate else None
    rows = [row for row in results["rows"] if row["stage"] == own.stage] if results else []
    differences = [row for row in results["differences"] if row["stage"] == own.stage] if results else []
    base = facts.start(origins)
    published = [r.id for s in ("corpus", "preferences") if s in origins and (r := origins[s].published)]
    data_sets = [*published, *(row["id"] for row in facts.hub_data(origins))]
    name = repo_id.rpartition("/")[2]
    data = ModelCardData(
        language=facts.languages(origins) or None,
        license=licence,
        library_name="transformers",
        pipeline_tag="text-classification" if own.stage == "reward" else "text-generation",
        tags=["groundup", own.stage],
        datasets=list(dict.fromkeys(data_sets)) or None,
        base_model=base.id if base else None,
        model_name=name if rows else None,
        eval_results=[eval_result(row, own, results or {}) for row in rows] or None,
    )
    config = own.json("model/config.json") or {}
    return fill(
        "model_card.md.jinja",
        data.to_yaml(),
        common(repo_id, origins, has_report)
        | {
            "licence": licence,
            "base": base,
            "chats": own.stage in MODEL_STAGES[1:],
            "parameters": facts.parameters(own.folder / "model"),
            "config": config,
            "adapter": (own.folder / "adapter" / "adapter_config.json").is_file(),
            "certificates": facts.certificates(origins),
            "corpus": origins["corpus"].manifest if "corpus" in origins else None,
            "prompt": results["samples"][0]["prompt"] if results and results["samples"] else "Hello!",
            "rows": rows,
            "differences": differences,
            "settings": SETTINGS | (results["settings"] if results else {}),
            "uncertified": [c for c in results["certificates"] if c["status"] != "certified"] if results else [],
            "lossy": lossy(results).get(own.stage) if results else None,
            "exact_share": facts.exact_share(origins),
            "safety": any(row["metric"] in ("refused", "toxic") for row in rows),
        },
        results["titles"] if results else {},
    )


def data_card(repo_id: str, origins: Mapping[str, Origin]) -> str:
    """README.md of a corpus or of a preference set, the last of `origins`."""
    own = list(origins.values())[-1]
    assert own.manifest is not None, "the artifact that is pushed is here"
    sources = facts.sources(origins)
    ending = "/*.parquet" if own.stage == "corpus" else ".jsonl"
    metrics = own.manifest["metrics"]
    number = int(sum(metrics.get(key, 0) for key in ("documents_kept", "pairs_train", "pairs_heldout")))
    taken = facts.hub_data({own.stage: own})
    licences = sorted({row["licence"] for row in (sources if own.stage == "corpus" else taken) if row["licence"]})
    unlisted = [text for text in licences if hub_licence(text) == "other"]
    recipe = own.manifest["recipe"]
    note = split_note(recipe["dedup"], recipe["heldout_share"]) if own.stage == "corpus" else ""
    data = DatasetCardData(
        language=facts.languages(origins) or None,
        license=sorted({hub_licence(text) for text in licences}) or None,
        license_name="-and-".join(re.sub(r"[^a-z0-9.]+", "-", text.lower()) for text in unlisted) or None,
        pretty_name=repo_id.rpartition("/")[2],
        size_categories=size_category(number) if number else None,
        task_categories=["text-generation"],
        tags=["groundup", own.stage],
        source_datasets=[f"extended|{name}" for name in dict.fromkeys(row["id"] for row in taken)] or ["original"],
        configs=[
            {
                "config_name": "default",
                "data_files": [{"split": split, "path": split + ending} for split in ("train", "heldout")],
            }
        ],
    )
    return fill(
        "data_card.md.jinja",
        data.to_yaml(),
        common(repo_id, origins, has_report=False)
        | {
            "certificates": facts.certificates(origins),
            "metrics": metrics,
            "number": number,
            "note": note,
            "funnel": own.json("funnel.json") or [],
        },
    )


def common(repo_id: str, origins: Mapping[str, Origin], has_report: bool) -> dict[str, Any]:
    """What both cards name."""
    own = list(origins.values())[-1]
    assert own.manifest is not None, "the artifact that is pushed is here"
    return {
        "repo_id": repo_id,
        "name": repo_id.rpartition("/")[2],
        "stage": own.stage,
        "what": WHAT[own.stage],
        "run": own.manifest["run"],
        "own": own.manifest,
        "origins": origins,
        "recipes": facts.recipes(origins),
        "sources": facts.sources(origins),
        "hub_data": facts.hub_data(origins),
        "languages": facts.languages(origins),
        "costs": facts.costs(origins),
        "has_report": has_report,
    }


def eval_result(row: Mapping[str, Any], own: Origin, results: Mapping[str, Any]) -> EvalResult:
    """One figure of the evaluation as the Hub's model-index has it; the interval is among the metric's arguments.

    A benchmark stands under its own name and with where its data are from, all else under the run's.
    """
    assert own.manifest is not None, "the artifact that is pushed is here"
    run, metric = own.manifest["run"], row["metric"]
    over = results.get("over", {}).get(metric, "documents" if metric.startswith(HELDOUT) else "prompts")
    task = results.get("tasks", {}).get(over)
    heldout = over.startswith("documents")
    source = over.removeprefix("documents").replace("_", " ").strip()
    told = OVER.get(over, over) if not heldout else f"heldout text{f' from {source}' if source else ''}"
    name = f"{over} (lm-evaluation-harness)" if task else f"{run}: {told}"
    few = {"num_fewshot": task["num_fewshot"][0]} if task and len(task["num_fewshot"]) == 1 else {}
    return EvalResult(
        task_type="text-generation",
        dataset_type=over if task else f"{run}-{told.replace(' ', '-')}",
        dataset_name=name,
        dataset_split="test" if task else "heldout" if heldout else "evaluate",
        metric_type=metric.removeprefix(f"{over}_") if task else metric,
        metric_name={**METRICS, **results.get("titles", {})}.get(metric, metric.replace("_", " ")),
        metric_value=round(row["value"], 6),
        metric_args={
            "confidence": 0.95, "low": round(row["low"], 6), "high": round(row["high"], 6), "n": row["n"], **few,
        },
    )  # fmt: skip


def hub_licence(text: str) -> str:
    """The Hub's identifier of a licence in a corpus: of `CC0-1.0` cc0-1.0, of one that it does not list `other`."""
    return text.lower() if text.lower() in LICENCES else "other"


def size_category(number: int) -> str:
    """The Hub's word for so many rows."""
    return next((words for below, words in SIZES if number < below), "n>1T")


def fill(template: str, front: str, values: Mapping[str, Any], titles: Mapping[str, str] = METRICS) -> str:
    """The card. What a template names and does not get is an error. titles: metrics in words."""
    templates = environment(Path(__file__).parent, html=False)
    templates.filters |= {
        "cell": lambda value: str(value).replace("|", "\\|").replace("\n", " "),
        "count": lambda value: f"{int(value):,}",
        "energy": energy,
        "figure": shown,
        "money": money,
        "percent": lambda value: f"{100 * value:.1f} %",
        "quoted": lambda text: repr(text).replace("`", "\\x60"),  # no backtick can end the code block
        "words": lambda name: {**METRICS, **titles}.get(name, name.replace("_", " ")),
        "yaml": lambda value: yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=100).strip(),
    }
    return f"---\n{front}\n---\n\n" + templates.get_template(template).render(values)
