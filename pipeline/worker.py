"""The worker: runs one stage's verb in its own process. The driver calls `python -m pipeline.worker <folder>`.

Reads the claim `job.json` in the folder, hands the verb its Job, writes `metrics.json` (rank 0). Exit status as the
driver's. It ends as soon as its standard input closes, which is when the driver has died.
"""

import errno
import json
import math
import os
import signal
import sys
import threading
from pathlib import Path

from pipeline.artifact import CLAIM, write_json
from pipeline.chain import BY_NAME
from pipeline.recipe import HubSource, sourced, validate
from pipeline.stage import Job, UserError, resolve

# Failures of the machine that no traceback explains better than their own words.
PLAIN = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM}


def die_with_driver() -> None:
    """Kills this process and those that it started when the driver's end of the pipe closes."""

    def watch() -> None:
        # Not sys.stdin: its lock, held by a waiting thread, is fatal to the interpreter's shutdown.
        while os.read(0, 1):
            pass
        os.killpg(os.getpgrp(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()


def checked(stage: str, metrics: dict[str, float]) -> dict[str, float]:
    """The metrics, all finite numbers. Raises TypeError or ValueError for anything else."""
    for key, value in metrics.items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise TypeError(f"{stage}: metric {key} = {value!r} is no plain number")
        if not math.isfinite(value):
            raise ValueError(f"{stage}: metric {key} = {value}")
    return metrics


def work(folder: Path) -> None:
    """Runs the claimed job in this process."""
    claim = json.loads((folder / CLAIM).read_text(encoding="utf-8"))
    declared = BY_NAME[claim["stage"]]
    kind = HubSource if "hub" in claim["recipe"] else declared.recipe
    recipe = validate(kind, claim["recipe"], str(folder / CLAIM))
    stage = sourced(declared, recipe)
    job = Job(
        stage=stage.name,
        recipe=recipe,
        out=folder,
        inputs={name: Path(path) for name, path in claim["inputs"].items()},
        seed=claim["seed"],
        run_name=claim["run_name"],
        cluster=claim.get("cluster"),
    )
    metrics = checked(stage.name, resolve(stage.verb)(job))
    if os.environ.get("RANK", "0") == "0":
        write_json(folder / "metrics.json", metrics)


def main() -> int:
    """Runs the command; returns the exit status."""
    if not sys.stdin.isatty():
        die_with_driver()
    try:
        work(Path(sys.argv[1]))
    except UserError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    except OSError as error:
        if error.errno not in PLAIN:
            raise
        place = error.filename or sys.argv[1]
        sys.stderr.write(f"error: {error.strerror}: {place}. What is half-written has no manifest; mend and repeat.\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
