"""What each section of the page shows, from the artifacts: the corpus, a training, the evaluation, the provenance."""

import json
from collections.abc import Mapping
from itertools import groupby
from typing import Any

from pipeline.better import sense
from pipeline.evaluate.results import lossy
from pipeline.render import without_paths
from pipeline.report import figure
from pipeline.report.curves import charts, gold_over_kl
from pipeline.report.read import Sealed, cut, dropped, with_interval
from pipeline.report.recipe import Recipe
from pipeline.shown import counts, figures, number, size

TRAINING = {
    "pretrain": "Pretraining", "sft": "Supervised fine-tuning", "reward": "Reward model", "dpo": "DPO", "ppo": "PPO",
    "grpo": "GRPO",
}  # fmt: skip
# What the figures are of, in the page's order; any other metric follows under its own name.
TITLES = {
    "wishes_met": "All wishes met (share of prompts)",
    "gold": "Gold judge's score (mean)",
    "well_formed": "Stories without a defect (share)",
    "rouge_l": "ROUGE-L against the reference (mean)",
    "bits_per_byte": "Bits per byte, lower is better (held-out text)",
    "length_mean": "Words an answer (mean)",
}
SHARES = ("wishes_met", "gold", "well_formed", "rouge_l")
# The accuracies of the reward model and of the two baselines, in words.
BASELINES = {"gold": "reward model", "longer": "the longer one", "shorter": "the shorter one"}
MAX_FILES = 40  # of a stage in the page; the manifest has all
MAX_TOKENS = 500  # of the sample of what is trained


def corpus_section(corpus: Sealed, recipe: Recipe) -> dict[str, Any]:
    """Funnel, planted dirt and examples."""
    funnel = corpus.json("funnel.json") or []
    most = max([row["read"] for row in funnel], default=0) or 1
    shown = [row for row in funnel if row["dropped"] or row["edited"] or row["step"].startswith("read")]
    recall = with_interval(corpus.metrics, "planted_recall_")
    lost = [row for row in figures(corpus.metrics) if row["name"] == "clean_lost" and row["low"] is not None]
    words = [{**row, "name": row["name"].replace("_", " ")} for row in recall]
    return {
        "funnel": [
            {**row, "percent": round(100 * row["kept"] / most, 1), "lost": round(100 * gone / most, 2)}
            for row in shown
            for gone in [sum(row["dropped"].values())]
        ],
        "idle": list(dict.fromkeys(row["step"].replace("_", " ") for row in funnel if row not in shown)),
        "recall": figure.whiskers(words, share=True) if words else [],
        "lost": figure.whiskers([{**row, "name": "clean documents"} for row in lost], share=True) if lost else [],
        "dropped": dropped(corpus, recipe.num_dropped, recipe.num_characters),
        "figures": figures(corpus.metrics),
    }


def tokenizer_section(tokenizer: Sealed) -> dict[str, Any]:
    """The vocabulary's fit, over all held-out documents and by source, and that of those that it was compared with."""
    entries = (tokenizer.json("fertility.json") or {}).get("tokenizers", [])  # this one first
    rows = [
        {"name": name, **row} for own in entries[:1] for name, row in [*own["by_source"].items(), ("all", own["all"])]
    ]
    beside = [{**one["all"], **one} for one in entries] if len(entries) > 1 else []
    return {
        "rows": rows,
        "beside": beside,
        "most": max((row["bytes_per_token"] for row in (*rows, *beside)), default=1.0),
        "figures": figures(tokenizer.metrics),
    }


def training_section(name: str, one: Sealed, evaluate: Sealed | None = None) -> dict[str, Any]:
    """Curves of a training, of PPO with what the gold judge said of its answers; for the reward model its accuracy
    beside the baselines' and its margins."""
    accuracies = {row["name"]: row for row in with_interval(one.metrics, "accuracy_")}
    rows = [{**accuracies[key], "name": words} for key, words in BASELINES.items() if key in accuracies]
    margins = one.json("margins.json") if name == "reward" else None
    bins = (margins or {}).get("calibration")
    drawings = charts(name, one.rows("log.jsonl"))
    optimised = (evaluate.json("results.json") or {}).get("optimised", []) if evaluate and name == "ppo" else []
    if drawn := gold_over_kl(optimised):
        drawings.insert(1, drawn)
    return {
        "name": name,
        "title": TRAINING[name],
        "short_first": one.manifest["recipe"].get("short_first"),
        "charts": drawings,
        "baselines": figure.whiskers(rows, share=True) if name == "reward" and rows else [],
        "margins": figure.histogram(margins["edges"], margins["counts"]) if margins else None,
        "pairs": margins["num_pairs"] if margins else None,
        "reliability": figure.reliability(bins) if bins else None,
        "calibration_error": next((row for row in figures(one.metrics) if row["name"] == "calibration_error"), None),
        "mask": trained_tokens(one),
        "figures": figures(one.metrics),
    }


def trained_tokens(one: Sealed) -> dict[str, Any] | None:
    """A sample that the stage kept of what it trains on, as runs (trained, texts of tokens); None where it kept none.

    trained_tokens.json: {"tokens": [{"text", "trained"}]}.
    """
    kept = one.json("trained_tokens.json")
    if not kept:
        return None
    tokens = kept["tokens"]
    runs = groupby(tokens[:MAX_TOKENS], key=lambda token: bool(token["trained"]))
    return {
        "runs": [(trained, [token["text"] for token in run]) for trained, run in runs],
        "trained": sum(bool(token["trained"]) for token in tokens),
        "tokens": len(tokens),
        "cut": len(tokens) > MAX_TOKENS,
    }


def certified(results: Mapping[str, Any]) -> list[str]:
    """What the certificates say, and of the prompts that they say nothing."""
    lines = []
    for one in results.get("certificates", []):
        found = one["certificates"]
        if one["status"] != "certified":
            lines.append(f"{one['benchmark']}: {one['status']}: {one['reason']}.")
            continue
        items = next((f"its {row['items']:,} items" for row in found.values() if "items" in row), "its items")
        gone = sum(row.get("documents_matched_and_dropped", 0) for row in found.values())
        lines.append(
            f"{one['benchmark']}: certified: {', '.join(found)} were searched for {items}, and {gone:,} documents, "
            f"conversations or pairs that hold one were dropped."
        )
    if lines and "wishes_met" in {row["metric"] for row in results["rows"]}:
        lines.append(
            "A certificate is for its items alone. The prompts that the models answered are not among them: of these, "
            "the story world keeps every combination of name, kind, thing and place apart from what it trains on, by "
            "construction, while single words and phrasings occur in both."
        )
    elif lines and results.get("settings", {}).get("prompts"):
        lines.append(
            "A certificate is for its items alone: whether the prompts that the models answered are in the training "
            "text was not looked for, unless they are these items."
        )
    return lines


def evaluation_section(evaluate: Sealed, recipe: Recipe) -> dict[str, Any]:
    """Figures with intervals, differences, answers."""
    results = evaluate.json("results.json") or {"rows": [], "differences": [], "samples": []}
    words = titles(results)
    by_metric: dict[str, list[dict[str, Any]]] = {}
    for row in results["rows"]:
        by_metric.setdefault(row["metric"], []).append({**row, "name": row["stage"]})
    groups = [
        {"title": titled(metric, words), "rows": figure.whiskers(rows, share=is_share(metric, rows))}
        for metric, rows in sorted(by_metric.items(), key=lambda item: place(item[0], words))
    ]
    pairs: dict[str, list[dict[str, Any]]] = {}
    for row in results["differences"]:
        way = sense(row["metric"], results.get("over", {}).get(row["metric"], ""))
        named = {**row, "name": titled(row["metric"], words).partition(" (")[0], "way": way}
        pairs.setdefault(f"{row['stage']} minus {row['versus']}", []).append(named)
    # The last stage's first: what alignment changed.
    differences = [{"title": pair, "rows": figure.differences(rows)} for pair, rows in reversed(pairs.items())]
    free = [cut(text, recipe.num_characters) for texts in results.get("unprompted", {}).values() for text in texts]
    sets = {key.removesuffix("_samples"): rows for key, rows in results.items() if key.endswith("_samples") and rows}
    return {
        "groups": groups,
        "differences": differences,
        "samples": answered(results["samples"], recipe),
        "sets": [(name.replace("_", " "), answered(rows, recipe)) for name, rows in sets.items()],
        "tasks": [{"name": name, **task} for name, task in results.get("tasks", {}).items()],
        "unprompted": free,
        "settings": told(results.get("settings", {})),
        "notes": [*certified(results), *(f"{stage}: {words}." for stage, words in lossy(results).items())],
    }


def answered(samples: list[dict[str, Any]], recipe: Recipe) -> list[dict[str, Any]]:
    """{prompt, answers: [(model, text)], note} of prompts that several models answered."""
    return [
        {
            "prompt": cut(sample["prompt"], recipe.num_characters),
            "answers": [(stage, cut(text, recipe.num_characters)) for stage, text in sample["answers"].items()],
            "note": sample.get("verdict", ""),
        }
        for sample in samples
    ]


def is_share(metric: str, rows: list[dict[str, Any]]) -> bool:
    """Whether a metric's scale is 0 to 1."""
    return metric in SHARES or all(row.get("interval") == "wilson" for row in rows)


def place(metric: str, words: Mapping[str, str]) -> tuple[int, int]:
    """Where a metric stands: those that every run has in the page's order, then the evaluation's own order."""
    known, own = list(TITLES), list(words)
    return (known.index(metric) if metric in known else len(known), own.index(metric) if metric in own else len(own))


def titles(results: Mapping[str, Any]) -> dict[str, str]:
    """What the metrics are, in words: the page's own where it has them."""
    return results.get("titles", {}) | TITLES


def titled(metric: str, words: Mapping[str, str]) -> str:
    """What a metric is, in words."""
    found = words.get(metric, metric.replace("_", " "))
    return found[:1].upper() + found[1:]


def told(settings: Mapping[str, Any]) -> str:
    """Settings of any kind in one line; what is not set is left out."""
    parts = []
    for key, value in settings.items():
        if isinstance(value, Mapping):
            parts.append(f"{key.replace('_', ' ')} ({told(value)})")
        elif isinstance(value, list):
            parts.append(f"{key.replace('_', ' ')} {' '.join(map(str, value))}")
        elif value is not None:
            parts.append(f"{key.replace('_', ' ')} {value if isinstance(value, str | bool) else number(value)}")
    return ", ".join(parts)


def provenance(one: Sealed) -> dict[str, Any]:
    """Where a stage's artifact comes from."""
    manifest = one.manifest
    git = manifest.get("git") or {}
    commit = git.get("commit")
    return {
        "name": one.name,
        "fingerprint": manifest["fingerprint"],
        "seeds": counts(manifest.get("seeds", {})),
        "source": f"{commit[:12]}{', with changes' if git.get('dirty') else ''}" if commit else "no commit",
        "inputs": {name: link["fingerprint"] for name, link in manifest.get("inputs", {}).items()},
        "recipe": json.dumps(without_paths(manifest["recipe"]), indent=1, ensure_ascii=False),
        "outputs": manifest["outputs"][:MAX_FILES],
        "more": max(len(manifest["outputs"]) - MAX_FILES, 0),
    }


def hardware(one: Sealed) -> str:
    """The machine in words; "" where the manifest does not say."""
    found = one.manifest.get("hardware", {})
    if not found:
        return ""
    accelerators = ", ".join(found.get("accelerators", [])) or "no accelerator"
    return (
        f"{found.get('system', '')} {found.get('machine', '')}, {found.get('cores', '?')} cores, "
        f"{size(found.get('memory_bytes', 0))} memory, {accelerators}"
    )
