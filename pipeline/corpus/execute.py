"""Runs a datatrove pipeline on this machine, quietly, with progress, and resumable.

datatrove skips a task whose completion mark lies in the logging folder, whatever the pipeline was then. So the folder
must belong to this recipe, these inputs and this number of tasks: the caller puts a hash of them into its path.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from datatrove.executor.local import LocalPipelineExecutor
from datatrove.pipeline.base import PipelineStep
from datatrove.utils.stats import PipelineStats
from loguru import logger

from pipeline.progress import Progress

POLL = 0.25  # seconds between looks at the completion marks


class Executor(LocalPipelineExecutor):
    """datatrove's local executor without its log on the terminal: errors still come up as exceptions."""

    def _run_for_rank(self, rank: int, local_rank: int = 0, node_rank: int = -1) -> PipelineStats:
        logger.disable("datatrove")  # in every worker process, or each task prints its statistics
        return super()._run_for_rank(rank, local_rank, node_rank)


@contextmanager
def shown(folder: Path, tasks: int, what: str) -> Iterator[None]:
    """Shows how many tasks are done while the block runs."""
    marks, over = folder / "completions", threading.Event()
    done = len(list(marks.glob("*")))

    def watch() -> None:
        seen = done
        with Progress(tasks, what, "tasks", initial=done) as progress:
            while not over.wait(POLL):
                now = len(list(marks.glob("*")))
                progress.update(now - seen)
                seen = now

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()


def execute(steps: list[PipelineStep], folder: Path, tasks: int, workers: int, what: str) -> None:
    """Runs the tasks that are not marked as completed under `folder`. Raises what a task raises."""
    logger.disable("datatrove")
    arguments: dict[str, Any] = {
        "tasks": tasks,
        "workers": min(workers, tasks),
        "logging_dir": str(folder),
        # Spawned workers are children of this process, so their CPU time and memory count in the manifest; those of
        # datatrove's default, a fork server, do not.
        "start_method": "spawn",
    }
    with shown(folder, tasks, what):
        Executor(steps, **arguments).run()
