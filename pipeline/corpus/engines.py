"""The same datatrove tasks on a cluster's machines: as an array of Slurm jobs, or on a Ray cluster that is there.

What a task writes depends on its number alone, so the result is that of the local executor, byte for byte. Facts of
the cluster come from a profile (`make corpus CLUSTER=lab`). datatrove leaves failed tasks to its user: here they are
an error.
"""

import contextlib
import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

from datatrove.executor.ray import RayPipelineExecutor
from datatrove.executor.slurm import SlurmPipelineExecutor
from datatrove.pipeline.base import PipelineStep
from datatrove.utils.stats import PipelineStats
from loguru import logger

from pipeline.artifact import RESUME
from pipeline.cluster import queue
from pipeline.cluster.profile import Ray, Slurm
from pipeline.cluster.slurm import TASKS, check_plain, comment
from pipeline.stage import UserError

POLL = 2.0  # seconds between questions to Slurm
PATIENCE = 300.0  # seconds for which Slurm may give no answer: a controller that restarts
GONE = 300.0  # seconds in which the tasks of an earlier start must have ended once they are cancelled
LATE = 30.0  # seconds after which NFS shows the last marks
CHECKOUT = Path(__file__).resolve().parent.parent.parent


class SlurmExecutor(SlurmPipelineExecutor):
    """datatrove's, which only submits; without its log, and without the job that adds up statistics, which we read."""

    def launch_merge_stats(self) -> None:
        """Nothing: a job that waits for an array that failed would stay queued."""

    def get_launch_file_contents(self, sbatch_args: dict[str, Any], run_script: str) -> str:
        """A login shell, and nothing done after a set-up that failed: as the stages' own jobs have it."""
        options = [f"#SBATCH --{name}{f'={value}' if value else ''}" for name, value in sbatch_args.items()]
        lines = ["#!/bin/bash -l", *options, "set -e", self.env_command, "export PYTHONUNBUFFERED=TRUE", run_script]
        return "\n".join(lines) + "\n"

    def _run_for_rank(self, rank: int, local_rank: int = 0, node_rank: int = -1) -> PipelineStats:
        logger.disable("datatrove")
        return super()._run_for_rank(rank, local_rank, node_rank)


class RayExecutor(RayPipelineExecutor):
    """datatrove's, without its log."""

    def _run_for_rank(self, rank: int, local_rank: int = 0, node_rank: int = -1) -> PipelineStats:
        logger.disable("datatrove")
        return super()._run_for_rank(rank, local_rank, node_rank)


def slurm_executor(steps: list[PipelineStep], folder: Path, tasks: int, workers: int, profile: Slurm) -> SlurmExecutor:
    """What submits the tasks as an array, which carries its artifact's name. folder: of the tasks' marks and logs."""
    given = profile.resources("corpus")
    artifact = artifact_of(folder)
    check_plain(artifact, CHECKOUT)
    environment = [
        profile.setup.strip(),
        f"cd {shlex.quote(str(CHECKOUT))}",
        f"export PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH",
    ]
    own = {name.removeprefix("--"): value for name, _, value in (one.partition("=") for one in profile.options)}
    return SlurmExecutor(
        steps,
        tasks=tasks,
        workers=workers,
        time=given.time,
        partition=given.partition or default_partition(),
        cpus_per_task=given.cpus,
        mem_per_cpu_gb=max(1, int(given.memory.removesuffix("G")) // given.cpus),
        job_name=f"corpus-{folder.stem}",
        qos="",  # "normal" would be its own, which not every cluster has
        env_command="\n".join(filter(None, environment)),
        sbatch_args={**own, "comment": comment(TASKS, artifact, artifact.parent.name)},
        logging_dir=str(folder.resolve()),
    )


def on_slurm(steps: list[PipelineStep], folder: Path, tasks: int, workers: int, profile: Slurm) -> None:
    """Submits the tasks as an array, `workers` at once, and waits for them. Raises UserError where one fails.

    Whatever ends this ends the array; one that an earlier start could not end, it was killed, is ended first, so that
    no two processes write the same task.
    """
    for name in [name for name in os.environ if name.startswith(("SLURM_", "SRUN_")) and name != "SLURM_CONF"]:
        del os.environ[name]  # of the job that this may be running in: they would contradict those of the tasks' jobs
    artifact = artifact_of(folder)
    clear(artifact)
    executor = slurm_executor(steps, folder, tasks, workers, profile)
    with ending(artifact):
        try:
            executor.run()
        except subprocess.CalledProcessError as error:
            raise UserError(
                f"corpus: Slurm did not take the tasks (sbatch ended with {error.returncode}; its own words stand "
                f"above). The script is {folder / 'launch_script.slurm'}; mend the profile and repeat."
            ) from None
        if executor.job_id == -1:  # every task was completed before
            return
        while incomplete(folder, tasks) and patiently(artifact):
            time.sleep(POLL)
        deadline = time.monotonic() + LATE
        while (missing := incomplete(folder, tasks)) and time.monotonic() < deadline:
            time.sleep(POLL)
    if missing:
        raise UserError(
            f"corpus: {len(missing)} of {tasks} tasks failed on Slurm (job {executor.job_id}): {missing[:10]}. Their "
            f"logs are in {folder / 'slurm_logs'}; the same command redoes those alone."
        )


def artifact_of(folder: Path) -> Path:
    """The artifact in whose resume/ the folder lies: what its arrays are known by."""
    folder = folder.absolute()
    return next((path.parent for path in folder.parents if path.name == RESUME), folder)


def clear(artifact: Path) -> None:
    """Ends the arrays that an earlier start left, and waits until they are gone. Raises UserError."""
    found = queue.arrays(artifact)
    queue.end(found)
    deadline = time.monotonic() + GONE
    while found and (found := queue.arrays(artifact)):
        if time.monotonic() > deadline:
            raise UserError(
                f"corpus: tasks of an earlier start are still running after {GONE:.0f} s: scancel {found[0]}, then "
                f"repeat."
            )
        time.sleep(POLL)


@contextlib.contextmanager
def ending(artifact: Path) -> Iterator[None]:
    """Whatever ends the block, SIGTERM too (a time limit, preemption), ends the artifact's arrays."""

    def stop(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a second one must not disturb what follows
        raise SystemExit(128 + signal.SIGTERM)

    main_thread = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, stop) if main_thread else None
    try:
        yield
    finally:
        try:
            queue.end(queue.arrays(artifact))
        except UserError as error:
            sys.stderr.write(f"corpus: its tasks may still be queued, and the next start ends them: {error}\n")
        if main_thread:
            signal.signal(signal.SIGTERM, before)


def patiently(artifact: Path) -> list[int]:
    """The artifact's arrays; asks again for a while where Slurm gives no answer. Raises UserError."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return queue.arrays(artifact)
        except UserError:
            if time.monotonic() > deadline:
                raise
            time.sleep(POLL)


def default_partition() -> str:
    """The one that Slurm marks with a star. Raises UserError where Slurm gives no answer."""
    names = queue.ask("sinfo", "--noheader", "--format=%P").split()
    if not names:
        raise UserError("sinfo lists no partition. Name one as `partition:` in the profile.")
    return next((name.strip("*") for name in names if name.endswith("*")), names[0])


def incomplete(folder: Path, tasks: int) -> list[int]:
    """The tasks without a mark of completion."""
    return [rank for rank in range(tasks) if not (folder / "completions" / f"{rank:05d}").exists()]


def on_ray(steps: list[PipelineStep], folder: Path, tasks: int, workers: int, profile: Ray) -> None:
    """Runs the tasks on a Ray cluster, where a worker that dies has its task done again. Raises UserError."""
    try:
        import ray
    except ImportError:
        raise UserError(
            "corpus: executor ray needs the package `ray`: pip install -c constraints.txt 'groundup[ray]'."
        ) from None
    arguments: dict[str, Any] = {"address": profile.address, "log_to_driver": False, "logging_level": "ERROR"}
    try:
        if profile.address != "auto":  # Ray itself tries for minutes
            host, _, port = profile.address.removeprefix("ray://").rpartition(":")
            socket.create_connection((host, int(port)), timeout=10).close()
        ray.init(**arguments, runtime_env={"env_vars": {"PYTHONPATH": str(CHECKOUT)}})
    except (OSError, ValueError) as error:
        raise UserError(
            f"corpus: no Ray cluster at address = {profile.address}: {error}. `ray status` shows yours."
        ) from None
    try:
        RayExecutor(
            steps, tasks=tasks, workers=workers, cpus_per_task=profile.cpus,
            mem_per_cpu_gb=profile.memory_gb / profile.cpus, logging_dir=str(folder.resolve()),
        ).run()  # fmt: skip
    finally:
        ray.shutdown()
    if missing := incomplete(folder, tasks):
        raise UserError(
            f"corpus: {len(missing)} of {tasks} tasks failed on Ray: {missing[:10]}. Their logs are in "
            f"{folder / 'logs'}; the same command redoes those alone."
        )
