"""The shape of a plot: beats in paragraphs, with one ending of each mood."""

from dataclasses import dataclass

# A beat is one step of a story: alternative templates of which one is written. An empty template leaves the beat out.
Beat = tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Plot:
    """The beats of a story in order. The introduction stands before `start`, the closing sentence after the ending."""

    name: str
    start: tuple[Beat, ...]
    trouble: tuple[Beat, ...]
    turn: tuple[Beat, ...]
    happy: tuple[Beat, ...]
    sad: tuple[Beat, ...]
