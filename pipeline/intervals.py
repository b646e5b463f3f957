"""95 % intervals: of a share (Wilson), of a mean and of a paired difference (percentile bootstrap).

Every rate and mean that this project reports goes through one of these, so that two figures can be compared honestly.
"""

import re
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

Z = 1.959963984540054  # the 97.5 % point of the normal distribution
RESAMPLES = 2000
CHUNK = 4_000_000  # bootstrap indices drawn at once: bounds the memory, not the result's kind


def proportion(successes: int, n: int) -> tuple[float, float]:
    """Wilson's score interval of successes / n (Wilson, JASA 1927); (0, 1) where n is 0.

    Unlike the normal approximation it stays inside [0, 1] and keeps its width at 0 and at n successes.
    """
    if not 0 <= successes <= n:
        raise ValueError(f"proportion: {successes} successes of {n}")
    if n == 0:
        return 0.0, 1.0
    share = successes / n
    centre = share + Z * Z / (2 * n)
    margin = Z * float(np.sqrt(share * (1 - share) / n + Z * Z / (4 * n * n)))
    scale = 1 + Z * Z / n
    # At the ends the formula gives exactly 0 and 1; rounding must not make them -1e-17 or 1 - 1e-16.
    low = 0.0 if successes == 0 else (centre - margin) / scale
    high = 1.0 if successes == n else (centre + margin) / scale
    return low, high


def bootstrap_mean(values: Sequence[float] | np.ndarray, seed: int) -> tuple[float, float, float]:
    """(mean, low, high) of the mean by 2,000 bootstrap resamples; the same seed gives the same interval."""
    data = np.asarray(values, dtype=np.float64)
    if data.ndim != 1 or data.size == 0:
        raise ValueError(f"bootstrap_mean: needs a list of at least one number, got shape {data.shape}")
    generator = np.random.default_rng(seed)
    rows = max(1, CHUNK // data.size)
    means = [
        data[generator.integers(0, data.size, size=(min(rows, RESAMPLES - start), data.size))].mean(axis=1)
        for start in range(0, RESAMPLES, rows)
    ]
    low, high = np.percentile(np.concatenate(means), [2.5, 97.5])
    return float(data.mean()), float(low), float(high)


def means(samples: Mapping[str, np.ndarray], seed: int) -> dict[str, float]:
    """Metrics of each sample: its mean under its name, with _low, _high and _n beside."""
    figures: dict[str, float] = {}
    for name, values in samples.items():
        mean, low, high = bootstrap_mean(values, seed)
        figures |= {name: mean, f"{name}_low": low, f"{name}_high": high, f"{name}_n": len(values)}
    return figures


def slugs(names: Iterable[str]) -> dict[str, str]:
    """Names, such as sources', as parts of metrics' names: no two alike, none that an interval's ending could be."""
    found: dict[str, str] = {}
    for name in names:
        short = re.sub(r"[\W_]+", "_", name.lower()).strip("_") or "unnamed"
        short = f"{short}_source" if re.search(r"(^|_)(low|high|n)$", short) else short
        taken, number = set(found.values()), 1
        while (numbered := short if number == 1 else f"{short}_{number}") in taken:
            number += 1
        found[name] = numbered
    return found


def around(value: float, resampled: Sequence[float] | np.ndarray) -> tuple[float, float]:
    """(low, high) of a distance from a bootstrap: the resamples' percentiles, moved so that their mean is the value.

    A resample holds items several times and its distances (a calibration error's) are larger than the sample's, by
    what the bootstrap itself shows (Efron and Tibshirani 1993, chapter 10); plain percentiles may leave the value out.
    """
    again = np.asarray(resampled, dtype=np.float64)
    low, high = np.percentile(again, [2.5, 97.5]) - again.mean() + value
    return max(0.0, float(low)), float(high)


def paired_difference(
    a: Sequence[float] | np.ndarray, b: Sequence[float] | np.ndarray, seed: int
) -> tuple[float, float, float]:
    """(mean, low, high) of a - b, a[i] and b[i] of one item. Raises ValueError on unequal lengths."""
    if len(a) != len(b):
        raise ValueError(f"paired_difference: {len(a)} values against {len(b)}; pairs need one of each")
    return bootstrap_mean(np.asarray(a, dtype=np.float64) - np.asarray(b, dtype=np.float64), seed)
