"""The training log: one JSON object a logged step, kept beside the checkpoints so that a resumed run has all of it."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

SHARE_COMPARED = 0.1  # of the steps, at the beginning and at the end


class Log:
    """Appends to a JSONL file. Lines after `step`, which a killed run wrote past its last checkpoint, are cut off.

    header: what stands in the first line of a new log, as step 0.
    """

    def __init__(self, path: Path, *, step: int, writes: bool, header: dict[str, Any] | None = None) -> None:
        self.file = None
        if not writes:
            return
        # The last line of a killed run may be half a line.
        lines = (
            [line for line in path.read_text("utf-8").splitlines(True) if line.endswith("\n")] if path.exists() else []
        )
        kept = [line for line in lines if json.loads(line)["step"] <= step]
        path.write_text("".join(kept), encoding="utf-8")
        self.file = path.open("a", encoding="utf-8")
        if header and not kept:
            self.write({"step": 0, **header})

    def __enter__(self) -> "Log":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.file is not None:
            self.file.close()

    def write(self, entry: dict[str, Any]) -> None:
        """Appends one object on the process that writes, unless it says no more than the step."""
        if self.file is not None and entry.keys() > {"step"}:
            self.file.write(json.dumps(entry) + "\n")
            self.file.flush()


def read_log(path: Path) -> list[dict[str, Any]]:
    """The entries of a finished log."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def compared(log: Sequence[Mapping[str, float]], keys: Sequence[str]) -> dict[str, float]:
    """Of each key the mean over the first and over the last tenth of the steps."""
    few = max(1, round(SHARE_COMPARED * len(log)))
    figures: dict[str, float] = {}
    for key in keys:
        for name, steps in (("first", log[:few]), ("last", log[-few:])):
            figures[f"{key}_{name}"] = sum(entry[key] for entry in steps) / len(steps)
    return figures
