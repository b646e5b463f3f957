"""What alignment bought: the chat model and each that was aligned from it in one table, beside what it cost in KL.

Reads evaluate/results.json for the figures and paired differences, and the stages' own metrics for the KL.
"""

from collections.abc import Mapping
from typing import Any

from pipeline.better import sense, word
from pipeline.report.read import Sealed
from pipeline.report.sections import place, titled, titles
from pipeline.shown import figures

START = "sft"  # what is aligned, and the reference that KL is measured against
ALIGNED = ("dpo", "ppo", "grpo")
EVEN = 0.5  # the rate at which a model wins against one that is as good
RATE = ("win_rate_", "judged_win_rate_")

Cell = dict[str, Any]


def side_by_side(found: Mapping[str, Sealed | None]) -> dict[str, Any] | None:
    """{"columns", "rows": [{"title", "cells"}], "evaluated"}; None of a run that aligned nothing.

    A cell is {"value", "low", "high", "n", "verdict", "note"}, or None where nothing was measured; low and high are
    None of a figure without an interval, verdict is the paired difference from the chat model in a word.
    """
    columns = [name for name in (START, *ALIGNED) if found.get(name)]
    if not set(columns) & set(ALIGNED):
        return None
    evaluate = found["evaluate"]
    results = (evaluate.json("results.json") if evaluate else None) or {"rows": [], "differences": []}
    rows = [{"title": "KL to the chat model, nats an answer", "cells": [drift(found[name]) for name in columns]}]
    return {"columns": columns, "rows": [*measured(results, columns), *rows], "evaluated": bool(results["rows"])}


def measured(results: Mapping[str, Any], columns: list[str]) -> list[dict[str, Any]]:
    """A row for each metric that the evaluation has of an aligned model; those by source are in the evaluation."""
    known = {(row["stage"], row["metric"]): row for row in results["rows"]}
    changes = {(row["stage"], row["metric"]): row for row in results["differences"] if row["versus"] == START}
    words, over = titles(results), results.get("over", {})
    metrics = dict.fromkeys(metric for stage, metric in known if stage in ALIGNED)
    rows = []
    for metric in sorted(metrics, key=lambda metric: place(metric, words)):
        if metric.startswith("bits_per_byte_"):
            continue
        way = sense(metric, over.get(metric, ""))
        cells = [cell(known.get((stage, metric)), changes.get((stage, metric)), way) for stage in columns]
        rows.append({"title": titled(metric, words), "cells": cells})
    return rows


def cell(row: Mapping[str, Any] | None, change: Mapping[str, Any] | None, way: int) -> Cell | None:
    """A figure of the evaluation, with what its difference from the chat model is; a rate of wins holds it already."""
    if row is None:
        return None
    verdict = word(change["low"], change["high"], way) if change else None
    if row["metric"].startswith(RATE):
        verdict = word(row["low"] - EVEN, row["high"] - EVEN, way)
    return {key: row[key] for key in ("value", "low", "high", "n")} | {"verdict": verdict, "note": ""}


def drift(one: Sealed | None) -> Cell | None:
    """How far a model moved, which its stage measured on its own answers at temperature 1."""
    if one is None:
        return None
    if one.name == START:
        return {"value": 0.0, "low": None, "high": None, "n": None, "verdict": None, "note": "by definition"}
    known = next((row for row in figures(one.metrics) if row["name"] == "kl"), None)
    if known is None:
        return None
    note = "held-out prompts" if one.name == "dpo" else "prompts that it learnt from"
    return {key: known[key] for key in ("value", "low", "high", "n")} | {"verdict": None, "note": note}
