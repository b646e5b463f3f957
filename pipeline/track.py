"""Tracking: hands a training's log on to trackio, TensorBoard or W&B while it grows. `make dashboard` shows trackio's.

A process of its own follows log.jsonl, so that no tracker can slow or stop a training, and the stages know of none.
trackio and TensorBoard write under <runs>/.tracking and send nothing; what would make trackio send (TRACKIO_SPACE_ID
and the like in the environment) is taken away. W&B sends as it is set up to, where recipe.yaml says tracking: wandb.

    with following(folder, "trackio", runs): ...           # what the driver does around a stage
    python -m pipeline.track show --recipe storyworld      # the dashboard
"""

import argparse
import importlib
import importlib.util
import json
import os
import select
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.artifact import CLAIM, RESUME, write_atomically
from pipeline.render import without_paths
from pipeline.stage import UserError

STORE = ".tracking"
INTERVAL = 2.0  # seconds between looks at the log
PATIENCE = 60.0  # seconds that a tracker gets to end after its stage
LOG, METRICS = "log.jsonl", "metrics.json"

Numbers = dict[str, float]


@dataclass(frozen=True, kw_only=True)
class Tracker:
    """What a log is handed on to. log(numbers, step); finish() flushes."""

    log: Callable[[Numbers, int], Any]
    finish: Callable[[], Any]


def trackio(project: str, name: str, config: dict[str, Any], store: Path) -> Tracker:
    """trackio's own database, in TRACKIO_DIR."""
    module = importlib.import_module("trackio")
    quiet = {"auto_log_gpu": False, "auto_log_cpu": False, "embed": False}
    module.init(project=project, name=name, config=config, resume="allow", **quiet)
    return Tracker(log=lambda numbers, step: module.log(numbers, step=step), finish=module.finish)


def tensorboard(project: str, name: str, config: dict[str, Any], store: Path) -> Tracker:
    """Event files under <store>/tensorboard; `tensorboard --logdir` shows them."""
    writer = importlib.import_module("torch.utils.tensorboard").SummaryWriter(store / "tensorboard" / project / name)
    writer.add_text("recipe", json.dumps(config))

    def log(numbers: Numbers, step: int) -> None:
        for key, value in numbers.items():
            writer.add_scalar(key, value, step)

    return Tracker(log=log, finish=writer.close)


def wandb(project: str, name: str, config: dict[str, Any], store: Path) -> Tracker:
    """Weights & Biases, by its own settings (WANDB_MODE, the stored login)."""
    module = importlib.import_module("wandb")
    module.init(project=project, name=name, id=name, resume="allow", config=config, dir=store)
    return Tracker(log=lambda numbers, step: module.log(numbers, step=step), finish=module.finish)


TRACKERS: dict[str, Callable[[str, str, dict[str, Any], Path], Tracker]] = {
    "trackio": trackio, "tensorboard": tensorboard, "wandb": wandb,
}  # fmt: skip


def check(tool: str | None) -> None:
    """Raises UserError where the recipe names a tracker that is not installed."""
    if tool is not None and importlib.util.find_spec(tool) is None:
        raise UserError(
            f"recipe.yaml: tracking = {tool}: the package {tool} is not installed. Install it, or say tracking: null."
        )


def new_entries(folder: Path, last: int) -> list[dict[str, Any]]:
    """The whole lines of a stage's log after step `last`. The log may lie among what a killed run goes on from."""
    found = []
    for path in (folder / RESUME / LOG, folder / LOG):
        if path.is_file():
            lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
            entries = [json.loads(line) for line in lines if line.endswith("\n")]
            found = [entry for entry in entries if entry["step"] > last]
            break
    return found


def follow(folder: Path, tool: str, store: Path, ended: Callable[[], bool]) -> int:
    """Hands on what the log of the stage in `folder` gets until `ended()`; returns the last step.

    A resumed stage goes on where the tracker stood, which is noted beside its data.
    """
    job = json.loads((folder / CLAIM).read_text(encoding="utf-8"))
    project, name = job["run_name"], f"{job['stage']}-{job['fingerprint'][:8]}"
    store.mkdir(parents=True, exist_ok=True)
    noted = store / f"{project}-{name}.step"
    last = int(noted.read_text()) if noted.is_file() else -1
    tracker = None
    going = True
    while going:
        going = not ended()
        entries = new_entries(folder, last)
        metrics = None if going else folder / METRICS
        if not entries and not (metrics and metrics.is_file()):
            continue
        config = {"seed": job["seed"], "fingerprint": job["fingerprint"], **without_paths(job["recipe"])}
        tracker = tracker or TRACKERS[tool](project, name, config, store)
        for entry in entries:
            last = entry["step"]
            tracker.log({key: value for key, value in entry.items() if key != "step"}, last)
        if metrics and metrics.is_file():
            final = json.loads(metrics.read_text(encoding="utf-8"))
            tracker.log({f"final/{key}": value for key, value in final.items()}, max(last, 0))
        write_atomically(noted, str(last))
    if tracker:
        tracker.finish()
    return last


def environment(store: Path) -> dict[str, str]:
    """The tracker's environment, without what would make trackio send anything anywhere."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("TRACKIO_")}
    source = str(Path(__file__).resolve().parent.parent)
    paths = filter(None, [source, kept.get("PYTHONPATH")])
    return {
        "HF_HUB_DISABLE_TELEMETRY": "1",
        **kept,
        "TRACKIO_DIR": str(store.resolve() / "trackio"),
        "PYTHONPATH": os.pathsep.join(paths),
    }


@contextmanager
def following(folder: Path, tool: str | None, runs: Path) -> Iterator[None]:
    """Follows the claimed stage in `folder` while entered, in a process that ends with it. A tracker that fails costs
    a line on the terminal and nothing else."""
    if tool is None:
        yield
        return
    store = runs / STORE
    process = subprocess.Popen(
        [sys.executable, "-m", "pipeline.track", "follow", str(folder.resolve()), tool, str(store.resolve())],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        env=environment(store),
        start_new_session=True,
    )
    try:
        yield
    finally:
        assert process.stdin is not None, "it was asked for"
        process.stdin.close()
        try:
            status = process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            status = process.wait()
        if status:
            sys.stderr.write(f"tracking: {tool} failed ({status}); the stage is not affected, its log is whole\n")


def input_closed() -> bool:
    """Whether the driver has closed our standard input; waits for it up to INTERVAL seconds."""
    ready, _, _ = select.select([0], [], [], INTERVAL)
    return bool(ready) and not os.read(0, 1)


def show(recipe: str, runs: Path) -> int:
    """Opens trackio's dashboard on this machine, until it is interrupted; returns the exit status."""
    store = runs / STORE
    if not (store / "trackio").is_dir():
        raise UserError(f"{store}: nothing was tracked with trackio yet. Train something first: make pretrain")
    command = [sys.executable, "-m", "trackio.cli", "show", "--project", Path(recipe).name]
    return subprocess.run(command, env=environment(store), check=False).returncode


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.track", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("follow", help="what the driver starts")
    one.add_argument("folder", type=Path)
    one.add_argument("tool", choices=list(TRACKERS))
    one.add_argument("store", type=Path)
    other = commands.add_parser("show", help="open the dashboard")
    other.add_argument("--recipe", default="storyworld")
    other.add_argument("--runs", type=Path, default=Path("runs"))
    args = parser.parse_args(argv)
    try:
        if args.command == "show":
            return show(args.recipe, args.runs)
        os.nice(10)  # the training comes first
        follow(args.folder, args.tool, args.store, input_closed)
    except UserError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
