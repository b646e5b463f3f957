"""Report: one self-contained HTML page about a run, which opens offline. Reads the manifests, logs and samples of
every stage; writes index.html. A stage that the run leaves out is a said gap. `make report RECIPE=storyworld`
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from pipeline.artifact import write_atomically
from pipeline.report import figure
from pipeline.report.read import Sealed, cut, dropped, figures, series, stages, with_interval
from pipeline.report.recipe import STAGE, Recipe
from pipeline.stage import Job, UserError

TRAINING = {
    "pretrain": "Pretraining", "sft": "Supervised fine-tuning", "reward": "Reward model", "dpo": "DPO", "ppo": "PPO",
}  # fmt: skip
# Title, the log's keys that share the drawing, and the label of the y axis with its unit.
CURVES = (
    ("Loss", ("loss", "heldout_loss", "eval_loss"), "loss (nats a token)"),
    ("Held-out bits per byte", ("heldout_bits_per_byte",), "bits per byte"),
    ("Accuracy", ("accuracy", "eval_accuracy", "rewards/accuracies", "eval_rewards/accuracies"), "share of pairs"),
    ("Margin", ("margin", "eval_margin", "rewards/margins", "eval_rewards/margins"), "reward difference"),
    ("Reward", ("reward", "reward_with_kl"), "reward an answer"),
    ("KL to the reference", ("kl",), "nats an answer"),
    ("Answers that end", ("ended",), "share of answers"),
    ("Length", ("length",), "tokens an answer"),
    ("Learning rate", ("learning_rate",), "learning rate"),
    ("Gradient norm", ("gradient_norm", "grad_norm"), "norm before clipping"),
    ("Throughput", ("tokens_per_second",), "tokens a second"),
)
# What the loss of a stage that compares answers is a mean over.
PAIR_LOSS = "loss (nats a pair)"
TITLES = {
    "wishes_met": "All wishes met (share of prompts)",
    "gold": "Gold judge's score (mean)",
    "well_formed": "Stories without a defect (share)",
    "rouge_l": "ROUGE-L against the reference (mean)",
    "bits_per_byte": "Bits per byte of held-out text (lower is better)",
    "length_mean": "Words an answer (mean)",
}
SHARES = ("wishes_met", "gold", "well_formed", "rouge_l")
# The accuracies of the reward model and of the two baselines, in words.
BASELINES = {"gold": "reward model", "longer": "the longer one", "shorter": "the shorter one"}
MAX_FILES = 40  # of a stage in the page; the manifest has all


def run(job: Job) -> dict[str, float]:
    """Writes index.html; returns how many stages it shows and how many it has to leave out."""
    recipe: Recipe = job.recipe
    found = stages(job.inputs, STAGE.reads)
    sealed = {name: one for name, one in found.items() if one is not None}
    if not sealed:
        raise UserError("report: the run has no finished stage yet. Run `make all` first.")
    page = render(context(job.run_name, recipe, found))
    write_atomically(job.out / "index.html", page)
    return {
        "stages": len(sealed),
        "stages_left_out": len(found) - len(sealed),
        "page_bytes": len(page.encode()),
    }


def render(values: Mapping[str, Any]) -> str:
    """The page. Everything from a run is escaped; what a template names and does not get is an error."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "number": number,
        "figure": precise,
        "duration": duration,
        "size": size,
        "counts": counts,
        "words": lambda name: name.replace("_", " "),
    }
    environment.globals |= {
        name: getattr(figure, name) for name in ("WIDTH", "HEIGHT", "LEFT", "RIGHT", "TOP", "BOTTOM")
    }
    return environment.get_template("page.html").render(values)


def context(run_name: str, recipe: Recipe, found: Mapping[str, Sealed | None]) -> dict[str, Any]:
    """Everything that page.html names."""
    evaluate = found["evaluate"]
    evaluation = evaluation_section(evaluate, recipe) if evaluate else None
    values = {
        "title": recipe.title or run_name,
        "run_name": run_name,
        "chain": chain(found),
        "corpus": corpus_section(found["corpus"], recipe),
        "tokenizer": {"figures": figures(found["tokenizer"].metrics)} if found["tokenizer"] else None,
        "training": [training_section(name, found[name]) for name in TRAINING],
        "evaluation": evaluation,
        "provenance": [provenance(one) for one in found.values() if one],
        "headline": headline(found),
        "hardware": hardware(next((one for one in found.values() if one), None)),
        "packages": sorted(next(one.manifest.get("packages", {}) for one in found.values() if one).items()),
    }
    sections = {"chain": "chain", "corpus": "corpus", "dirt": "planted dirt", "tokenizer": "tokenizer"}
    sections |= {name: title if title.isupper() else title.lower() for name, title in TRAINING.items()}
    sections |= {
        "evaluate": "evaluation",
        "differences": "differences",
        "answers": "answers",
        "provenance": "provenance",
    }
    absent = set() if found["corpus"] else {"dirt"}
    absent |= set() if evaluation and evaluation["differences"] else {"differences"}
    absent |= set() if evaluation else {"answers"}
    values["sections"] = [(id, name) for id, name in sections.items() if id not in absent]
    return values


def headline(found: Mapping[str, Sealed | None]) -> list[tuple[str, str]]:
    """The few numbers at the top."""
    sealed = [one.manifest for one in found.values() if one]
    rows = [
        ("in all", duration(sum(m["seconds"] for m in sealed))),
        ("CPU time", duration(sum(m["cpu_seconds"] for m in sealed))),
        ("peak memory of a process", size(max(m["peak_memory_bytes"] for m in sealed))),
    ]
    results = found["evaluate"].metrics if found["evaluate"] else {}
    for stage in ("ppo", "dpo", "sft"):
        for metric, words in (("wishes_met", "all wishes met"), ("rouge_l", "ROUGE-L")):
            if f"{stage}_{metric}" in results:
                rows.append((f"{words}, {stage}", number(results[f"{stage}_{metric}"])))
    if "pretrain_bits_per_byte" in results:
        rows.append(("bits per byte, base", number(results["pretrain_bits_per_byte"])))
    return rows


def chain(found: Mapping[str, Sealed | None]) -> list[dict[str, Any]]:
    """Cost of each stage, or that it is missing."""
    longest = max(one.manifest["seconds"] for one in found.values() if one) or 1.0
    rows = []
    for name, one in found.items():
        if one is None:
            rows.append({"name": name, "missing": True})
            continue
        costs = {key: one.manifest[key] for key in ("seconds", "cpu_seconds", "peak_memory_bytes", "load")}
        percent = round(100 * costs["seconds"] / longest, 1)
        rows.append({"name": name, "missing": False, "percent": percent, **costs})
    return rows


def corpus_section(corpus: Sealed | None, recipe: Recipe) -> dict[str, Any] | None:
    """Funnel, planted dirt and examples."""
    if corpus is None:
        return None
    funnel = corpus.json("funnel.json") or []
    most = max([row["read"] for row in funnel], default=0) or 1
    shown = [row for row in funnel if row["dropped"] or row["edited"] or row["step"].startswith("read")]
    recall = with_interval(corpus.metrics, "planted_recall_")
    lost = [row for row in figures(corpus.metrics) if row["name"] == "clean_lost" and row["low"] is not None]
    words = [{**row, "name": row["name"].replace("_", " ")} for row in recall]
    return {
        "funnel": [{**row, "percent": round(100 * row["kept"] / most, 1)} for row in shown],
        "idle": list(dict.fromkeys(row["step"].replace("_", " ") for row in funnel if row not in shown)),
        "recall": figure.whiskers(words, share=True) if words else [],
        "lost": figure.whiskers([{**row, "name": "clean documents"} for row in lost], share=True) if lost else [],
        "dropped": dropped(corpus, recipe.num_dropped, recipe.num_characters),
        "figures": figures(corpus.metrics),
    }


def training_section(name: str, one: Sealed | None) -> dict[str, Any]:
    """Curves of a training, and for the reward model its accuracy beside the baselines'."""
    if one is None:
        return {"name": name, "title": TRAINING[name], "missing": True}
    log = one.rows("log.jsonl")
    drawings = [
        (
            title,
            figure.curve(
                series(log, keys), "step", PAIR_LOSS if title == "Loss" and name in ("reward", "dpo") else unit
            ),
        )
        for title, keys, unit in CURVES
    ]
    accuracies = {row["name"]: row for row in with_interval(one.metrics, "accuracy_")}
    rows = [{**accuracies[key], "name": words} for key, words in BASELINES.items() if key in accuracies]
    return {
        "name": name,
        "title": TRAINING[name],
        "missing": False,
        "curves": [(title, drawing) for title, drawing in drawings if drawing],
        "baselines": figure.whiskers(rows, share=True) if name == "reward" and rows else [],
        "figures": figures(one.metrics),
    }


def evaluation_section(evaluate: Sealed, recipe: Recipe) -> dict[str, Any]:
    """Figures with intervals, differences, answers."""
    results = evaluate.json("results.json") or {"rows": [], "differences": [], "samples": []}
    groups, differences = [], []
    for metric in TITLES:
        rows = [{**row, "name": row["stage"]} for row in results["rows"] if row["metric"] == metric]
        if rows:
            groups.append({"title": TITLES[metric], "rows": figure.whiskers(rows, share=metric in SHARES)})
        rows = [
            {**row, "name": f"{row['stage']} minus {row['versus']}"}
            for row in results["differences"]
            if row["metric"] == metric
        ]
        if rows:
            drawn = figure.whiskers(rows, share=False, zero=True)
            coloured = [{**row, "colour": 0 if row["clear"] else 1} for row in drawn]
            differences.append({"title": TITLES[metric], "rows": coloured})
    notes = [
        f"{one['benchmark']}: {one['status']}: {one['reason']}."
        for one in results.get("certificates", [])
        if one["status"] != "certified"
    ]
    samples = [
        {
            "prompt": cut(sample["prompt"], recipe.num_characters),
            "answers": [(stage, cut(text, recipe.num_characters)) for stage, text in sample["answers"].items()],
        }
        for sample in results["samples"]
    ]
    free = [cut(text, recipe.num_characters) for texts in results.get("unprompted", {}).values() for text in texts]
    return {"groups": groups, "differences": differences, "notes": notes, "samples": samples, "unprompted": free}


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
        "recipe": json.dumps(manifest["recipe"], indent=1, ensure_ascii=False),
        "outputs": manifest["outputs"][:MAX_FILES],
        "more": max(len(manifest["outputs"]) - MAX_FILES, 0),
    }


def hardware(one: Sealed | None) -> str:
    """The machine in words."""
    found = one.manifest.get("hardware", {}) if one else {}
    if not found:
        return ""
    accelerators = ", ".join(found.get("accelerators", [])) or "no accelerator"
    return (
        f"{found.get('system', '')} {found.get('machine', '')}, {found.get('cores', '?')} cores, "
        f"{size(found.get('memory_bytes', 0))} memory, {accelerators}"
    )


def number(value: float) -> str:
    """Three or four figures; whole numbers whole."""
    if float(value).is_integer() and abs(value) < 1e15:
        return f"{int(value):,}"
    return f"{value:.3g}" if abs(value) < 0.01 else f"{value:.3f}" if abs(value) < 100 else f"{value:,.0f}"


def precise(value: float) -> str:
    """A measured figure: three decimals also where they are zeros."""
    return f"{value:.3f}" if abs(value) < 100 else number(value)


def duration(seconds: float) -> str:
    """8.2 s, 4 min 10 s, 3 h 5 min."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def size(num_bytes: float) -> str:
    """Bytes in the unit that leaves a short number."""
    for unit in ("B", "kB", "MB", "GB"):
        if num_bytes < 1000 or unit == "GB":
            return f"{num_bytes:.0f} {unit}" if unit == "B" else f"{num_bytes:.1f} {unit}"
        num_bytes /= 1000
    raise AssertionError("the loop ends at GB")


def counts(pairs: Mapping[str, float]) -> str:
    """`spam 210, abuse 198`."""
    return ", ".join(f"{name.replace('_', ' ')} {number(n)}" for name, n in pairs.items())
