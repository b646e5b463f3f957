"""Slurm: renders a script for every stage that is still needed, queues them as a chain, asks and cancels.

What is queued is known to Slurm alone: every job carries its artifact's fingerprint and folder in its comment, so that
submitting twice queues nothing twice, and nothing here can be out of date.
"""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from pipeline.cluster.jobs import Step, processes
from pipeline.cluster.profile import Slurm, SlurmResources
from pipeline.corpus.recipe import Recipe as Corpus
from pipeline.stage import UserError

CHECKOUT = Path(__file__).resolve().parent.parent.parent
PLAIN_PATH = re.compile(r"/[\w./@+=-]*")  # no blanks or quotes: sbatch reads its options by rules of its own
ACTIVE = {
    "PENDING",
    "RUNNING",
    "SUSPENDED",
    "CONFIGURING",
    "REQUEUED",
    "REQUEUE_HOLD",
    "STOPPED",
    "RESIZING",
    "SIGNALING",
}
CHECK = "check"


@dataclass(frozen=True, kw_only=True)
class Job:
    """A job of ours as Slurm shows it. used, left: [days-]hours:minutes:seconds."""

    number: int
    state: str
    used: str
    left: str
    nodes: str
    reason: str
    fingerprint: str
    folder: Path

    @property
    def active(self) -> bool:
        return self.state in ACTIVE


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


def newest_logs(runs: Path, names: Iterable[str]) -> dict[Path, Path]:
    """For every artifact's folder, and every check's, the log of its last job, of the runs with these names."""
    found: dict[Path, Path] = {}
    for name in names:
        for log in sorted((runs / name / "logs").glob("*-[0-9]*.log"), key=lambda path: path.stat().st_mtime):
            found[runs / name / log.stem.rpartition("-")[0]] = log
    return found


def options(profile: Slurm, resources: SlurmResources, name: str, comment: str, log: Path) -> list[str]:
    """The options of sbatch, one a line."""
    for path in (log.parent, CHECKOUT):
        if not PLAIN_PATH.fullmatch(str(path)):
            raise UserError(
                f"{path}: sbatch wants paths without blanks and quotes. Move it, or choose another `runs:`."
            )
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


def stage_script(profile: Slurm, step: Step, where: str) -> str:
    """The script of one stage's job. where: the profile's file."""
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
    command += ["--accel", resources.accel] if resources.accel else []
    command += ["--hosts", "slurm"] if resources.nodes > 1 else []
    command += ["--python", profile.python] if profile.python else []
    command += ["--cluster", where] if isinstance(todo.recipe, Corpus) and todo.recipe.executor != "local" else []
    number = processes(resources) if todo.stage.distributed else 1
    return template(
        name=step.name,
        options=[
            *options(
                profile, resources, step.name, f"groundup:{todo.fingerprint[:16]}:{todo.folder}",
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
        preemptible=profile.preemptible,
        warning=profile.warning,
        requeues=profile.requeues,
        command=shlex.join(command),
    )  # fmt: skip


def check_scripts(profile: Slurm, run: str, steps: list[Step]) -> dict[str | None, str]:
    """For each partition a job of some seconds and no GPU, for which its stages wait: whether its nodes share the
    storage, have the same versions and agree on the time."""

    def text(partition: str | None, resources: SlurmResources) -> str:
        check = f"{CHECK}-{partition or 'default'}"
        return template(
            name=f"{run}/{check}",
            options=options(
                profile, resources, f"{run}/{check}", f"groundup:{CHECK}:{profile.runs}/{run}/{check}",
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
    command = shlex.join([*python, "-m", "pipeline.cluster.node", profile.runs, "--hosts", "slurm", "--check"])
    return {partition: text(partition, resources) for partition, resources in found.items()}


def ask(*command: str) -> str:
    """What a command of Slurm prints. Raises UserError with its own message where it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise UserError(
            f"{command[0]} is not found here: submit from a machine of the cluster, such as its login node."
        ) from None
    if done.returncode:
        raise UserError(f"{command[0]}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def jobs() -> list[Job]:
    """All jobs of groundup and this user that Slurm still knows of, oldest first."""
    text = ask("squeue", "--me", "--states=all", "--noheader", "--sort=i", "--format=%A|%T|%M|%L|%N|%r|%k")
    found = []
    for line in text.splitlines():
        number, state, used, left, nodes, reason, comment = line.strip().split("|", 6)
        kind, _, rest = comment.partition(":")
        if kind == "groundup":
            fingerprint, _, folder = rest.partition(":")
            found.append(
                Job(number=int(number), state=state, used=used, left=left, nodes=nodes, reason=reason,
                    fingerprint=fingerprint, folder=Path(folder))
            )  # fmt: skip
    return found


def try_out(script: Path, partition: str | None, where: str) -> None:
    """Lets Slurm check a script without queueing it. Raises UserError where it would not run it."""
    try:
        ask("sbatch", "--test-only", str(script))
    except UserError as error:
        if "partition" in str(error).lower():
            known = ", ".join(sorted({name.strip("*") for name in ask("sinfo", "--noheader", "--format=%P").split()}))
            raise UserError(
                f"{where}: partition = {partition}: the cluster has {known}. Nothing was submitted."
            ) from None
        raise UserError(f"{where}: Slurm would refuse {script}: {error}. Nothing was submitted.") from None


def submit(profile: Slurm, run: str, steps: list[Step], where: str) -> list[str]:
    """Queues the steps, and first the check of their nodes. Returns a line for each.

    A step that is queued already is left alone. Every script is tried out before the first is queued.
    """
    queued = {(job.fingerprint, job.folder): job.number for job in jobs() if job.active}
    waiting = {step.plan.folder: queued.get((step.plan.fingerprint[:16], step.plan.folder)) for step in steps}
    lines = [
        f"{step.name}: is queued already, as job {waiting[step.plan.folder]}"
        for step in steps
        if waiting[step.plan.folder]
    ]
    new = [step for step in steps if not waiting[step.plan.folder]]
    if not new:
        return lines
    checks, scripts = {}, {}
    for partition, text in check_scripts(profile, run, new).items():
        checks[partition] = _write(logs(profile, run) / f"{CHECK}-{partition or 'default'}.sbatch", text)
        try_out(checks[partition], partition, where)
    for step in new:
        stage = step.plan.stage.name
        scripts[step.plan.folder] = _write(
            logs(profile, step.plan.run.name) / f"{stage}.sbatch", stage_script(profile, step, where)
        )
        try_out(scripts[step.plan.folder], profile.resources(stage).partition, where)
    checked = {partition: _queue(script, []) for partition, script in checks.items()}
    lines += [f"{run}/{CHECK}-{partition or 'default'}: job {number}" for partition, number in checked.items()]
    for step in new:
        after = [before for folder in step.after if (before := waiting[folder])]
        after.append(checked[profile.resources(step.plan.stage.name).partition])
        waiting[step.plan.folder] = _queue(scripts[step.plan.folder], after)
        lines.append(f"{step.name}: job {waiting[step.plan.folder]}, after {', '.join(map(str, sorted(after)))}")
    return lines


def cancel(profile: Slurm, run: str) -> list[str]:
    """Cancels the jobs of a run. Returns a line for each."""
    found = [job for job in jobs() if job.active and job.folder.parent == Path(profile.runs) / run]
    if found:
        ask("scancel", *(str(job.number) for job in found))
    return [f"{run}/{job.folder.name}: job {job.number} is cancelled" for job in found]


def _write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def _queue(script: Path, after: list[int]) -> int:
    depends = [f"--dependency=afterok:{':'.join(map(str, after))}"] if after else []
    # The environment of whoever submits must not decide what a job does, but for the word that a rebuild needs.
    rebuild = ",REBUILD" if os.environ.get("REBUILD") == "1" else ""
    return int(
        ask("sbatch", "--parsable", f"--export=HOME,USER,PATH,LANG{rebuild}", *depends, str(script)).split(";")[0]
    )
