"""The same datatrove tasks on a cluster's machines: as an array of Slurm jobs, or on a Ray cluster that is there.

What a task writes depends on its number alone, so the result is that of the local executor, byte for byte. Facts of
the cluster come from a profile (`make corpus CLUSTER=lab`). datatrove leaves failed tasks to its user: here they are
an error.
"""

import contextlib
import os
import shlex
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from datatrove.executor.ray import RayPipelineExecutor
from datatrove.executor.slurm import SlurmPipelineExecutor
from datatrove.pipeline.base import PipelineStep
from datatrove.utils.stats import PipelineStats
from loguru import logger

from pipeline.cluster.profile import Ray, Slurm
from pipeline.stage import UserError

POLL = 2.0  # seconds between questions to Slurm
LATE = 30.0  # seconds after which NFS shows the last marks
CHECKOUT = Path(__file__).resolve().parent.parent.parent


class SlurmExecutor(SlurmPipelineExecutor):
    """datatrove's, which only submits; without its log, and without the job that adds up statistics, which we read."""

    def launch_merge_stats(self) -> None:
        """Nothing: a job that waits for an array that failed would stay queued."""

    def _run_for_rank(self, rank: int, local_rank: int = 0, node_rank: int = -1) -> PipelineStats:
        logger.disable("datatrove")
        return super()._run_for_rank(rank, local_rank, node_rank)


class RayExecutor(RayPipelineExecutor):
    """datatrove's, without its log."""

    def _run_for_rank(self, rank: int, local_rank: int = 0, node_rank: int = -1) -> PipelineStats:
        logger.disable("datatrove")
        return super()._run_for_rank(rank, local_rank, node_rank)


def on_slurm(steps: list[PipelineStep], folder: Path, tasks: int, workers: int, profile: Slurm) -> None:
    """Submits the tasks as an array, `workers` at once, and waits for them. Raises UserError where one fails."""
    given = profile.resources("corpus")
    for name in [name for name in os.environ if name.startswith(("SLURM_", "SRUN_")) and name != "SLURM_CONF"]:
        del os.environ[name]  # of the job that this may be running in: they would contradict those of the tasks' jobs
    environment = [
        profile.setup.strip(),
        f"cd {shlex.quote(str(CHECKOUT))}",
        f"export PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH",
    ]
    executor = SlurmExecutor(
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
        sbatch_args={
            name.removeprefix("--"): value for name, _, value in (one.partition("=") for one in profile.options)
        },
        logging_dir=str(folder.resolve()),
    )
    executor.run()
    if executor.job_id == -1:  # every task was completed before
        return
    try:
        while incomplete(folder, tasks) and queued(executor.job_id):
            time.sleep(POLL)
        deadline = time.monotonic() + LATE
        while (missing := incomplete(folder, tasks)) and time.monotonic() < deadline:
            time.sleep(POLL)
    finally:
        with contextlib.suppress(OSError):
            subprocess.run(["scancel", "--quiet", str(executor.job_id)], check=False, capture_output=True)
    if missing:
        raise UserError(
            f"corpus: {len(missing)} of {tasks} tasks failed on Slurm (job {executor.job_id}): {missing[:10]}. Their "
            f"logs are in {folder / 'slurm_logs'}; the same command redoes those alone."
        )


def default_partition() -> str:
    """The one that Slurm marks with a star."""
    names = subprocess.run(
        ["sinfo", "--noheader", "--format=%P"], capture_output=True, text=True, check=True
    ).stdout.split()
    return next((name.strip("*") for name in names if name.endswith("*")), names[0])


def queued(job: int) -> bool:
    """Whether any task of the array waits or runs."""
    done = subprocess.run(
        ["squeue", "--noheader", f"--job={job}", "--format=%T"], capture_output=True, text=True, check=False
    )
    return bool(done.stdout.strip())


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
