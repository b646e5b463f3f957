"""What `make status` prints: for each stage whether it is done, queued, running or stopped, how far it is, and why.

Done is what has a manifest; queued and running is what Slurm says; progress is the last line that the stage itself
wrote into its job's log; tokens a second are those of the training log.
"""

import json
import re
from pathlib import Path

from pipeline.artifact import RESUME
from pipeline.cluster.jobs import sealed
from pipeline.cluster.queue import Job
from pipeline.cluster.slurm import CHECK, TASKS
from pipeline.plan.show import quantity
from pipeline.run import Plan

TAIL = 2**16  # bytes of a log that are looked at
# As pipeline.progress writes it, after srun's "0: " where a stage ran on several nodes.
PROGRESS = re.compile(r"(\d+/\d+ \w+ \(\d+%\))  \S+ \S+/s  (?:(\d+ s) left)?")
# What ended a job, in its own words or Slurm's.
FAULT = re.compile(r"^(?:\d+: )?((?:error|slurmstepd: error|srun: error|\w*Error): .*)$", re.M)


def tail(path: Path) -> str:
    """The end of a text file."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - TAIL))
        return file.read().decode("utf-8", errors="replace")


def progress(text: str) -> tuple[str, str]:
    """How far a stage is by its log, and the time that it has left; empty where it does not say."""
    found = PROGRESS.findall(text)
    return (found[-1][0], found[-1][1]) if found else ("", "")


def fault(text: str) -> str:
    """What ended a job by its log: our own last words, since srun's after them only say that something ended."""
    found = FAULT.findall(text)
    own = [line for line in found if not line.startswith(("srun:", "slurmstepd:"))]
    return (own or found or [""])[-1]


def speed(folder: Path) -> str:
    """Tokens a second by the training log of an unfinished stage."""
    log = folder / RESUME / "log.jsonl"
    if not log.is_file():
        return ""
    for line in reversed(tail(log).splitlines()):
        try:
            return f"{quantity(json.loads(line)['tokens_per_second'])} tokens/s"
        except (ValueError, KeyError):
            continue
    return ""


def row(todo: Plan, job: Job | None, log: Path | None, older: Job | None = None) -> list[str]:
    """stage, state, job, progress, speed, time left, why. older: what is queued for another fingerprint of it."""
    name = f"{todo.run.name}/{todo.stage.name}"
    found = sealed(todo)
    if found:
        return [name, "done", "", "", "", "", f"took {found['seconds']:.0f} s"]
    if older and not (job and job.active):
        word = "runs" if older.state == "RUNNING" else "queued"
        why = f"{word} from an older recipe: make cancel, then make submit"
        return [name, older.state.lower().replace("_", " "), str(older.number), "", "", "", why]
    text = tail(log) if log else ""
    if job is None and log is None:
        return [name, "not queued", "", "", "", "", ""]
    done, left = progress(text)
    last = fault(text)
    if job is None:
        return [name, "stopped", "", done, "", "", last or f"see {log}"]
    state, number = job.state.lower().replace("_", " "), str(job.number)
    if job.state == "RUNNING":
        return [name, state, number, done, speed(todo.folder), left, f"on {job.nodes}, {job.left} until its limit"]
    if job.active:
        return [name, state, number, done, "", "", job.reason]
    return [name, state, number, done, "", "", last or job.reason]


def check_rows(runs: set[Path], jobs: list[Job], logs: dict[Path, Path]) -> list[list[str]]:
    """A row for each comparison of a partition's nodes that waits, runs or failed; none for what is well. Without it
    its stages would only be gone from the queue. runs: the folders of the runs in question."""
    newest = {job.folder: job for job in jobs if job.fingerprint == CHECK}
    rows = []
    for folder in sorted(path for path in {*newest, *logs} if path.name.startswith(f"{CHECK}-")):
        job = newest.get(folder)
        last = fault(tail(logs[folder])) if folder in logs else ""
        name = f"{folder.parent.name}/{folder.name}"
        if folder.parent not in runs or (job and job.state == "COMPLETED") or not (job or last):
            continue
        state = job.state.lower().replace("_", " ") if job else "stopped"
        why = job.reason if job and (job.active or not last) else last
        if job and not job.active and folder not in logs:
            why += f"; it wrote no log: does its node have {folder.parent / 'logs'}?"
        rows.append([name, state, str(job.number) if job else "", "", "", "", why])
    return rows


def table(plans: list[Plan], jobs: list[Job], logs: dict[Path, Path]) -> str:
    """One line a stage. jobs: oldest first; logs: the newest log of each artifact's folder."""
    newest = {(job.folder, job.fingerprint): job for job in jobs}
    stages = [job for job in jobs if job.active and job.fingerprint not in (CHECK, TASKS)]
    wanted = {(todo.folder, todo.fingerprint[:16]) for todo in plans}
    older = {job.folder: job for job in stages if (job.folder, job.fingerprint) not in wanted}
    rows = [["stage", "state", "job", "progress", "speed", "left", ""]]
    rows += check_rows({todo.folder.parent for todo in plans}, jobs, logs)
    rows += [
        row(todo, newest.get((todo.folder, todo.fingerprint[:16])), logs.get(todo.folder), older.get(todo.folder))
        for todo in plans
    ]
    widths = [max(len(line[column]) for line in rows) for column in range(6)]
    return "".join(
        "  ".join([*(cell.ljust(width) for cell, width in zip(line[:6], widths, strict=True)), line[6]]).rstrip()
        + "\n"
        for line in rows
    )
