"""What to look at: checks over a run's logs and figures that say in plain words what a reader should know.

A check is a function from `Facts` to findings; `look` runs all of them. What each looks for is named where it looked
and found nothing, and where it could not look, with why, so that silence can be told from blindness.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pipeline.chain import BY_NAME

# The stages whose model draws the answers that it learns from.
DRAWN = ("ppo", "grpo")

Points = list[tuple[float, float]]  # (step, value)


@dataclass(frozen=True, kw_only=True)
class Finding:
    """what: one sentence. evidence: its figures. advice: what to try. grave: it casts doubt on the result."""

    stage: str
    what: str
    evidence: str
    advice: str = ""
    grave: bool = False


@dataclass(frozen=True, kw_only=True)
class Blind:
    """A check that could not look at a stage, and why, in words that go on with "dpo: "."""

    stage: str
    why: str


Seen = Finding | Blind


@dataclass(frozen=True, kw_only=True)
class Facts:
    """Logs, flat metrics and resolved recipes by stage, the corpus's funnel the evaluation's certificates, and
    what it says of the answers that PPO drew."""

    logs: Mapping[str, list[dict[str, Any]]] = field(default_factory=dict)
    metrics: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    recipes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    funnel: list[dict[str, Any]] = field(default_factory=list)
    certificates: list[dict[str, Any]] = field(default_factory=list)
    optimised: list[dict[str, Any]] = field(default_factory=list)

    def among(self, stages: Iterable[str]) -> list[str]:
        """Those of the stages that the run has."""
        return [stage for stage in stages if stage in self.metrics or stage in self.logs]

    def points(self, stage: str, *keys: str) -> Points:
        """(step, value) of the first of the keys that the stage's log has."""
        for key in keys:
            found = series(self.logs.get(stage, []), key)
            if found:
                return found
        return []


@dataclass(frozen=True, kw_only=True)
class Check:
    """looks_for: what would be found, in words that end "Looked for and not found:". needs: the stages that it looks
    at, those of them that the run has; where it can't look at one, find gives a `Blind`."""

    looks_for: str
    needs: tuple[str, ...]
    find: Callable[[Facts], Iterable[Seen]]


def series(log: list[dict[str, Any]], key: str) -> Points:
    """The finite points (step, value) of a log's key."""
    return [
        (row["step"], float(row[key]))
        for row in log
        if "step" in row and isinstance(row.get(key), int | float) and np.isfinite(row[key])
    ]


def values(points: Points) -> np.ndarray:
    """The values alone."""
    return np.array([value for _, value in points])


def noise(points: Points) -> float:
    """How far neighbours scatter around a smooth curve: the standard deviation that the median difference tells of.

    Differences of differences, which a slope does not enter (Rice, Annals of Statistics 1984, and its robust form).
    """
    found = values(points)
    if len(found) < 4:
        return float("inf")
    bends = found[1:-1] - (found[:-2] + found[2:]) / 2
    return float(1.4826 * np.median(np.abs(bends)) / np.sqrt(1.5))


def ends(points: Points, share: float = 0.2) -> tuple[float, float, float]:
    """(mean of the first share, mean of the last share, by how much they may differ by chance, 2 sigma)."""
    found = values(points)
    count = max(round(share * len(found)), 1)
    return float(found[:count].mean()), float(found[-count:].mean()), 2 * noise(points) * float(np.sqrt(2 / count))


def look(facts: Facts, checks: Iterable[Check]) -> tuple[list[Finding], list[str], list[tuple[str, list[str]]]]:
    """What was found, the grave first; what was looked for and not found; what could not be looked for, each with
    the stages and why. A check that could look at one stage and not at another is among both of the last two."""
    findings: list[Finding] = []
    silent: list[str] = []
    blind: list[tuple[str, list[str]]] = []
    for check in checks:
        there = facts.among(check.needs)
        # Of a stage that few runs have nothing is said where it is missing.
        missing = [name for name in check.needs if not BY_NAME[name].optional]
        if not there:
            blind += [(check.looks_for, [f"the run has no {' or '.join(missing)}"])] if missing else []
            continue
        seen = list(check.find(facts))
        found = [one for one in seen if isinstance(one, Finding)]
        unseen = {one.stage: one.why for one in seen if isinstance(one, Blind)}
        findings += found
        if unseen:
            blind.append((check.looks_for, [f"{stage}: {why}" for stage, why in unseen.items()]))
        if not found and not unseen.keys() >= set(there):
            silent.append(check.looks_for)
    return sorted(findings, key=lambda finding: not finding.grave), silent, blind
