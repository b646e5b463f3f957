"""The data of the report's curves, which charts.js draws with uPlot: what shares a drawing, joined on its x values.

A chart is {"title", "unit", "x_label", "kind": "line" or "points", "x": [..], "lines": [{"name", "values", "first",
"last", "colour", "dash"}]}; values are null where a line has no point. Long logs are thinned so that every peak and
every dip stays.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.report.findings import DRAWN, Points, series

MAX_POINTS = 600  # a line; a chart is a few hundred pixels wide
DIGITS = 5  # significant ones, in the page
COLOURS = 5  # --c0 to --c4 of style.css
# Dashes and gaps in pixels: past the last colour the colours begin anew with the next of these, so that 20 lines of a
# drawing, such as the sources of held-out text, can be told apart.
DASHES: tuple[tuple[int, ...], ...] = ((), (8, 4), (2, 3), (9, 3, 2, 3))
HELDOUT = "heldout_bits_per_byte"  # pretraining's; a source's has its name behind

# Title, unit, and {the log's key: its name} of what shares a drawing.
CURVES: tuple[tuple[str, str, dict[str, str]], ...] = (
    ("Loss", "nats a token", {"loss": "training", "heldout_loss": "held-out", "eval_loss": "held-out"}),
    ("Held-out text", "bits per byte", {HELDOUT: "held-out"}),
    ("Accuracy", "share of pairs", {
        "accuracy": "training", "eval_accuracy": "held-out", "rewards/accuracies": "training",
        "eval_rewards/accuracies": "held-out",
    }),
    ("Reward margin", "chosen minus rejected", {
        "margin": "training", "eval_margin": "held-out", "rewards/margins": "training",
        "eval_rewards/margins": "held-out",
    }),
    ("Rewards", "beta x log-ratio", {"rewards/chosen": "chosen", "rewards/rejected": "rejected"}),
    ("Reward", "an answer", {"score": "as scored", "reward": "standardised", "reward_with_kl": "less KL"}),
    ("KL to the reference", "nats an answer", {"kl": "KL"}),
    ("Answers that end", "share", {"ended": "ended"}),
    ("Length", "tokens an answer", {"length": "length"}),
    ("Learning rate", "", {"learning_rate": "rate"}),
    ("Gradient norm", "before clipping", {"gradient_norm": "norm", "grad_norm": "norm"}),
    ("Throughput", "tokens a second", {"tokens_per_second": "tokens"}),
    ("Throughput", "episodes a second", {"episodes_per_second": "episodes"}),
)  # fmt: skip
# The loss of a stage that compares answers is a mean over pairs; GRPO's has no unit.
LOSS_UNITS = {"reward": "nats a pair", "dpo": "nats a pair", "grpo": "advantage times log-probability"}


def charts(stage: str, log: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Every chart that a stage's log has points for; of those that draw answers also their reward over KL."""
    found = []
    for title, unit, keys in CURVES:
        lines = {name: points for key, name in (keys | sources(log, keys)).items() if (points := series(log, key))}
        told = LOSS_UNITS.get(stage, unit) if title == "Loss" else unit
        if lines:
            found.append(chart(title, told, "step", lines))
    if stage in DRAWN and (drawn := reward_over_kl(log)):
        found.insert(0, drawn)
    return found


def sources(log: list[dict[str, Any]], keys: Mapping[str, str]) -> dict[str, str]:
    """The log's keys of a source's bits per byte, each with the source's name, where its drawing is the one of all."""
    if HELDOUT not in keys:
        return {}
    found = sorted({key for entry in log for key in entry if key.startswith(f"{HELDOUT}_")})
    return {key: key.removeprefix(f"{HELDOUT}_") for key in found}


def reward_over_kl(log: list[dict[str, Any]]) -> dict[str, Any] | None:
    """What every step's reward cost in KL (Gao et al., 2023, figure 1): points, coloured by thirds of the training."""
    kl, reward = dict(series(log, "kl")), dict(series(log, "score") or series(log, "reward"))
    steps = sorted(kl.keys() & reward.keys())
    if len(steps) < 3:
        return None
    third = math.ceil(len(steps) / 3)
    parts = {"first third": steps[:third], "second": steps[third : 2 * third], "last third": steps[2 * third :]}
    lines = {name: [(kl[step], reward[step]) for step in part] for name, part in parts.items() if part}
    return chart("Reward against KL", "reward an answer", "KL, nats an answer", lines, kind="points")


def gold_over_kl(rows: Sequence[Mapping[str, float]]) -> dict[str, Any] | None:
    """The gold judge's score over KL of the answers drawn in training, as evaluate found: a point each part of it."""
    if len(rows) < 3:
        return None
    names = {"gold": "gold score", "gold_low": "low", "gold_high": "high (95 %)"}
    lines = {name: [(row["kl"], row[key]) for row in rows] for key, name in names.items()}
    return chart("Gold judge against KL", "gold score", "KL, nats an answer", lines, kind="points")


def chart(title: str, unit: str, x_label: str, lines: Mapping[str, Points], kind: str = "line") -> dict[str, Any]:
    """A drawing's data."""
    thin = {name: thinned(sorted(points)) for name, points in lines.items()}
    xs = sorted({x for points in thin.values() for x, _ in points})
    return {
        "title": title,
        "unit": unit,
        "x_label": x_label,
        "kind": kind,
        "x": [rounded(x) for x in xs],
        "lines": [
            {
                "name": name,
                "values": [None if x not in known else rounded(known[x]) for x in xs],
                "first": lines[name][0][1],
                "last": lines[name][-1][1],
                "colour": number % COLOURS,
                "dash": DASHES[number // COLOURS % len(DASHES)],
            }
            for number, (name, points) in enumerate(thin.items())
            for known in [dict(points)]
        ],
    }


def thinned(points: Points) -> Points:
    """At most MAX_POINTS points: of each of equally long parts the lowest and the highest, in their order."""
    if len(points) <= MAX_POINTS:
        return points
    width = math.ceil(len(points) / (MAX_POINTS // 2))
    kept = []
    for start in range(0, len(points), width):
        part = points[start : start + width]
        kept += sorted({min(part, key=lambda p: p[1]), max(part, key=lambda p: p[1])})
    return kept


def rounded(value: float) -> float:
    """As many digits as can be seen; whole numbers without a point."""
    short = float(f"{value:.{DIGITS}g}")
    return int(short) if short.is_integer() else short
