"""What evaluate writes: `results.json` for machines, `table.md` for people, and the flat metrics of the manifest.

results.json: "rows" [{stage, metric, value, low, high, n}], "differences" [{stage, versus, metric, value, low, high,
n}] (95 % intervals), "samples" [{prompt, answers: {stage: text}}], "unprompted" {stage: texts sampled from nothing},
"certificates" [{benchmark, status, reason, certificate}], "settings" {key: value}.

And `scores.json`, from which `make compare` pairs two runs: "items" {"prompts", "documents": a digest of each, in
order}, "models" {model: {metric: {"over": "prompts" or "documents", "values": one an item}}}.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.evaluate.score import Measure

# The order of the table's rows, and what each metric is, in words.
METRICS = {
    "wishes_met": "all wishes met",
    "gold": "gold judge's mean score",
    "well_formed": "stories without a defect",
    "rouge_l": "ROUGE-L against the reference",
    "bits_per_byte": "bits per byte, held-out text",
    "length_mean": "words an answer",
}


def metrics(rows: Sequence[dict[str, Any]], differences: Sequence[dict[str, Any]]) -> dict[str, float]:
    """The flat metrics: `<stage>_<metric>` and `<stage>_minus_<versus>_<metric>`, each with _low, _high and _n."""
    flat: dict[str, float] = {}
    named = [(f"{row['stage']}_{row['metric']}", row) for row in rows]
    named += [(f"{row['stage']}_minus_{row['versus']}_{row['metric']}", row) for row in differences]
    for name, row in named:
        flat[name] = row["value"]
        flat |= {f"{name}_{part}": row[part] for part in ("low", "high", "n")}
    return flat


def scores(
    prompts: Sequence[str], documents: Sequence[str], measured: Mapping[str, Mapping[str, Measure]]
) -> dict[str, Any]:
    """The value that every prompt or document got, for scores.json; six decimals, which no interval can tell apart."""
    return {
        "items": {
            name: [hashlib.sha256(text.encode()).hexdigest()[:16] for text in texts]
            for name, texts in (("prompts", prompts), ("documents", documents))
        },
        "models": {
            name: {
                metric: {
                    "over": "documents" if metric == "bits_per_byte" else "prompts",
                    "values": [round(value, 6) for value in measure.values],
                }
                for metric, measure in found.items()
            }
            for name, found in measured.items()
        },
    }


def shown(figure: dict[str, Any]) -> str:
    """A figure with its interval: `0.813 [0.776, 0.845]`."""
    return f"{figure['value']:.3f} [{figure['low']:.3f}, {figure['high']:.3f}]"


def table(results: dict[str, Any]) -> str:
    """The Markdown of table.md."""
    stages = list(dict.fromkeys(row["stage"] for row in results["rows"]))
    cells = {(row["stage"], row["metric"]): row for row in results["rows"]}
    lines = [f"| metric | {' | '.join(stages)} |", f"|---|{'---|' * len(stages)}"]
    for metric, words in METRICS.items():
        found = [cells.get((stage, metric)) for stage in stages]
        if any(found):
            n = " to ".join(str(n) for n in sorted({cell["n"] for cell in found if cell}))
            row = [shown(cell) if cell else "-" for cell in found]
            lines.append(f"| {words} (n {n}) | {' | '.join(row)} |")
    lines += ["", "Brackets are 95 % intervals."]
    if results["differences"]:
        lines += ["", "| difference, paired | metric | mean | n |", "|---|---|---|---|"]
        lines += [
            f"| {row['stage']} minus {row['versus']} | {METRICS[row['metric']]} | {shown(row)} | {row['n']} |"
            for row in results["differences"]
        ]
    for certificate in results["certificates"]:
        if certificate["status"] != "certified":
            lines += ["", f"**{certificate['benchmark']}: {certificate['status']}**: {certificate['reason']}."]
    return "\n".join(lines) + "\n"
