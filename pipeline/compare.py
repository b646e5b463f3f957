"""Two runs side by side: `make compare A=runs/storyworld B=runs/storyworld-lora`

What differs in their recipes, then what differs in their results and whether that is beyond noise: paired over the
items that both evaluations have (evaluate/scores.json), from the two intervals where they share too few; then what
each took. An artifact that a run took over from its base counts as its own, but not what it cost. Reads manifests and
scores, writes nothing. Exit status: 0 compared, 2 where one of the two is no run.
"""

import argparse
import json
import math
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline import artifact
from pipeline.chain import CHAIN, MODEL_STAGES
from pipeline.intervals import paired_difference
from pipeline.runs import artifacts
from pipeline.shown import bracketed, duration, energy, figures, money, number, spent
from pipeline.stage import UserError

MOST_KEYS = 12  # of a stage that are named; a collected folder can differ in thousands of files
WIDEST = 44  # characters of a cell
PAGE = "report"  # shows what the others made, and makes nothing that could differ by itself
SHARED = 0.5  # of the smaller of two sets of items: with fewer in common, pairs tell of other items than the figures
# Metrics that tell of the machine or of another difference, which have a table of their own or say nothing here.
UNCOMPARED = ("seconds", "per_second", "memory_bytes", "_minus_")

Manifests = dict[str, dict[str, Any]]
Row = tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Change:
    """b minus a of a figure. pairs: how many items it is paired over, 0 where it is not. beyond: whether the 95 %
    interval leaves zero out."""

    value: float
    low: float
    high: float
    pairs: int

    @property
    def beyond(self) -> bool:
        return self.low > 0 or self.high < 0


def read(run: Path) -> Manifests:
    """The manifests of a run's finished stages. Raises UserError where there is none."""
    if not run.is_dir():
        raise UserError(f"{run}: no such folder. Name a run, such as runs/storyworld.")
    found = {name: one for name, folder in artifacts(run).items() if (one := artifact.manifest(folder))}
    if not found:
        raise UserError(f"{run}: no finished stage there. Run `make all RECIPE={run.name}` first.")
    return found


def whole(run: Path, own: Manifests) -> Manifests:
    """The run's manifests, with those of the artifacts that it was made from and that lie in another run's folder."""
    found, waiting = dict(own), [(run / name, one) for name, one in own.items()]
    while waiting:
        folder, sealed = waiting.pop()
        for key, link in sealed.get("inputs", {}).items():
            place = (folder.resolve() / link["folder"]).resolve()
            if "/" in key or key in found or not place.is_dir():
                continue  # a base's model that stands beside is not what this run was made from
            there = artifact.manifest(place)
            if there is not None and there["fingerprint"] == link["fingerprint"]:
                found[key] = there
                waiting.append((place, there))
    return found


def recipe_rows(a: Manifests, b: Manifests) -> list[Row]:
    """(stage, key, in a, in b) of everything that makes two artifacts of one stage differ."""
    rows: list[Row] = []
    for stage in (one.name for one in CHAIN if (one.name in a or one.name in b) and one.name != PAGE):
        if stage not in a or stage not in b:
            rows.append((stage, "", *("there" if stage in run else "not there" for run in (a, b))))
            continue
        if a[stage]["fingerprint"] == b[stage]["fingerprint"]:
            continue
        # The inputs' fingerprints differ because of what is listed at an earlier stage.
        one, other = ({k: v for k, v in run[stage]["identity"].items() if k != "inputs"} for run in (a, b))
        keys = list(artifact.differing(one, other))
        if not keys and a[stage]["outputs"] == b[stage]["outputs"]:
            continue
        rows += [(stage, key.removeprefix("recipe."), told(old), told(new)) for key, old, new in keys[:MOST_KEYS]]
        if len(keys) > MOST_KEYS:
            rows.append((stage, f"and {len(keys) - MOST_KEYS} more", "", ""))
        if not keys:
            rows.append((stage, "its inputs alone", "", ""))
    return rows


def told(value: Any) -> str:
    """A recipe's value in a cell."""
    text = value if isinstance(value, str) else "-" if value is None else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= WIDEST else text[: WIDEST - 4] + " ..."


def scores(run: Path) -> dict[str, Any]:
    """evaluate/scores.json; {} of a run that was evaluated before it was written, or not at all."""
    path = run / "evaluate" / "scores.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def items(kept: dict[str, Any], name: str) -> dict[str, float] | None:
    """{item: value} of the evaluation's metric `<model>_<metric>`; None where it was not kept item by item."""
    for model, metrics in kept.get("models", {}).items():
        one = metrics.get(name.removeprefix(f"{model}_")) if name.startswith(f"{model}_") else None
        if one:
            return dict(zip(kept["items"][one["over"]], one["values"], strict=True))
    return None


def paired(a: dict[str, float] | None, b: dict[str, float] | None) -> Change | None:
    """b minus a over the items that both have; None where these are fewer than SHARED of the smaller set."""
    if not a or not b:
        return None
    both = [item for item in a if item in b]
    if len(both) < max(2, SHARED * min(len(a), len(b))):
        return None
    value, low, high = paired_difference([b[item] for item in both], [a[item] for item in both], seed=0)
    return Change(value=value, low=low, high=high, pairs=len(both))


def unpaired(a: dict[str, Any], b: dict[str, Any]) -> Change:
    """b minus a from their own intervals, taken as independent (Newcombe 1998; Zou and Donner 2008, "MOVER")."""
    value = b["value"] - a["value"]
    low = value - math.hypot(b["value"] - b["low"], a["high"] - a["value"])
    high = value + math.hypot(b["high"] - b["value"], a["value"] - a["low"])
    return Change(value=value, low=low, high=high, pairs=0)


@dataclass(frozen=True, kw_only=True)
class Results:
    """judged: rows of figures with intervals that differ, the evaluation's first; beyond: how many of them are beyond
    noise; equal: how many are the same in both; plain: rows of the other figures that differ."""

    judged: list[Row]
    beyond: int
    equal: int
    plain: list[Row]


def results(a: Manifests, b: Manifests, kept: Sequence[dict[str, Any]]) -> Results:
    """Every figure that both runs have, of the stages that differ. `kept`: both runs' scores."""
    judged: list[Row] = []
    plain: list[Row] = []
    beyond = equal = 0
    stages = [one.name for one in reversed(CHAIN) if one.name in a and one.name in b and one.name != PAGE]
    for stage in (one for one in stages if a[one]["fingerprint"] != b[one]["fingerprint"]):
        others = {row["name"]: row for row in figures(b[stage]["metrics"])}
        for row in figures(a[stage]["metrics"]):
            other = others.get(row["name"])
            if other is None or any(part in row["name"] for part in UNCOMPARED):
                continue
            if row == other:
                equal += row["low"] is not None
            elif row["low"] is None or other["low"] is None:
                plain.append((stage, row["name"], number(row["value"]), number(other["value"])))
            else:
                one, two = (items(run, row["name"]) if stage == "evaluate" else None for run in kept)
                change = paired(one, two) or unpaired(row, other)
                if change.low == change.high == 0 or same_model(row["name"], a, b):
                    equal += 1  # and only what it was measured on differs
                    continue
                beyond += change.beyond
                judged.append((stage, row["name"], interval(row), interval(other), *verdict(change)))
    return Results(judged=judged, beyond=beyond, equal=equal, plain=plain)


def same_model(name: str, a: Manifests, b: Manifests) -> bool:
    """Whether a figure `<model>_<metric>` is of a model that is one and the same artifact in both."""
    model = name.partition("_")[0]
    return model in a and model in b and model in MODEL_STAGES and a[model]["fingerprint"] == b[model]["fingerprint"]


def interval(row: dict[str, Any]) -> str:
    """`0.863 [0.831, 0.891]`."""
    return bracketed(row["value"], row["low"], row["high"])


def verdict(change: Change) -> Row:
    """The difference, and what is to be thought of it."""
    how = f"paired, n {change.pairs}" if change.pairs else "unpaired"
    words = ("higher" if change.value > 0 else "lower") if change.beyond else "noise"
    return bracketed(change.value, change.low, change.high, "+"), f"{words}, {how}"


def cost_table(a: Manifests, b: Manifests) -> str:
    """Time and CPU time of every stage and in all; energy and cost where any stage knows them."""
    everything = [one for run in (a, b) for one in run.values()]
    columns: dict[str, Callable[[dict[str, Any]], float | None]] = {
        "time": lambda one: one["seconds"],
        "CPU": lambda one: one["cpu_seconds"],
    }
    if any(one.get("energy_joules") is not None for one in everything):
        columns["energy"] = lambda one: one.get("energy_joules")
    if any(spent(one) is not None for one in everything):
        columns["cost"] = spent
    show: dict[str, Callable[[Any], str]] = {"time": duration, "CPU": duration, "energy": energy, "cost": money}

    def cells(names: Sequence[str]) -> Row:
        row = []
        for run in (a, b):
            for what, of in columns.items():
                values = [of(run[name]) for name in names if name in run]
                known = [value for value in values if value is not None]
                whole = sum(known, 0.0) if len(known) == len(values) else None
                row.append(show[what](whole) if values else "-")
        return tuple(row)

    stages = [one.name for one in CHAIN if one.name in a or one.name in b]
    head = ("stage", *(f"{run} {what}" for run in "AB" for what in columns))
    return table(head, [*((name, *cells([name])) for name in stages), ("in all", *cells(stages))])


def table(head: Row, rows: Iterable[Row]) -> str:
    """Aligned columns for a terminal."""
    everything = [head, *rows]
    widths = [max(len(row[i]) for row in everything) for i in range(len(head))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in everything]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(line.rstrip() for line in lines)


def compare(a: Path, b: Path) -> str:
    """Everything that is printed."""
    one, other = read(a), read(b)
    parts = [f"A: {a}\nB: {b}"]
    everything = whole(a, one), whole(b, other)
    recipes = recipe_rows(*everything)
    if not recipes:
        return parts[0] + "\n\nThe two runs hold the same artifacts.\n"
    parts.append("What differs in the recipes\n\n" + table(("stage", "key", "A", "B"), recipes))
    found = results(*everything, (scores(a), scores(b)))
    if found.judged:
        by_chance = max(round(len(found.judged) / 20), 1)
        parts.append(
            "Results that differ, with 95 % intervals\n\n"
            + table(("stage", "figure", "A", "B", "B minus A", "verdict"), found.judged)
            + f"\n\n{found.beyond} of {len(found.judged)} differences are beyond noise; by chance alone about "
            f"{by_chance} would be. {found.equal} figures are equal."
        )
    else:
        parts.append("No figure with an interval is in both runs and differs.")
    if found.plain:
        parts.append("Other figures that differ\n\n" + table(("stage", "figure", "A", "B"), found.plain))
    parts.append("What it took\n\n" + cost_table(one, other))
    return "\n\n".join(parts) + "\n"


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.compare", description=__doc__.splitlines()[0])
    parser.add_argument("a", metavar="A", help="a run, such as runs/storyworld")
    parser.add_argument("b", metavar="B", help="the run to compare it with")
    args = parser.parse_args(argv)
    try:
        if not args.a or not args.b:  # make hands on what it was not given as ""
            raise UserError("name two runs: make compare A=runs/storyworld B=runs/storyworld-lora")
        sys.stdout.write(compare(Path(args.a), Path(args.b)))
    except UserError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
