"""What evaluate writes: `results.json` for machines, `table.md` for people, and the flat metrics of the manifest.

And `scores.json`, the value that each prompt or document got, so that two runs can be paired. docs/evaluation.md
describes them key by key.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.evaluate.score import Measure

# What the metrics that every recipe can have are, in words; an exam adds its own.
METRICS = {
    "wishes_met": "all wishes met",
    "gold": "gold judge's mean score",
    "well_formed": "stories without a defect",
    "rouge_l": "ROUGE-L against the reference",
    "bits_per_byte": "bits per byte, held-out text",
    "length_mean": "words an answer",
    "perplexity": "perplexity a token of its own, held-out text",
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


def scores(items: Mapping[str, Sequence[str]], measured: Mapping[str, Mapping[str, Measure]]) -> dict[str, Any]:
    """scores.json: "items" {kind: a digest of each}, "models" {model: {metric: {"over": kind, "values"}}}.

    One value an item, with six decimals, which no interval can tell apart.
    """
    models = {
        name: {
            metric: {"over": measure.over, "values": [round(value, 6) for value in measure.values]}
            for metric, measure in found.items()
            if measure.paired and measure.over in items
        }
        for name, found in measured.items()
    }
    return {"items": {kind: list(digests) for kind, digests in items.items()}, "models": models}


def shown(figure: dict[str, Any]) -> str:
    """A figure with its interval: `0.813 [0.776, 0.845]`."""
    return f"{figure['value']:.3f} [{figure['low']:.3f}, {figure['high']:.3f}]"


def table(results: dict[str, Any]) -> str:
    """The Markdown of table.md."""
    stages = list(dict.fromkeys(row["stage"] for row in results["rows"]))
    cells = {(row["stage"], row["metric"]): row for row in results["rows"]}
    titles = results["titles"]
    lines = [f"| metric | {' | '.join(stages)} |", f"|---|{'---|' * len(stages)}"]
    for metric, words in titles.items():
        found = [cells.get((stage, metric)) for stage in stages]
        if any(found):
            n = " to ".join(str(n) for n in sorted({cell["n"] for cell in found if cell}))
            row = [shown(cell) if cell else "-" for cell in found]
            lines.append(f"| {words} (n {n}) | {' | '.join(row)} |")
    lines += ["", f"Brackets are 95 % intervals; the seed is {results['settings']['seed']}."]
    if results["differences"]:
        lines += ["", "| difference, paired | metric | mean | n |", "|---|---|---|---|"]
        lines += [
            f"| {row['stage']} minus {row['versus']} | {titles[row['metric']]} | {shown(row)} | {row['n']} |"
            for row in results["differences"]
            if not row["metric"].startswith("bits_per_byte_")  # of one source: in results.json
        ]
    return "\n".join(lines + notes(results)) + "\n"


def notes(results: dict[str, Any]) -> list[str]:
    """What a reader of the table must know: benchmarks without a certificate, tokenizers that lose bytes."""
    lines = []
    for certificate in results["certificates"]:
        if certificate["status"] != "certified":
            lines += ["", f"**{certificate['benchmark']}: {certificate['status']}**: {certificate['reason']}."]
    judge = results["settings"].get("judge")
    if judge and judge["refused"]:
        lines += ["", f"**judge model**: gave no verdict on {judge['refused']} of {judge['pairs']} pairs, left out."]
    for stage, words in lossy(results).items():
        lines += ["", f"**{stage}**: {words}."]
    return lines


def lossy(results: Mapping[str, Any]) -> dict[str, str]:
    """Of the models whose tokenizers lose bytes of the held-out text what that means, for the table, page and card."""
    return {
        stage: f"its tokenizer loses bytes of {seen['documents_not_exact']} of {seen['documents']} held-out "
        "documents, so its bits per byte are too low"
        for stage, seen in results.get("heldout", {}).items()
        if seen["documents_not_exact"]
    }
