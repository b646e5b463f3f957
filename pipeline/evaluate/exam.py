"""What an exam is: one kind of measurement, given to every model of a run by the same code."""

import hashlib
from typing import Any, Protocol

from pipeline.evaluate.models import Candidate
from pipeline.evaluate.score import Measure

Measures = dict[str, dict[str, Measure]]  # model -> metric -> measure


class Exam(Protocol):
    """Made from the recipe and the inputs before any model is loaded; raises UserError then for what is missing.

    titles: what each metric is, in words, in the order of the table. items_by_kind: a digest of each item that the
    measures are over, by the kind that their `over` names. Both are asked for after the models were measured.
    """

    @property
    def titles(self) -> dict[str, str]: ...

    @property
    def items_by_kind(self) -> dict[str, list[str]]: ...

    def measure(self, candidate: Candidate, model: Any) -> dict[str, Measure]:
        """The metrics of one model."""
        ...

    def afterwards(self) -> Measures:
        """Metrics that need every model's answers, and those of baselines that are no model."""
        ...

    def results(self) -> dict[str, Any]:
        """What this exam adds to results.json; the part "settings" is merged with the others'."""
        ...


def digest(text: str) -> str:
    """16 hex digits that stand for an item."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]
