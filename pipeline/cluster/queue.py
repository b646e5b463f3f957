"""What is queued on Slurm: asks, queues a chain of stages, cancels.

Slurm alone knows it: every job carries its artifact's fingerprint and folder in its comment, so that submitting twice
queues nothing twice, and nothing here can be out of date.
"""

import os
import re
import subprocess
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

from pipeline.cluster.jobs import Step
from pipeline.cluster.profile import Slurm
from pipeline.cluster.slurm import CHECK, TASKS, check_scripts, logs, stage_script, submits
from pipeline.stage import UserError

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


@dataclass(frozen=True, kw_only=True)
class Job:
    """A job of ours as Slurm shows it, or all of an array. used, left: [days-]hours:minutes:seconds. fingerprint: its
    artifact's, CHECK or TASKS. by: the run for which it was queued. after: the jobs that it still waits for."""

    number: int
    state: str
    used: str
    left: str
    nodes: str
    reason: str
    fingerprint: str
    folder: Path
    by: str = ""
    after: frozenset[int] = frozenset()

    @property
    def active(self) -> bool:
        return self.state in ACTIVE


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
    text = ask("squeue", "--me", "--states=all", "--noheader", "--sort=i", "--format=%F|%T|%M|%L|%N|%r|%E|%k")
    found = []
    for line in text.splitlines():
        number, state, used, left, nodes, reason, after, comment = line.strip().split("|", 7)
        kind, _, rest = comment.partition(":")
        if kind == "groundup":
            fingerprint, folder, by = (rest.split(":") + [""] * 2)[:3]
            found.append(
                Job(number=int(number), state=state, used=used, left=left, nodes=nodes, reason=reason,
                    fingerprint=fingerprint, folder=Path(folder), by=by,
                    after=frozenset(map(int, re.findall(r":(\d+)", after))))
            )  # fmt: skip
    return found


def arrays(artifact: Path) -> list[int]:
    """The arrays of tasks of an artifact that wait, run, or have not quite ended."""
    found = {job.number for job in jobs() if is_array(job, {artifact}) and (job.active or job.state == "COMPLETING")}
    return sorted(found)


def is_array(job: Job, folders: set[Path]) -> bool:
    """Whether the job is an array of tasks of one of the artifacts."""
    return job.fingerprint == TASKS and job.folder in folders


def end(numbers: list[int]) -> None:
    """Cancels jobs, or arrays of them."""
    if numbers:
        ask("scancel", *map(str, numbers))


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

    A step that is queued already is left alone. Every script is tried out before the first is queued. Raises UserError
    where an older recipe's job of the same stage is queued.
    """
    active = [job for job in jobs() if job.active]
    check_older(steps, active, run)
    queued = {(job.fingerprint, job.folder): job.number for job in active}
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
            logs(profile, step.plan.run.name) / f"{stage}.sbatch", stage_script(profile, step, where, run)
        )
        try_out(scripts[step.plan.folder], profile.resources(stage).partition, where)
    token = uuid.uuid4().hex
    with submits(profile, run).open("a", encoding="utf-8") as file:
        file.write(f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} {token}\n")
    checked = {partition: _queue(script, [], token) for partition, script in checks.items()}
    lines += [f"{run}/{CHECK}-{partition or 'default'}: job {number}" for partition, number in checked.items()]
    for step in new:
        after = [before for folder in step.after if (before := waiting[folder])]
        after.append(checked[profile.resources(step.plan.stage.name).partition])
        waiting[step.plan.folder] = _queue(scripts[step.plan.folder], after)
        lines.append(f"{step.name}: job {waiting[step.plan.folder]}, after {', '.join(map(str, sorted(after)))}")
    return lines


def check_older(steps: list[Step], active: list[Job], run: str) -> None:
    """Raises UserError where jobs of an older recipe, which would refuse to start, are queued for these stages."""
    wanted = {step.plan.folder: step.plan.fingerprint[:16] for step in steps}
    older = [
        f"{job.folder.parent.name}/{job.folder.name} (job {job.number})"
        for job in active
        if job.fingerprint not in (CHECK, TASKS) and wanted.get(job.folder, job.fingerprint) != job.fingerprint
    ]
    if older:
        raise UserError(
            f"{run}: queued from an older recipe: {', '.join(older)}. They were submitted before the recipe, or what "
            f"it reads, changed. Nothing was submitted: `make cancel`, then `make submit` again."
        )


def cancel(profile: Slurm, run: str) -> list[str]:
    """Cancels the jobs of a run, with those that it had queued for its base and the arrays that any of them submitted.
    Returns a line for each. What another run waits for is left."""
    runs, active = Path(profile.runs), [job for job in jobs() if job.active]
    own = {runs / run, (Path("runs") / run).absolute()}  # the second: an array that `make corpus` left on this machine
    found = [job for job in active if job.folder.parent in own or (job.by == run and job.folder.parent.parent == runs)]
    while kept := awaited(found, [job for job in active if job not in found], own):
        found = [job for job in found if job not in kept]
    folders = {job.folder for job in found}
    found += [job for job in active if is_array(job, folders) and job not in found]
    end(sorted({job.number for job in found}))
    names = {job.number: f"{job.folder.parent.name}/{job.folder.name}" for job in found}
    left = [job for job in active if job.by == run and job not in found]
    return [f"{name}: job {number} is cancelled" for number, name in names.items()] + [
        f"{job.folder.parent.name}/{job.folder.name}: job {job.number} stays, as another run waits for it"
        for job in left
    ]


def awaited(found: list[Job], others: list[Job], own: set[Path]) -> list[Job]:
    """Those of a base's jobs for which one of the others waits."""
    numbers = {number for job in others for number in job.after}
    return [job for job in found if job.number in numbers and job.folder.parent not in own]


def _write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def _queue(script: Path, after: list[int], *arguments: str) -> int:
    depends = [f"--dependency=afterok:{':'.join(map(str, after))}"] if after else []
    # The environment of whoever submits must not decide what a job does, but for the word that a rebuild needs.
    rebuild = ",REBUILD" if os.environ.get("REBUILD") == "1" else ""
    export = f"--export=HOME,USER,PATH,LANG{rebuild}"
    return int(ask("sbatch", "--parsable", export, *depends, str(script), *arguments).split(";")[0])
