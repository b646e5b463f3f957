"""The energy that a stage took, where the machine measures it: never an estimate from a data sheet.

Processors and memory are read from RAPL's counters (Linux powercap; since 2020 readable by root only), NVIDIA
accelerators by sampling the power that nvidia-smi tells. Both are of the whole machine, whoever else works on it.

    with Meter() as meter: ...
    meter.joules  # {"RAPL": 5120.0}; {} where nothing can be read
"""

import re
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from pipeline.machine import gpu_watts

POWERCAP = Path("/sys/class/powercap")
INTERVAL = 10.0  # seconds between samples; a package's counter goes round in about 20 minutes at 200 W
RAPL, NVIDIA = "RAPL", "nvidia-smi"


class Counter:
    """A RAPL counter that goes round at its range. Raises OSError where it cannot be read."""

    def __init__(self, zone: Path) -> None:
        self.file = zone / "energy_uj"
        self.range = int((zone / "max_energy_range_uj").read_text())
        self.last = self.microjoules()

    def microjoules(self) -> int:
        return int(self.file.read_text())

    def advance(self) -> float:
        """Joules since the last call."""
        now = self.microjoules()
        gone, self.last = (now - self.last) % (self.range + 1), now
        return gone / 1e6


def counters(powercap: Path = POWERCAP) -> list[Counter]:
    """The counters of every processor package and its memory; [] where any of them cannot be read, since a part would
    pass for the whole. Cores and graphics are inside of their package, psys around it."""
    found = []
    try:
        for zone in sorted(powercap.glob("intel-rapl:*")):
            name = (zone / "name").read_text().strip()
            if re.fullmatch(r"package-\d+", name) or name == "dram":
                found.append(Counter(zone))
    except (OSError, ValueError):
        return []
    return found


class Meter:
    """Adds up energy while it is entered. joules: by source, only those that could be read all the time."""

    def __init__(
        self, powercap: Path = POWERCAP, watts: Callable[[], float | None] = gpu_watts, interval: float = INTERVAL
    ) -> None:
        self.watts, self.interval = watts, interval
        self.counters = counters(powercap)
        self.joules: dict[str, float] = {RAPL: 0.0} if self.counters else {}
        self.power, self.at = watts(), time.monotonic()
        if self.power is not None:
            self.joules[NVIDIA] = 0.0
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "Meter":
        if self.joules:
            self.thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.ended.set()
        if self.thread.is_alive():
            self.thread.join()
        self.sample()

    def _run(self) -> None:
        while not self.ended.wait(self.interval):
            self.sample()

    def sample(self) -> None:
        """Adds what was used since the last sample; a source that fails is dropped for good."""
        if RAPL in self.joules:
            try:
                self.joules[RAPL] += sum(counter.advance() for counter in self.counters)
            except (OSError, ValueError):
                del self.joules[RAPL]
        if NVIDIA in self.joules:
            power, now = self.watts(), time.monotonic()
            if power is None or self.power is None:
                del self.joules[NVIDIA]
            else:
                self.joules[NVIDIA] += (power + self.power) / 2 * (now - self.at)  # the trapezoid between two samples
            self.power, self.at = power, now
