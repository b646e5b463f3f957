"""A recipe on a cluster: `python -m pipeline.cluster submit --recipe storyworld --cluster lab`

render writes the scripts (Slurm) or the task (SkyPilot) to look at and queues nothing; submit queues what the recipe
still needs; status says how each stage is; cancel takes the run's jobs out of the queue. `make render`, `make submit`,
`make status` and `make cancel` call this.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from pipeline.chain import CHAIN
from pipeline.cluster import profile as profiles
from pipeline.cluster import queue, sky, slurm
from pipeline.cluster.jobs import check, needed, plans
from pipeline.cluster.profile import Slurm
from pipeline.cluster.status import table
from pipeline.recipe import Recipe, load
from pipeline.run import link
from pipeline.stage import UserError


def render(profile: Slurm | profiles.Sky, run: Recipe, where: str, out: Path) -> str:
    """Writes what submit would submit into a folder. Returns what was written."""
    if isinstance(profile, profiles.Sky):
        texts = {"task.yaml": sky.task(profile, run)}
    else:
        steps = needed(run, Path(profile.runs))
        check([step.plan for step in steps], profile)
        checks = slurm.check_scripts(profile, run.name, steps)
        texts = {f"{slurm.CHECK}-{partition or 'default'}.sbatch": text for partition, text in checks.items()}
        texts |= {
            f"{step.name.replace('/', '-')}.sbatch": slurm.stage_script(profile, step, where, run.name)
            for step in steps
        }
    out.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (out / name).write_text(text, encoding="utf-8")
    return "".join(f"{out / name}\n" for name in texts) or f"{run.name}: every stage is done\n"


def submit(profile: Slurm | profiles.Sky, run: Recipe, where: str) -> str:
    """Queues what is still needed. Returns what was queued."""
    if isinstance(profile, profiles.Sky):
        return sky.submit(sky.task(profile, run), run.name)
    folder = Path(profile.runs)
    if not folder.is_dir():
        raise UserError(f"{where}: runs = {folder}: no such folder here. Make it, on storage that every node shares.")
    steps = needed(run, folder)
    check([step.plan for step in steps], profile)
    lines = queue.submit(profile, run.name, steps, where)
    for stage in CHAIN:
        if run.owner(stage.name) is not None:
            link(run, stage.name, folder)
    return "\n".join(lines or [f"{run.name}: every stage is done"]) + "\n"


def status(profile: Slurm | profiles.Sky, run: Recipe) -> str:
    """How each stage is."""
    if isinstance(profile, profiles.Sky):
        return sky.status(run.name)
    found = plans(run, Path(profile.runs))
    return table(found, queue.jobs(), slurm.newest_logs(Path(profile.runs), {todo.run.name for todo in found}))


def cancel(profile: Slurm | profiles.Sky, run: Recipe) -> str:
    """Takes the run's jobs out of the queue."""
    if isinstance(profile, profiles.Sky):
        return sky.cancel(run.name)
    return "\n".join(queue.cancel(profile, run.name) or [f"{run.name}: nothing of it is queued"]) + "\n"


def check_words(profile: Slurm | profiles.Sky, args: argparse.Namespace) -> None:
    """Refuses what `make` takes elsewhere and what would be ignored here."""
    runs = profile.runs if isinstance(profile, Slurm) else sky.RUNS
    if args.runs is not None and args.runs.rstrip("/") != runs:
        raise UserError(f"RUNS={args.runs}: on a cluster the runs lie in {runs}, by {args.cluster}. Leave RUNS= out.")
    if args.accel is not None:
        raise UserError(
            f"ACCEL={args.accel}: on a cluster the profile says it: accel: {args.accel}, under default or a stage of "
            f"{args.cluster}. Leave ACCEL= out."
        )


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.cluster", description=str(__doc__).splitlines()[0])
    parser.add_argument("command", choices=["render", "submit", "status", "cancel"])
    parser.add_argument("--recipe", default="storyworld", help="a folder under recipes/, or a path")
    parser.add_argument("--cluster", required=True, help="a profile's name, or the path of its file")
    parser.add_argument("--runs", help="accepted where it is the profile's own: that says where the runs lie")
    parser.add_argument("--accel", help="never accepted: the profile says it, for each stage")
    parser.add_argument("--out", type=Path, help="render: where the files go; default: runs/<recipe>/jobs")
    args = parser.parse_args(argv)
    try:
        profile, run = profiles.load(args.cluster), load(args.recipe, CHAIN)
        if isinstance(profile, profiles.Ray):
            raise UserError(
                f"CLUSTER={args.cluster}: Ray takes the corpus stage alone: make corpus CLUSTER={args.cluster}."
            )
        check_words(profile, args)
        where = str(profiles.find(args.cluster).resolve())
        if args.command == "render":
            text = render(profile, run, where, args.out or Path("runs") / run.name / "jobs")
        elif args.command == "submit":
            text = submit(profile, run, where)
        else:
            text = (status if args.command == "status" else cancel)(profile, run)
        sys.stdout.write(text)
        return 0
    except UserError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2


if __name__ == "__main__":
    sys.exit(main())
