"""The training log: one JSON object a logged step, kept beside the checkpoints so that a resumed run has all of it."""

import json
from pathlib import Path
from types import TracebackType
from typing import Any


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
