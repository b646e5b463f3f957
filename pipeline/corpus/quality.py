"""Quality heuristics: datatrove's Gopher, C4 and FineWeb filters with the recipe's thresholds."""

import inspect
from collections.abc import Callable
from typing import Any

from datatrove.pipeline.filters.base_filter import BaseFilter
from datatrove.pipeline.filters.c4_filters import C4QualityFilter
from datatrove.pipeline.filters.fineweb_quality_filter import FineWebQualityFilter

from pipeline.corpus import gopher
from pipeline.corpus.recipe import Quality
from pipeline.corpus.step import Ledger
from pipeline.corpus.words import Words
from pipeline.stage import UserError

FILTERS: dict[str, type[BaseFilter]] = {
    "c4": C4QualityFilter,
    "gopher_quality": gopher.Quality,
    "gopher_repetition": gopher.Repetition,
    "fineweb": FineWebQualityFilter,
}
OURS = {"self", "exclusion_writer", "language"}  # arguments that the recipe may not set


def check(recipe: Quality) -> None:
    """Raises UserError for an argument that datatrove's filter does not take."""
    for name, kind in FILTERS.items():
        accepted = sorted(set(inspect.signature(kind.__init__).parameters) - OURS)
        if unknown := sorted(set(getattr(recipe, name) or {}) - set(accepted)):
            raise UserError(
                f"corpus.yaml: quality.{name}: {kind.__name__} takes no '{unknown[0]}'. "
                f"Accepted: {', '.join(accepted)}."
            )


def filters(recipe: Quality, ledger: Callable[[str], Ledger]) -> list[BaseFilter]:
    """The filters that the recipe asks for, C4 first, since it edits lines that the others would count."""
    steps = []
    for name, kind in FILTERS.items():
        arguments: dict[str, Any] | None = getattr(recipe, name)
        if arguments is None:
            continue
        step = kind(**arguments, exclusion_writer=ledger(name), language=Words())  # type: ignore[arg-type]
        step.name = step.stats.name = name
        steps.append(step)
    return steps
