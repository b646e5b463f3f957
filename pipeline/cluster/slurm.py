"""Slurm's scripts: one for every stage that is still needed, and one for each partition that compares its nodes.

Identical inputs give identical scripts; what one submission alone knows comes as the script's argument. They are
queued by pipeline/cluster/queue.py.
"""

import re
import shlex
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from pipeline.artifact import RESUME
from pipeline.cluster.jobs import Step, processes
from pipeline.cluster.profile import Slurm, SlurmResources
from pipeline.corpus.recipe import Recipe as Corpus
from pipeline.stage import UserError

CHECKOUT = Path(__file__).resolve().parent.parent.parent
PLAIN_PATH = re.compile(r"/[\w./@+=-]*")  # no blanks or quotes: sbatch reads its options by rules of its own
CHECK, TASKS = "check", "tasks"


def template(**values: Any) -> str:
    """A job's script."""
    environment = Environment(
        loader=PackageLoader("pipeline.cluster", "."), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
        keep_trailing_newline=True, autoescape=False,
    )  # fmt: skip
    return environment.get_template("job.sbatch.jinja").render(values)


def logs(profile: Slurm, run: str) -> Path:
    """Where the jobs' scripts and logs of a run lie: beside its artifacts."""
    return Path(profile.runs) / run / "logs"


def submits(profile: Slurm, run: str) -> Path:
    """Where every submission leaves a line, which the nodes must see: that they share storage with who submits."""
    return logs(profile, run) / "submits"


def newest_logs(runs: Path, names: Iterable[str]) -> dict[Path, Path]:
    """For every artifact's folder, and every check's, the log of its last job, of the runs with these names."""
    found: dict[Path, Path] = {}
    for name in names:
        for log in sorted((runs / name / "logs").glob("*-[0-9]*.log"), key=lambda path: path.stat().st_mtime):
            found[runs / name / log.stem.rpartition("-")[0]] = log
    return found


def check_plain(*paths: Path) -> None:
    """Raises UserError for a path that sbatch would not take."""
    for path in paths:
        if not PLAIN_PATH.fullmatch(str(path)):
            raise UserError(
                f"{path}: sbatch wants paths without blanks and quotes. Move it, or choose another `runs:`."
            )


def options(profile: Slurm, resources: SlurmResources, name: str, comment: str, log: Path) -> list[str]:
    """The options of sbatch, one a line."""
    check_plain(log.parent, CHECKOUT)
    kind = f"{resources.gpu}:" if resources.gpu else ""
    return [
        f"--job-name={name}",
        f"--comment={comment}",
        *([f"--partition={resources.partition}"] if resources.partition else []),
        f"--nodes={resources.nodes}",
        "--ntasks-per-node=1",
        f"--cpus-per-task={resources.cpus}",
        f"--mem={resources.memory}",
        *([f"--gpus-per-node={kind}{resources.gpus}"] if resources.gpus else []),
        f"--time={resources.time}",
        f"--output={log}",
        "--open-mode=append",
        "--kill-on-invalid-dep=yes",
        *profile.options,
    ]


def comment(kind: str, folder: Path, run: str) -> str:
    """By what a job is known again. kind: its artifact's fingerprint, CHECK or TASKS; run: for which it was queued."""
    return f"groundup:{kind}:{folder}:{run}"


def stage_script(profile: Slurm, step: Step, where: str, run: str) -> str:
    """The script of one stage's job. where: the profile's file. run: for which it is queued, perhaps not its own."""
    todo = step.plan
    resources = profile.resources(todo.stage.name)
    if profile.python and isinstance(todo.recipe, Corpus) and todo.recipe.executor == "slurm":
        raise UserError(
            f"{todo.run.folder / 'corpus.yaml'}: executor = slurm submits jobs from within a job, which cannot be "
            f"done from within the container of {where}: python. Say executor: local, or leave python out."
        )
    command = [
        sys.executable,
        "-m",
        "pipeline.run",
        todo.stage.name,
        "--recipe",
        str(todo.run.folder),
        "--runs",
        profile.runs,
    ]
    command += ["--expect", todo.fingerprint[:16]]
    command += ["--accel", resources.accel] if resources.accel else []
    command += ["--hosts", "slurm"] if resources.nodes > 1 else []
    command += ["--python", profile.python] if profile.python else []
    command += ["--cluster", where] if isinstance(todo.recipe, Corpus) and todo.recipe.executor != "local" else []
    number = processes(resources) if todo.stage.distributed else 1
    return template(
        name=step.name,
        options=[
            *options(
                profile, resources, step.name, comment(todo.fingerprint[:16], todo.folder, run),
                logs(profile, todo.run.name) / f"{todo.stage.name}-%j.log",
            ),
            f"--signal=B:USR1@{profile.warning}",
            "--requeue" if profile.preemptible else "--no-requeue",
        ],
        checkout=shlex.quote(str(CHECKOUT)),
        setup=profile.setup.strip(),
        threads=max(1, resources.cpus // number),
        cpus=resources.cpus,
        check=False,
        stage=todo.stage.name,
        resume=shlex.quote(str(todo.folder / RESUME)),
        preemptible=profile.preemptible,
        warning=profile.warning,
        requeues=profile.requeues,
        command=shlex.join(command),
    )  # fmt: skip


def check_scripts(profile: Slurm, run: str, steps: list[Step]) -> dict[str | None, str]:
    """For each partition a job of some seconds and no GPU, for which its stages wait: whether its nodes share the
    storage with who submits, have the same versions and agree on the time."""

    def text(partition: str | None, resources: SlurmResources) -> str:
        check = f"{CHECK}-{partition or 'default'}"
        return template(
            name=f"{run}/{check}",
            options=options(
                profile, resources, f"{run}/{check}", comment(CHECK, Path(profile.runs) / run / check, run),
                logs(profile, run) / f"{check}-%j.log",
            ),
            checkout=shlex.quote(str(CHECKOUT)), setup=profile.setup.strip(), threads=1, cpus=1, check=True,
            command=command,
        )  # fmt: skip

    found: dict[str | None, SlurmResources] = {}
    for step in steps:
        asked = profile.resources(step.plan.stage.name)
        before = found.get(asked.partition)
        nodes = max(asked.nodes, before.nodes if before else 1)
        found[asked.partition] = SlurmResources(partition=asked.partition, nodes=nodes, memory="1G", time="0:15:00")
    python = shlex.split(profile.python or sys.executable)
    command = shlex.join(
        [*python, "-m", "pipeline.cluster.node", profile.runs, "--hosts", "slurm", "--check", "--submits",
         str(submits(profile, run))]
    )  # fmt: skip
    return {partition: text(partition, resources) for partition, resources in found.items()}
