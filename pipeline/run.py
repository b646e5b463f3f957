"""The driver: makes one stage's artifact, or finds that it is there. `python -m pipeline.run sft --recipe storyworld`

It decides: same fingerprint, skip; an unfinished folder of the same fingerprint, resume; anything else, set the old
folder aside and build. The work happens in a worker process (`pipeline.worker`); only the driver writes a manifest.
Exit status: 0 done, 2 the user's mistake (one message), 143 after SIGTERM with a checkpoint, 1 anything else.
"""

import argparse
import os
import shlex
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipeline import artifact
from pipeline.chain import BY_NAME, CHAIN, TRAINED
from pipeline.launch import HERE, Hosts, Outcome, config, launch
from pipeline.machine import describe, provenance
from pipeline.recipe import HubSource, Recipe, load, override, sourced
from pipeline.stage import Stage, StageRecipe, UserError, resolve
from pipeline.track import check, following

MINIMUM_FREE = 100 * 2**20  # bytes
EXPENSIVE = 3600  # seconds; an artifact that cost more is replaced only with REBUILD=1


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a stage is to be: its identity and where its inputs lie."""

    stage: Stage
    recipe: StageRecipe
    identity: dict[str, Any]
    inputs: dict[str, Path]
    folder: Path
    run: Recipe
    cluster: str | None = None

    @property
    def fingerprint(self) -> str:
        return artifact.fingerprint(self.identity)


def stage_inputs(stage: Stage, run: Recipe) -> dict[str, tuple[Recipe, str]]:
    """For each input's name the recipe that it belongs to and its stage.

    Where a stage looks beside the base, "<base>/<stage>" is the base's own: of a stage that this recipe overrides, and
    of one that it inherits though it overrides something that the stage was made from.
    """
    inputs = {}
    for name in stage.reads:
        if run.owner(name) is None:
            continue
        base = run.base if stage.beside_base and run.base and run.base.owner(name) else None
        if base and (name in run.own or overridden(name, run)):
            inputs[f"{base.name}/{name}"] = (base, name)
        if name in run.own or not base or not overridden(name, run):
            inputs[name] = (run, name)
    return inputs


def overridden(name: str, run: Recipe) -> bool:
    """Whether the recipe has a file of its own for anything that the stage is made from."""
    return any(source in run.own or overridden(source, run) for source in BY_NAME[name].reads)


def folder_of(run: Recipe, stage: str, runs: Path) -> Path:
    """Where the artifact lies: in the run of the recipe, or of its base where that has the stage's file."""
    owner = run.owner(stage)
    assert owner is not None, f"{stage} is left out of {run.name}"
    return runs / owner.name / stage


def plan(
    name: str,
    run: Recipe,
    runs: Path,
    changed: StageRecipe | None = None,
    known: dict[tuple[str, str], Plan] | None = None,
) -> Plan:
    """Works out a stage's identity from its recipe and, recursively, those of everything that it reads.

    `known` holds the plans worked out so far, since hashing what `collect` reads can take long.
    """
    known = {} if known is None else known
    owner = run.owner(name)
    assert owner is not None, f"{name} is left out of {run.name}"
    if (owner.name, name) in known:
        return known[owner.name, name]
    recipe = changed or owner.own[name]
    stage = sourced(BY_NAME[name], recipe)
    sources = stage_inputs(stage, owner)
    prints = {key: plan(source, of, runs, known=known).fingerprint for key, (of, source) in sources.items()}
    outside = resolve(stage.outside)(recipe) if stage.outside else None
    known[owner.name, name] = Plan(
        stage=stage,
        recipe=recipe,
        identity=artifact.identity(stage, recipe, owner.seed, prints, outside),
        inputs={key: folder_of(of, source, runs) for key, (of, source) in sources.items()},
        folder=runs / owner.name / name,
        run=owner,
    )
    return known[owner.name, name]


def check_inputs(todo: Plan) -> None:
    """Raises UserError where an input is missing, or is not what this recipe would have made."""
    for name, folder in todo.inputs.items():
        sealed = artifact.manifest(folder)
        make = f"`make {name.rpartition('/')[2]} RECIPE={todo.run.name}`"
        if sealed is None:
            raise UserError(f"{todo.stage.name}: its input {folder} is missing or unfinished. Run {make} first.")
        wanted = todo.identity["inputs"][name]
        if sealed["fingerprint"] != wanted:
            raise UserError(
                f"{todo.stage.name}: its input {folder} was made by another recipe (fingerprint "
                f"{sealed['fingerprint'][:16]}, this recipe's is {wanted[:16]}). Run {make}, or name the right folder."
            )


def check_disk(todo: Plan) -> None:
    """Raises UserError where so little space is free that the stage cannot end well."""
    todo.folder.parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(todo.folder.parent).free
    if free < MINIMUM_FREE:
        raise UserError(
            f"{todo.folder.parent}: only {free / 2**20:.0f} MB are free there and a stage wants at least "
            f"{MINIMUM_FREE / 2**20:.0f} MB. Free some (`make gc` lists what was set aside), or name another RUNS=."
        )


def disk_note(todo: Plan) -> str:
    """What to add to the message about a failed worker when the disk is the likely cause."""
    free = shutil.disk_usage(todo.folder.parent).free
    return f". Only {free / 2**20:.0f} MB are free on its disk: free some first" if free < MINIMUM_FREE else ""


def check_worth(todo: Plan, sealed: dict[str, Any]) -> None:
    """Raises UserError where an artifact that was expensive would be replaced and nobody said REBUILD=1."""
    if sealed["seconds"] > EXPENSIVE and os.environ.get("REBUILD") != "1":
        changes = artifact.differing(sealed["identity"], todo.identity)
        lines = "\n".join(f"  {key}: {str(old)[:60]} -> {str(new)[:60]}" for key, old, new in changes)
        raise UserError(
            f"{todo.folder}: took {sealed['seconds'] / 3600:.1f} hours to make, and would be made anew because of\n"
            f"{lines}\nSay REBUILD=1 to set it aside and go on, or undo the change."
        )


def tracker(todo: Plan) -> str | None:
    """What the stage's log is handed on to while it works; None for one that trains nothing."""
    return todo.run.tracking if todo.stage.name in TRAINED and not isinstance(todo.recipe, HubSource) else None


def check_start(todo: Plan, accel: str | None) -> None:
    """Raises UserError where the stage lacks what it needs to work: inputs, room, its accelerate config, a tracker."""
    check_inputs(todo)
    check_disk(todo)
    config(accel)
    check(tracker(todo))


def make_room(todo: Plan, accel: str | None) -> str:
    """Settles what lies in the stage's folder. Returns "skip", "resume" or "build".

    Raises UserError where the stage would have to work and could not start; then everything lies where it lay.
    """
    folder, wanted = todo.folder, todo.fingerprint
    linked = folder.is_symlink()  # to a base's artifact, which stays where it is
    sealed = None if linked else artifact.manifest(folder)
    if sealed is not None and sealed["fingerprint"] == wanted:
        return "skip"
    if sealed is not None:
        check_worth(todo, sealed)
    resumes = sealed is None and not linked and artifact.claimed(folder) == wanted
    kept = None if resumes else artifact.kept_aside(folder, wanted)
    if kept is None:
        check_start(todo, accel)
    if linked:
        folder.unlink()
    elif sealed is not None:
        old = artifact.set_aside(folder, sealed["fingerprint"])
        say(todo, f"the recipe or an input changed; the old artifact is kept in {old}")
    elif not resumes and folder.exists() and any(folder.iterdir()):
        old = artifact.set_aside(folder, artifact.claimed(folder) or "unknown")
        say(todo, f"the unfinished work of another recipe is kept in {old}")
    if kept is not None:
        kept.rename(folder)
        return "skip"
    return "resume" if resumes else "build"


def say(todo: Plan, message: str) -> None:
    """One line on the terminal about this stage."""
    sys.stderr.write(f"[{todo.run.name}/{todo.stage.name}] {message}\n")
    sys.stderr.flush()


def build(
    todo: Plan, accel: str | None, runs: Path, hosts: Hosts | None = None, python: Sequence[str] | None = None
) -> int:
    """Makes the artifact unless it is there; `runs` is where tracking writes. Returns the exit status."""
    with artifact.lock(todo.folder) as descriptor:
        decision = make_room(todo, accel)
        if decision == "skip":
            (todo.folder / artifact.MANIFEST).touch()
            artifact.sweep(todo.folder)
            say(todo, "is up to date")
            return 0
        origin = provenance(python)
        job = {
            "stage": todo.stage.name,
            "run_name": todo.run.name,
            "fingerprint": todo.fingerprint,
            "recipe": todo.recipe.model_dump(mode="json"),
            "inputs": {name: str(folder.resolve()) for name, folder in todo.inputs.items()},
            "seed": todo.run.seed,
            "cluster": todo.cluster,
        }
        artifact.claim(todo.folder, job)
        say(todo, "resumes" if decision == "resume" else "starts")
        started = time.time()
        with following(todo.folder, tracker(todo), runs):
            outcome = launch(todo.stage, todo.folder, accel, descriptor, hosts, python or HERE)
        if outcome.status != 0:
            say(todo, f"stopped with status {outcome.status}; the same command goes on from there{disk_note(todo)}")
            return outcome.status
        seal(todo, outcome, started, origin)
    return 0


def seal(todo: Plan, outcome: Outcome, started: float, origin: dict[str, Any]) -> None:
    """Writes the manifest and says what the stage cost. origin: commit and versions."""
    sealed = artifact.seal(
        todo.folder,
        {
            "stage": todo.stage.name,
            "run": todo.run.name,
            "fingerprint": todo.fingerprint,
            "identity": todo.identity,
            "recipe": todo.recipe.model_dump(mode="json"),
            "inputs": {
                name: {"folder": os.path.relpath(folder, todo.folder), "fingerprint": todo.identity["inputs"][name]}
                for name, folder in todo.inputs.items()
            },
            "metrics": outcome.metrics,
            "seeds": {"run": todo.run.seed},
            "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(started)),
            "seconds": round(outcome.seconds, 3),
            "cpu_seconds": round(outcome.cpu_seconds, 3),
            "peak_memory_bytes": outcome.peak_memory_bytes,
            "load": outcome.load,
            "processes": outcome.processes,
            "energy_joules": round(sum(outcome.joules.values()), 1) if outcome.joules else None,
            "energy_source": " + ".join(outcome.joules) or None,
            "usd_per_hour": todo.run.usd_per_hour,
            "hardware": describe(),
            **origin,
        },
    )
    # make compares times: a recipe that was edited while the stage ran must be newer than the manifest.
    os.utime(todo.folder / artifact.MANIFEST, (started, started))
    say(
        todo,
        f"done in {sealed['seconds']:.1f} s ({sealed['cpu_seconds']:.0f} CPU-s, load {sealed['load']:.1f}, "
        f"peak {sealed['peak_memory_bytes'] / 2**20:.0f} MB)",
    )


def link(run: Recipe, name: str, runs: Path) -> None:
    """Lets an inherited stage be found under this run too, by a relative link to the base's artifact."""
    target, place = folder_of(run, name, runs), runs / run.name / name
    if place == target:
        return
    place.parent.mkdir(parents=True, exist_ok=True)
    if place.is_symlink():
        place.unlink()
    elif place.exists():
        found = artifact.manifest(place)
        artifact.set_aside(place, found["fingerprint"] if found else "unknown")
    place.symlink_to(os.path.relpath(target, place.parent), target_is_directory=True)


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.run", description=__doc__.splitlines()[0])
    parser.add_argument("stage", choices=list(BY_NAME))
    parser.add_argument("--recipe", default="storyworld", help="a folder under recipes/, or a path")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where runs are written")
    parser.add_argument("--accel", help="a file under accelerate_configs/; default: picked for the machine")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change a key; needs --out")
    parser.add_argument("--input", action="append", default=[], metavar="STAGE=FOLDER", help="take an input from here")
    parser.add_argument("--out", type=Path, help="write the artifact here instead of into the run")
    parser.add_argument(
        "--hosts", help="addresses of the machines to train on, this one first; see pipeline.cluster.node"
    )
    parser.add_argument("--port", type=int, default=29_500, help="with --hosts: this port and the next are used here")
    parser.add_argument("--quiet", type=int, default=60, help="with --hosts: seconds of silence, then a host is lost")
    parser.add_argument("--cluster", help="a profile, for a stage whose recipe shares its work out over a cluster")
    parser.add_argument(
        "--python", help="what starts Python for the stage's own processes, such as one in a container"
    )
    parser.add_argument(
        "--expect", metavar="FINGERPRINT", help="refuse where the stage's begins otherwise: a queued job"
    )
    parser.add_argument("--if-any", action="store_true", help="do nothing where the recipe leaves the stage out")
    return parser.parse_args(argv)


def named_inputs(todo: Plan, given: list[str]) -> dict[str, Path]:
    """The plan's inputs with those that were named by hand."""
    inputs = dict(todo.inputs)
    for text in given:
        name, _, folder = text.partition("=")
        if name not in inputs:
            raise UserError(f"--input {text}: {todo.stage.name} reads {', '.join(inputs) or 'nothing'}, not '{name}'.")
        inputs[name] = Path(folder)
    return inputs


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit status."""
    args = arguments(argv)
    try:
        run = load(args.recipe, CHAIN)
        owner = run.owner(args.stage)
        if owner is None:
            message = f"{run.name} leaves '{args.stage}' out: {run.folder} has no {args.stage}.yaml."
            if not args.if_any:
                raise UserError(f"{message} Copy recipes/storyworld/{args.stage}.yaml there and edit it.")
            sys.stderr.write(f"[{run.name}/{args.stage}] left out: the recipe has no {args.stage}.yaml\n")
            return 0
        if args.set and not args.out:
            raise UserError("--set changes the result, so it needs --out FOLDER. For a lasting change write a recipe.")
        changed = override(owner.own[args.stage], args.set, args.stage) if args.set else None
        todo = plan(args.stage, run, args.runs, changed)
        todo = replace(
            todo, inputs=named_inputs(todo, args.input), folder=args.out or todo.folder, cluster=args.cluster
        )
        if args.expect and not todo.fingerprint.startswith(args.expect):
            raise UserError(
                f"{run.name}/{args.stage}: the recipe, or what it reads, changed after this job was submitted: its "
                f"fingerprint was {args.expect}, now {todo.fingerprint[:16]}. `make cancel`, then `make submit` again."
            )
        hosts = Hosts(names=args.hosts, port=args.port, quiet=args.quiet) if args.hosts else None
        status = build(todo, args.accel, args.runs, hosts, shlex.split(args.python) if args.python else None)
        if status == 0 and not args.out:
            link(run, args.stage, args.runs)
        return status
    except UserError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    except OSError as error:
        # A full disk or an unwritable folder: no traceback helps; what is half-written has no manifest.
        sys.stderr.write(f"error: {error.strerror or error}: {error.filename or args.runs}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main())
