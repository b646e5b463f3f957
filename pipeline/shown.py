"""Numbers as a reader wants them: short, with their unit, a figure with its interval."""

import math
from collections.abc import Mapping
from typing import Any

JOULES_PER_KWH = 3.6e6
MOST_PLACES = 9  # decimals
PARTS = ("_low", "_high", "_n")


def number(value: float) -> str:
    """Three or four figures; whole numbers whole."""
    if float(value).is_integer() and abs(value) < 1e15:
        return f"{int(value):,}"
    return f"{value:.3g}" if abs(value) < 0.01 else f"{value:.3f}" if abs(value) < 100 else f"{value:,.0f}"


def precise(value: float, low: float | None = None, high: float | None = None, sign: str = "") -> str:
    """A measured figure: three decimals also where they are zeros, and as many as its interval needs to have a width.

    sign: "+" for a difference.
    """
    large = abs(value) >= 100
    places = 0 if large else 3
    if low is not None and high is not None and high > low:
        places = max(places, min(math.ceil(-math.log10(high - low)) + large, MOST_PLACES))
    return f"{value:{sign},.{places}f}"


def bracketed(value: float, low: float, high: float, sign: str = "") -> str:
    """A figure with its interval: `0.863 [0.831, 0.891]`, `117.0 [116.6, 117.4]`."""
    shown, *ends = (precise(one, low, high, sign) for one in (value, low, high))
    return f"{shown} [{', '.join(ends)}]"


def short(value: float) -> str:
    """A count in few signs: 834, 21.7 k, 1.44 M, 8 B."""
    for limit, unit in ((1e9, " B"), (1e6, " M"), (1e4, " k")):
        if abs(value) >= limit:
            return f"{value / (1e3 if unit == ' k' else limit):.3g}{unit}"
    return number(value)


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


def energy(joules: float | None) -> str:
    """Joules as Wh or kWh; `unknown` where nothing measured them."""
    if joules is None:
        return "unknown"
    return f"{joules / 3600:.3g} Wh" if joules < JOULES_PER_KWH else f"{joules / JOULES_PER_KWH:.3g} kWh"


def money(usd: float | None) -> str:
    """US dollars; `unknown` where no price was given."""
    return "unknown" if usd is None else f"${usd:.2f}" if usd >= 1 else f"${usd:.2g}"


def spent(manifest: Mapping[str, Any]) -> float | None:
    """What a stage cost in US dollars at its recipe's price; None where the recipe names none."""
    price = manifest.get("usd_per_hour")
    return None if price is None else price * manifest["seconds"] / 3600


def counts(pairs: Mapping[str, float]) -> str:
    """`spam 210, abuse 198`."""
    return ", ".join(f"{name.replace('_', ' ')} {number(n)}" for name, n in pairs.items())


def figures(metrics: Mapping[str, float]) -> list[dict[str, Any]]:
    """The metrics as rows {name, value, low, high, n}; what has no interval has None there."""
    rows = []
    for name, value in metrics.items():
        part = next((part for part in PARTS if name.endswith(part)), None)
        if part and name.removesuffix(part) in metrics:
            continue
        rows.append({"name": name, "value": value} | {p[1:]: metrics.get(name + p) for p in PARTS})
    return rows
