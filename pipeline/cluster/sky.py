"""SkyPilot: one task that makes the whole chain on a cloud's or a Kubernetes cluster's machines.

The same recipe and a profile of kind `skypilot` render a task file; `sky jobs launch` finds the machines, brings this
checkout there, begins again on others when spot machines are taken away, and gives all back at the end. The runs lie
in a mounted bucket or volume; what comes back is the log, which ends with the sha256 of every manifest: each manifest
holds those of its artifact's files. SkyPilot itself is called as a command, since its pins do not fit beside ours.
"""

import os
import shlex
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import yaml

from pipeline.cluster.jobs import check, outline
from pipeline.cluster.profile import Sky
from pipeline.collect.recipe import Recipe as Collect
from pipeline.recipe import Recipe
from pipeline.run import Plan
from pipeline.stage import UserError

CHECKOUT = Path(__file__).resolve().parent.parent.parent
RUNS = "/runs"
PORT = 29_500


class Block(yaml.SafeDumper):
    """Writes text of several lines as it is read."""


Block.add_representer(
    str,
    lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None),
)


def recipe_path(run: Recipe) -> str:
    """Where the recipe lies on the machines: within the checkout, or where it is mounted."""
    inside = run.folder.is_relative_to(CHECKOUT)
    return str(run.folder.relative_to(CHECKOUT)) if inside else f"/recipes/{run.name}"


def task(profile: Sky, run: Recipe) -> str:
    """The task file. Raises UserError where the recipe cannot run as the profile says."""
    chain = outline(run, Path(RUNS))
    if profile.bucket and run.base:
        raise UserError(
            f"{run.folder / 'recipe.yaml'}: base = {run.base.name}: a run that takes stages from another holds links, "
            f"which a mounted bucket cannot. Give the profile a `volume:`."
        )
    check(chain, profile)
    for todo in chain:
        check_goes_along(todo, run)
    asked = profile.default
    mounted = {} if run.folder.is_relative_to(CHECKOUT) else {f"/recipes/{run.name}": str(run.folder)}
    resources: dict[str, Any] = {
        **({"infra": profile.infra} if profile.infra else {}),
        **({"accelerators": f"{asked.gpu or 'H100'}:{asked.gpus}"} if asked.gpus else {}),
        "cpus": f"{asked.cpus}+",
        "memory": f"{asked.memory.removesuffix('G')}+",
        "disk_size": profile.disk,
        "use_spot": profile.spot,
        **({"image_id": profile.image} if profile.image else {}),
    }
    storage: dict[str, Any] = {"volumes": {RUNS: profile.volume}} if profile.volume else {}
    mounts: dict[str, Any] = dict(mounted)
    if profile.bucket:
        mounts[RUNS] = {"source": profile.bucket, "mode": "MOUNT_CACHED"}
    content = {
        "name": run.name,
        "workdir": str(CHECKOUT),
        "num_nodes": asked.nodes,
        "resources": resources,
        **({"file_mounts": mounts} if mounts else {}),
        **storage,
        "setup": "\n".join(["set -euo pipefail", *filter(None, [profile.setup.strip()]), "make install"]) + "\n",
        "run": script(run, chain, asked.nodes, asked.accel),
    }
    return yaml.dump(content, Dumper=Block, sort_keys=False, width=1000)


def check_goes_along(todo: Plan, run: Recipe) -> None:
    """Raises UserError where a stage needs a base recipe or documents that the machines will not have."""
    if todo.run.name != run.name and not todo.run.folder.is_relative_to(CHECKOUT):
        raise UserError(
            f"{run.folder / 'recipe.yaml'}: base = {todo.run.folder}: only this checkout and the recipe itself go "
            f"along. Copy the base to {CHECKOUT / 'recipes' / todo.run.name} and write base: {todo.run.name}."
        )
    sources = todo.recipe.listed() if isinstance(todo.recipe, Collect) else ()
    for folder in [source.files.folder for source in sources if source.files is not None]:
        path = Path(folder)
        # What a $NAME holds there is not known here.
        if path.is_relative_to(RUNS) or "$" in folder:
            continue
        if folder.startswith("~") or path.is_absolute() or not (CHECKOUT / path).exists():
            raise UserError(
                f"{todo.run.folder / 'collect.yaml'}: files.folder = {folder}: the machines see this checkout and "
                f"{RUNS}, the profile's volume or bucket. Copy the documents there and write folder: "
                f"{RUNS}/{path.name}, or put them into the checkout and name them from there."
            )


def script(run: Recipe, chain: list[Plan], nodes: int, accel: str | None) -> str:
    """What every machine runs: the first drives the chain, the others take part in what trains on several."""
    lines = ["set -euo pipefail"]
    if nodes > 1:
        lines += ['hosts=$(echo "$SKYPILOT_NODE_IPS" | paste -sd,)', 'if [ "$SKYPILOT_NODE_RANK" -ne 0 ]; then']
        # SkyPilot ends every machine when one fails, so the others may wait as long as the first works.
        follow = ["--runs", RUNS, "--port", str(PORT), "--patience", "2592000", *(["--accel", accel] if accel else [])]
        lines += [
            f"  .venv/bin/python -m pipeline.cluster.follow {todo.stage.name} "
            f"{shlex.join(['--recipe', recipe_path(todo.run), *follow])}"
            ' --hosts "$hosts" --rank "$SKYPILOT_NODE_RANK"'
            for todo in chain if todo.stage.distributed
        ]  # fmt: skip
        lines += ["  exit 0", "fi"]
    for todo in chain:
        several = nodes > 1 and todo.stage.distributed
        words = [
            todo.stage.name,
            "--recipe",
            recipe_path(todo.run),
            "--runs",
            RUNS,
            *(["--accel", accel] if accel and todo.stage.distributed else []),
        ]
        lines.append(
            f".venv/bin/python -m pipeline.run {shlex.join(words)}"
            + (f' --hosts "$hosts" --port {PORT}' if several else "")
        )
    lines += [f"cd {shlex.quote(f'{RUNS}/{run.name}')}", "sha256sum ./*/manifest.json | tee receipts.txt"]
    return "\n".join(lines) + "\n"


def call(*words: str) -> str:
    """What sky prints. Raises UserError with its own message where it fails."""
    try:
        done = subprocess.run(["sky", *words], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise UserError(
            "sky is not found: install SkyPilot in an environment of its own (`pipx install 'skypilot[aws]'`, or uv "
            "tool install), since its pins do not fit beside groundup's, and see that `sky` is on PATH."
        ) from None
    if done.returncode:
        raise UserError(f"sky {words[0]}: {(done.stderr or done.stdout).strip()[-2000:]}")
    return done.stdout


def submit(text: str, name: str) -> str:
    """Launches the task as a managed job; a token for the Hub goes along as SkyPilot's secret, never in the file."""
    secret = ["--secret", "HF_TOKEN"] if os.environ.get("HF_TOKEN") else []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "task.yaml"
        path.write_text(text, encoding="utf-8")
        return call("jobs", "launch", "--yes", "--detach-run", "--name", name, *secret, str(path))


def status(name: str) -> str:
    """SkyPilot's own table of managed jobs; `sky jobs logs --name` shows the stage that it is at."""
    return f"{call('jobs', 'queue')}\nThe stage's own progress: sky jobs logs --name {name}\n"


def cancel(name: str) -> str:
    """Cancels the managed job; its machines are given back."""
    return call("jobs", "cancel", "--yes", "--name", name)
