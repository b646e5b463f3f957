"""Stopping a training loop cleanly: SIGTERM raises a flag that every process sees at the end of its step.

The loop asks `accelerator.check_trigger()` once a step, writes its checkpoint and raises SystemExit(SIGTERM_STATUS).
"""

import contextlib
import signal
from collections.abc import Iterator

from accelerate import Accelerator

SIGTERM_STATUS = 143  # 128 + 15, what a shell reports for a process that SIGTERM ended


@contextlib.contextmanager
def stop_at_sigterm(accelerator: Accelerator) -> Iterator[None]:
    """While inside, SIGTERM only raises accelerate's flag, which every process sees at the end of the step."""
    before = signal.signal(signal.SIGTERM, lambda number, frame: accelerator.set_trigger())
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
