"""A user of the Slurm that tests/real/slurm_cluster.py starts: a folder for runs, a profile, and `make submit`."""

import contextlib
import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import yaml

from pipeline.artifact import sha256
from tests.real.slurm_cluster import SlurmCluster, until

ROOT = Path(__file__).resolve().parent.parent.parent
TOY = ROOT / "tests" / "toy"
PROFILE = {
    "kind": "slurm",
    "setup": "export MALLOC_ARENA_MAX=2",
    "warning": 30,
    "default": {"partition": "toy", "cpus": 1, "memory": "4G", "time": "0:30:00"},
    "stages": {"pretrain": {"nodes": 2}},
}


class Lab:
    """A folder for runs, a profile for it, and the commands of a user."""

    def __init__(self, cluster: SlurmCluster, folder: Path, **changes: object) -> None:
        self.cluster, self.runs = cluster, folder / "runs"
        self.runs.mkdir(parents=True, exist_ok=True)
        self.profile = folder / "lab.yaml"
        self.profile.write_text(yaml.safe_dump({**PROFILE, "runs": str(self.runs), **changes}))

    def make(self, target: str, recipe: Path = TOY) -> subprocess.CompletedProcess:
        venv = Path(sys.executable).parent.parent
        return subprocess.run(
            [
                "make", "--no-print-directory", "-o", f"{venv}/.ready", f"VENV={venv}", target, f"RECIPE={recipe}",
                f"CLUSTER={self.profile}",
            ],
            cwd=ROOT, env=self.cluster.env, capture_output=True, text=True, check=False,
        )  # fmt: skip

    def submit(self, recipe: Path = TOY) -> dict[str, int]:
        """The numbers of the jobs that were submitted."""
        done = self.make("submit", recipe)
        assert done.returncode == 0, done.stderr
        rows = [line.split(": job ") for line in done.stdout.splitlines() if ": job " in line]
        return {name.rpartition("/")[2]: int(rest.split(",")[0]) for name, rest in rows}

    def log(self, stage: str) -> str:
        return "".join(path.read_text() for path in sorted((self.runs / "toy" / "logs").glob(f"{stage}-[0-9]*.log")))

    def wait(self, jobs: dict[str, int], seconds: float) -> None:
        """Until every job is completed; fails at once, with the log, where one is not."""

        names = {number: name for name, number in jobs.items()}

        def completed() -> bool:
            states = {names[number]: state for number, state in self.cluster.states().items() if number in names}
            for name, state in states.items():
                assert state in ("PENDING", "RUNNING", "COMPLETING", "COMPLETED"), f"{name} {state}: {self.log(name)}"
            return set(states.values()) == {"COMPLETED"}

        until(completed, seconds, lambda: f"not done in {seconds} s: {self.make('status').stdout}")

    def weights(self, stage: str = "pretrain") -> str:
        return sha256(self.runs / "toy" / stage / "model" / "model.safetensors")

    def start_from(self, other: "Lab") -> "Lab":
        """Takes over what comes before pretraining."""
        for stage in ("collect", "corpus", "tokenizer"):
            shutil.copytree(other.runs / "toy" / stage, self.runs / "toy" / stage)
        return self

    def checkpointed(self, run: str = "toy") -> bool:
        return any((self.runs / run / "pretrain" / "resume").glob("step-*/sha256.json"))

    def steps(self) -> int:
        """The lines in the log of a pretraining that is under way."""
        log = self.runs / "toy" / "pretrain" / "resume" / "log.jsonl"
        return log.read_text().count("\n") if log.exists() else 0

    @contextlib.contextmanager
    def still(self) -> Iterator[list[psutil.Process]]:
        """Holds the workers of pretraining where they are: what Slurm does meets them, however fast they train."""
        words = ["pipeline.worker", str(self.runs / "toy" / "pretrain")]
        workers = [one for one in psutil.process_iter(["cmdline"]) if (one.info["cmdline"] or [])[-2:] == words]
        assert workers, self.log("pretrain")
        for worker in workers:
            worker.suspend()
        try:
            yield workers
        finally:
            for worker in workers:
                with contextlib.suppress(psutil.NoSuchProcess):
                    worker.resume()


def told_to_stop(process: psutil.Process) -> bool:
    """Whether SIGTERM waits for a process that stands still (proc(5), ShdPnd), or Slurm's SIGCONT woke it for that."""
    with contextlib.suppress(psutil.NoSuchProcess, FileNotFoundError):
        rows = dict(row.split(":", 1) for row in Path(f"/proc/{process.pid}/status").read_text().splitlines())
        waits = bool(int(rows["ShdPnd"], 16) >> (signal.SIGTERM - 1) & 1)
        return waits or process.status() != psutil.STATUS_STOPPED
    return True


def drive(recipe: Path, runs: Path) -> None:
    """Pretrains in one process, here and without Slurm."""
    subprocess.run(
        [sys.executable, "-m", "pipeline.run", "pretrain", "--recipe", str(recipe), "--runs", str(runs)],
        cwd=ROOT, check=True, capture_output=True,
    )  # fmt: skip


def manifest(runs: Path, stage: str) -> dict:
    return json.loads((runs / "toy" / stage / "manifest.json").read_text())


def pretraining_alone(folder: Path, **changes: object) -> Path:
    """The toy recipe up to pretraining."""
    recipe = folder / "recipes" / "toy"
    recipe.mkdir(parents=True)
    for stage in ("collect", "corpus", "tokenizer", "pretrain"):
        shutil.copyfile(TOY / f"{stage}.yaml", recipe / f"{stage}.yaml")
    if changes:
        keys = yaml.safe_load((TOY / "pretrain.yaml").read_text())
        (recipe / "pretrain.yaml").write_text(yaml.safe_dump({**keys, **changes}))
    return recipe
