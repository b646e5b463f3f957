"""Progress of long work: a bar with rate and remaining time on a terminal, a plain line every ten seconds else."""

import os
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

Item = TypeVar("Item")
PLAIN_INTERVAL = 10.0  # seconds between plain lines


class Progress:
    """A bar (terminal) or periodic lines (pipe, log file). Use as a context manager; `update(n, loss=..)`.

    total: None where it is not known. Of several processes the first alone shows it.
    """

    def __init__(self, total: int | None, what: str, unit: str, initial: int = 0) -> None:
        self.total, self.what, self.unit, self.done, self.initial = total, what, unit, initial, initial
        self.started = self.last = time.monotonic()
        self.bar = None
        self.shows = os.environ.get("RANK", "0") == "0"
        if self.shows and sys.stderr.isatty():
            self.bar = tqdm(
                total=total,
                desc=what,
                unit=f" {unit}",
                initial=initial,
                dynamic_ncols=True,
                leave=False,
                disable=False,  # the worker's environment turns off every bar but this one
            )

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *exc: object) -> None:
        if self.bar is not None:
            self.bar.close()
        elif time.monotonic() - self.started > PLAIN_INTERVAL:
            self._line({})

    def update(self, n: int = 1, **values: float) -> None:
        """Counts n more units; `values` are shown beside the bar (loss=2.31)."""
        self.done += n
        if self.bar is not None:
            if values:
                self.bar.set_postfix({k: f"{v:.4g}" for k, v in values.items()}, refresh=False)
            self.bar.update(n)
        elif time.monotonic() - self.last >= PLAIN_INTERVAL:
            self._line(values)

    def _line(self, values: dict[str, float]) -> None:
        if not self.shows:
            return
        self.last = time.monotonic()
        seconds = self.last - self.started
        rate = (self.done - self.initial) / max(seconds, 1e-9)
        left = "time left not known yet"
        if self.total is not None and rate > 0:
            left = f"{(self.total - self.done) / rate:.0f} s left"
        share = f"/{self.total} {self.unit} ({self.done / max(self.total, 1):.0%})" if self.total else f" {self.unit}"
        shown = "".join(f"  {k} {v:.4g}" for k, v in values.items())
        sys.stderr.write(f"{self.what}: {self.done}{share}  {rate:.3g} {self.unit}/s  {left}{shown}\n")
        sys.stderr.flush()


def track(items: Iterable[Item], total: int, what: str, unit: str) -> Iterator[Item]:
    """Yields the items, showing progress."""
    with Progress(total, what, unit) as progress:
        for item in items:
            yield item
            progress.update()
