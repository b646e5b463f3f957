"""Scores, one number a prompt or document, and what becomes of them: figures with intervals, paired differences."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pipeline.intervals import CHUNK, RESAMPLES, around, bootstrap_mean, paired_difference, proportion
from pipeline.world.judge import judge
from pipeline.world.wishes import Wishes


@dataclass(frozen=True, kw_only=True)
class Measure:
    """One metric of one model. values: one a prompt or document, their mean is the figure. share: they are 0 or 1.

    over: what they are one of each of. paired: whether differences between models are worth a row.
    """

    values: list[float]
    share: bool = False
    over: str = "prompts"
    paired: bool = True

    def figure(self, seed: int) -> dict[str, Any]:
        """{"value", "low", "high", "n", "interval"}, 95 %: Wilson's for a share, a bootstrap for a mean."""
        n = len(self.values)
        if self.share:
            low, high = proportion(round(sum(self.values)), n)
            return {"value": sum(self.values) / n, "low": low, "high": high, "n": n, "interval": "wilson"}
        value, low, high = bootstrap_mean(self.values, seed)
        return {"value": value, "low": low, "high": high, "n": n, "interval": "bootstrap"}


@dataclass(frozen=True, kw_only=True)
class Exponential(Measure):
    """A figure that is e to the mean of its values, a perplexity; its interval is that of the mean, mapped."""

    paired: bool = False

    def figure(self, seed: int) -> dict[str, Any]:
        """As of any measure."""
        found = super().figure(seed)
        return found | {part: math.exp(found[part]) for part in ("value", "low", "high")}


@dataclass(frozen=True, kw_only=True)
class Calibration(Measure):
    """An expected calibration error: `values` are confidences, `right` says which of them were. No mean, so the
    interval is a bootstrap of the whole statistic; it is above 0 by chance in a small sample."""

    right: list[float]
    paired: bool = False

    def figure(self, seed: int) -> dict[str, Any]:
        """As of any measure."""
        from pipeline.evaluate.metrics.calibration_error import calibration_error  # half a second, only for tasks

        confidence, right = np.asarray(self.values), np.asarray(self.right)
        generator, n = np.random.default_rng(seed), len(self.values)
        rows = max(1, CHUNK // n)
        draws = [
            generator.integers(0, n, size=(min(rows, RESAMPLES - start), n)) for start in range(0, RESAMPLES, rows)
        ]
        errors = np.concatenate([calibration_error(confidence[draw], right[draw]) for draw in draws])
        value = float(calibration_error(confidence, right))
        low, high = around(value, errors)
        return {"value": value, "low": low, "high": high, "n": n, "interval": "bootstrap"}


def per_prompt(measure: Measure, num_samples: int, highest: bool = False) -> Measure:
    """Means over each prompt's answers, or the highest, where `values` are all prompts' first answers, then all second
    ones, ..

    Answers to one prompt are alike, so the prompt is the unit: n stays the number of prompts.
    """
    if num_samples == 1:
        return measure
    values = np.asarray(measure.values, dtype=np.float64).reshape(num_samples, -1)
    means = values.max(axis=0) if highest else values.mean(axis=0)
    # Where all answers to each prompt agree it is a share still, and has an interval of some width at 0 and at 1.
    return replace(measure, values=means.tolist(), share=measure.share and set(means.tolist()) <= {0.0, 1.0})


def length_in_words(text: str) -> float:
    """Words of an answer, split at white space."""
    return float(len(text.split()))


def well_formed(texts: Sequence[str]) -> Measure:
    """Whether each text is a story without a defect, whatever was asked."""
    return Measure(values=[float(judge(text, None).defect_free) for text in texts], share=True)


def wishes(texts: Sequence[str], items: Sequence[Mapping[str, Any]]) -> dict[str, Measure]:
    """The gold judge's opinion of stories written on request: all wishes met, and the mean score."""
    judged = [judge(text, Wishes.from_dict(item["wishes"])) for text, item in zip(texts, items, strict=True)]
    return {
        "wishes_met": Measure(values=[float(j.wishes_met) for j in judged], share=True),
        "gold": Measure(values=[j.score for j in judged]),
        "length_mean": Measure(values=[length_in_words(text) for text in texts]),
    }


def rouge_l(texts: Sequence[str], items: Sequence[Mapping[str, Any]]) -> dict[str, Measure]:
    """ROUGE-L of one-line answers against the references. Every model's answer ends at its first line's end, since one
    line was asked for and a base model was never taught to stop there."""
    from pipeline.evaluate.metrics.rouge_l import RougeL  # half a second, and only some recipes need it

    lines = [first_line(text) for text in texts]
    computed = RougeL(keep_in_memory=True).compute(predictions=lines, references=[item["reference"] for item in items])
    return {
        "rouge_l": Measure(values=computed["scores"]),
        "length_mean": Measure(values=[length_in_words(line) for line in lines]),
    }


def first_line(text: str) -> str:
    """The first line that holds anything."""
    return next((line.strip() for line in text.splitlines() if line.strip()), "")


def difference(a: Measure, b: Measure, seed: int) -> dict[str, Any] | None:
    """a minus b, as a figure, paired by prompt or document; None where the two cannot be paired.

    A base's well-formed share is of texts that nobody asked for: those and another model's answers are independent
    draws, over different things, and no pairs.
    """
    if len(a.values) != len(b.values) or a.over != b.over or not (a.paired and b.paired):
        return None
    value, low, high = paired_difference(a.values, b.values, seed)
    return {"value": value, "low": low, "high": high, "n": len(a.values), "interval": "paired bootstrap"}
