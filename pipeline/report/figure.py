"""The geometry of what the page draws without a script: figures with their intervals, histograms, calibration."""

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.better import word
from pipeline.intervals import proportion


def widened(low: float, high: float, margin: float) -> tuple[float, float]:
    """The range with a margin (a share of it) on both sides, and never empty."""
    if high <= low:
        step = abs(low) * 0.1 or 1.0
        return low - step, high + step
    return low - (high - low) * margin, high + (high - low) * margin


def whiskers(rows: Sequence[Mapping[str, Any]], share: bool) -> list[dict[str, Any]]:
    """The rows {name, value, low, high, n} with positions in percent of a common scale; share: it is 0 to 1."""
    if share:
        low, high = 0.0, 1.0
    else:
        low, high = widened(min(row["low"] for row in rows), max(row["high"] for row in rows), 0.08)
    return [{"colour": 0, "zero": None, "verdict": None, **row, **placed(row, low, high)} for row in rows]


def differences(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The rows {name, value, low, high, n, way} of differences, each on its own scale with zero in the middle.

    way: the metric's `sense`. verdict: what the difference is, in words; one within noise has another colour.
    """
    drawn = []
    for row in rows:
        reach = 1.1 * max(abs(row["low"]), abs(row["high"])) or 1.0
        verdict = word(row["low"], row["high"], row["way"])
        noise = verdict == "within noise"
        drawn.append({**row, "verdict": verdict, "colour": int(noise), "zero": 50.0, **placed(row, -reach, reach)})
    return drawn


def placed(row: Mapping[str, Any], low: float, high: float) -> dict[str, float]:
    """Where a figure and its interval stand between low and high, in percent."""

    def percent(value: float) -> float:
        return round(min(max((value - low) / (high - low), 0.0), 1.0) * 100, 2)

    return {"at": percent(row["value"]), "from": percent(row["low"]), "to": percent(row["high"])}


def histogram(edges: Sequence[float], counts: Sequence[int]) -> dict[str, Any]:
    """Bars {percent of the highest, wrong, title} of a histogram; wrong: the bar's middle is below zero."""
    most = max(counts, default=0) or 1
    bars = [
        {
            "percent": round(100 * count / most, 1),
            "wrong": low + high < 0,
            "title": f"{low:.2f} to {high:.2f}: {count}",
        }
        for low, high, count in zip(edges[:-1], edges[1:], counts, strict=True)
    ]
    low, high = edges[0], edges[-1]
    below = sum(count for bar, count in zip(bars, counts, strict=True) if bar["wrong"])
    zero = round(100 * -low / (high - low), 2) if low < 0 < high else None
    return {"bars": bars, "low": low, "high": high, "zero": zero, "wrong": below / max(sum(counts), 1)}


def reliability(bins: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    """A reliability diagram (Guo et al. 2017, figure 1) of bins {confidence, right, pairs}, in percent of its sides.

    Across: confidence from one half, below which nobody prefers anything, to one. Up: the share that was right, 0 to
    1, with Wilson's 95 % interval of the bin's pairs. apart: whether that leaves the confidence, the diagonal, out.
    """
    points: list[dict[str, Any]] = []
    for one in bins:
        low, high = proportion(round(one["right"] * one["pairs"]), int(one["pairs"]))
        points.append(
            {
                "x": round(200 * (one["confidence"] - 0.5), 2),
                "y": round(100 * (1 - one["right"]), 2),
                "from": round(100 * (1 - high), 2),
                "to": round(100 * (1 - low), 2),
                "apart": not low <= one["confidence"] <= high,
                **one,
            }
        )
    return {"points": points, "apart": sum(point["apart"] for point in points)}
