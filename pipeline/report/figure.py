"""The geometry of the report's drawings: curves over steps, and figures with their intervals. Pure functions.

The page draws what these return (`curve` and `whiskers` in parts.html); all lengths are in the drawing's own units.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

WIDTH, HEIGHT = 460, 240
LEFT, RIGHT, TOP, BOTTOM = 66, 12, 12, 42
MAX_POINTS = 240  # more would be less than two units apart

Point = tuple[float, float]


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers within [low, high], about so many: steps of 1, 2 or 5 times a power of ten."""
    if not high > low:
        return [low]
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * m for m in (1, 2, 5, 10) if power * m >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


def label(value: float) -> str:
    """A number for an axis: 12k, 0.5, 3e-4."""
    if value == 0:
        return "0"
    size = abs(value)
    if size >= 1e6:
        return f"{value / 1e6:g}M"
    if size >= 1e4:
        return f"{value / 1e3:g}k"
    return f"{value:.0e}".replace("e-0", "e-") if size < 1e-2 else f"{value:.4g}"


def thinned(points: Sequence[Point]) -> list[Point]:
    """At most MAX_POINTS points, each the mean of equally many neighbours."""
    bucket = math.ceil(len(points) / MAX_POINTS) or 1
    groups = [points[i : i + bucket] for i in range(0, len(points), bucket)]
    return [(sum(x for x, _ in g) / len(g), sum(y for _, y in g) / len(g)) for g in groups]


def curve(series: Mapping[str, Sequence[Point]], x_label: str, y_label: str) -> dict[str, Any] | None:
    """Lines over a common x axis; None where no series has a finite point."""
    finite = {name: sorted(p for p in points if all(map(math.isfinite, p))) for name, points in series.items()}
    kept = {name: thinned(points) for name, points in finite.items() if points}
    if not kept:
        return None
    xs = [x for points in kept.values() for x, _ in points]
    ys = [y for points in kept.values() for _, y in points]
    (x_low, x_high), (y_low, y_high) = widened(min(xs), max(xs), 0.0), widened(min(ys), max(ys), 0.05)

    def place(x: float, y: float) -> Point:
        return (
            round(LEFT + (x - x_low) / (x_high - x_low) * (WIDTH - LEFT - RIGHT), 1),
            round(HEIGHT - BOTTOM - (y - y_low) / (y_high - y_low) * (HEIGHT - TOP - BOTTOM), 1),
        )

    lines = []
    for colour, (name, points) in enumerate(kept.items()):
        placed = [place(x, y) for x, y in points]
        lines.append(
            {
                "name": name,
                "colour": colour,
                "points": " ".join(f"{x},{y}" for x, y in placed),
                "end": placed[-1],
                "alone": len(placed) == 1,
                "first": finite[name][0][1],
                "last": finite[name][-1][1],
            }
        )
    return {
        "x_label": x_label,
        "y_label": y_label,
        "x_ticks": [(place(x, y_low)[0], label(x)) for x in ticks(x_low, x_high)],
        "y_ticks": [(place(x_low, y)[1], label(y)) for y in ticks(y_low, y_high)],
        "lines": lines,
    }


def widened(low: float, high: float, margin: float) -> tuple[float, float]:
    """The range with a margin (a share of it) on both sides, and never empty."""
    if high <= low:
        step = abs(low) * 0.1 or 1.0
        return low - step, high + step
    return low - (high - low) * margin, high + (high - low) * margin


def whiskers(rows: Sequence[Mapping[str, Any]], share: bool, zero: bool = False) -> list[dict[str, Any]]:
    """The rows {name, value, low, high, n} with positions in percent of a common scale.

    share: the scale is 0 to 1. zero: the scale holds zero, which is marked, for differences.
    """
    lows, highs = [row["low"] for row in rows], [row["high"] for row in rows]
    if share:
        low, high = 0.0, 1.0
    else:
        low, high = widened(min(lows + [0.0] * zero), max(highs + [0.0] * zero), 0.08)

    def percent(value: float) -> float:
        return round(min(max((value - low) / (high - low), 0.0), 1.0) * 100, 2)

    return [
        {
            "colour": 0,
            **row,
            "at": percent(row["value"]),
            "from": percent(row["low"]),
            "to": percent(row["high"]),
            "zero": percent(0.0) if zero else None,
            "clear": zero and (row["low"] > 0 or row["high"] < 0),
        }
        for row in rows
    ]
