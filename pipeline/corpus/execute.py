"""Runs a datatrove pipeline, here or on a cluster, quietly, with progress, and resumable.

datatrove skips a task whose completion mark lies in the logging folder, whatever the pipeline was then. So the folder
must belong to this recipe, these inputs and this number of tasks: the caller puts a hash of them into its path.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from datatrove.executor.local import LocalPipelineExecutor
from datatrove.pipeline.base import PipelineStep
from datatrove.utils.stats import PipelineStats
from loguru import logger

from pipeline.cluster.profile import Ray, Sky, Slurm, load
from pipeline.corpus.engines import on_ray, on_slurm
from pipeline.corpus.recipe import Recipe
from pipeline.corpus.workers import run
from pipeline.progress import Progress
from pipeline.stage import UserError

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


@dataclass(frozen=True, kw_only=True)
class Crew:
    """Who does the work: at most `workers` tasks at once, here, or where the profile says."""

    workers: int
    profile: Slurm | Ray | None = None


def crew(recipe: Recipe, cluster: str | None) -> Crew:
    """The crew that the recipe asks for. Raises UserError where the profile is missing or of another kind."""
    if recipe.executor == "local":
        return Crew(workers=recipe.workers)
    if cluster is None:
        raise UserError(
            f"corpus.yaml: executor = {recipe.executor} wants to know the cluster: make corpus CLUSTER=<profile>."
        )
    profile = load(cluster)
    if profile.kind != recipe.executor or isinstance(profile, Sky):
        raise UserError(
            f"corpus.yaml: executor = {recipe.executor}, and CLUSTER={cluster} is a profile of kind {profile.kind}."
        )
    return Crew(workers=recipe.workers, profile=profile)


def execute(steps: list[PipelineStep], folder: Path, tasks: int, by: Crew, what: str) -> None:
    """Runs the tasks that are not marked as completed under `folder`. Raises what a task raises."""
    logger.disable("datatrove")
    workers = min(by.workers, tasks)
    if by.profile is not None:
        with shown(folder, tasks, what):
            if isinstance(by.profile, Slurm):
                on_slurm(steps, folder, tasks, workers, by.profile)
            else:
                on_ray(steps, folder, tasks, workers, by.profile)
        return
    executor = Executor(steps, tasks=tasks, workers=workers, logging_dir=str(folder))
    with shown(folder, tasks, what):
        if workers == 1:
            executor.run()
        else:
            run(executor, executor.get_incomplete_ranks(range(tasks)), workers, folder, what)
