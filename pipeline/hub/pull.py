"""Brings a published artifact back, as the input of a stage: `make pull REPO=org/name[@commit] RECIPE=storyworld`

Downloads what `make push` published, compares every sha256 with the artifact's own manifest, and puts the artifact
into the run under its old fingerprint: a recipe that would have made it finds it done. A recipe may also name one as
the source of a stage, by a file of one line, `pretrain.yaml` with `hub: org/name@<commit of 40 hex digits>`; the
driver then calls `run` here in place of the stage's verb.
"""

import argparse
import json
import re
import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi

from pipeline import artifact
from pipeline.hub.client import (
    HubError,
    NoRepository,
    commit_of,
    exit_status,
    fetch,
    hashes,
    patiently,
    read_marker,
    say,
)
from pipeline.hub.layout import MANIFEST, PUSHABLE, Kind, Repo, kind_of, place, safe, same_files
from pipeline.recipe import HubSource
from pipeline.stage import Job, UserError


def run(job: Job) -> dict[str, float]:
    """The verb of a stage that the recipe takes from the Hub. `hub.json` keeps where from, and the manifest there."""
    recipe: HubSource = job.recipe
    repo = replace(Repo.parse(recipe.hub), kind=kind_of(job.stage))
    sealed = bring(HfApi(library_name="groundup"), repo, str(repo.revision), job.resume / "pull")
    if sealed["stage"] != job.stage:
        raise UserError(f"{job.stage}.yaml: hub: {recipe.hub} holds the stage {sealed['stage']}, not {job.stage}.")
    move(job.resume / "pull", job.out, sealed)
    artifact.write_json(job.out / "hub.json", {"repo": recipe.hub, "manifest": sealed})
    return sealed["metrics"]


def find(api: HfApi, repo: Repo, stage: str | None) -> tuple[Repo, str]:
    """The repository with its kind, and the commit that it or its named revision is. Raises UserError for none."""
    kinds: list[Kind] = [kind_of(stage)] if stage else [repo.kind] if repo.kind else ["model", "dataset"]
    for kind in kinds:
        candidate = replace(repo, kind=kind)
        try:
            return candidate, patiently(partial(commit_of, api, candidate), candidate)
        except NoRepository:
            if kind == kinds[-1]:
                raise
    raise AssertionError("the last kind returns or raises")


def bring(api: HfApi, repo: Repo, revision: str, folder: Path) -> dict[str, Any]:
    """Downloads a revision's artifact below `folder`, each file where it stands in the repository; returns the
    artifact's manifest. What an earlier call left there is gone on from.

    Raises UserError where the revision was not made by `make push` or was changed, HubError where a file differs.
    """
    found = patiently(lambda: read_marker(api, repo, revision), repo)
    present = patiently(lambda: hashes(api, repo, revision), repo)
    if found is None or same_files(found["files"], present):
        what = "has no groundup.json" if found is None else f"{same_files(found['files'], present)[0]} was changed"
        raise UserError(f"{repo.at(revision)}: is not as `make push` makes it: {what}.")
    sealed = json.loads(fetch(api, repo, revision, MANIFEST, folder).read_text(encoding="utf-8"))
    check(repo, revision, sealed)
    for entry in sealed["outputs"]:
        path = folder / place(entry["file"])
        if not path.is_file() or artifact.sha256(path) != entry["sha256"]:
            path = fetch(api, repo, revision, place(entry["file"]), folder)
        if artifact.sha256(path) != entry["sha256"]:
            path.unlink()  # else the next call would take it for the one that it wants
            raise HubError(
                f"{repo.at(revision)}: {entry['file']} does not have the sha256 of its manifest. Run the "
                "command again; if it says so again, the repository was damaged."
            )
    return sealed


def check(repo: Repo, revision: str, sealed: Any) -> None:
    """Raises UserError for a manifest that is damaged, or that names a file outside of its own folder."""
    where = f"{repo.at(revision)}: {MANIFEST}"
    try:
        good = artifact.fingerprint(sealed["identity"]) == sealed["fingerprint"] and sealed["stage"] in PUSHABLE
        good = good and isinstance(sealed["metrics"], dict) and sealed["identity"]["stage"] == sealed["stage"]
        names = [str(entry["file"]) for entry in sealed["outputs"]]
        good = good and all(re.fullmatch(r"[0-9a-f]{64}", entry["sha256"]) for entry in sealed["outputs"])
    except (KeyError, TypeError):
        good = False
    if not good:
        raise UserError(f"{where}: is no manifest of a published stage, or was changed.")
    if outside := [name for name in names if not safe(name)]:
        raise UserError(f"{where}: names the file {outside[0]!r}, which is not inside of the artifact.")


def move(folder: Path, out: Path, sealed: dict[str, Any]) -> None:
    """Moves the downloaded files to their places in the artifact."""
    for entry in sealed["outputs"]:
        target = out / entry["file"]
        target.parent.mkdir(parents=True, exist_ok=True)
        (folder / place(entry["file"])).replace(target)


def pull(runs: Path, run_name: str, repo: Repo, stage: str | None) -> Path:
    """Puts the published artifact into the run; returns its folder. What lay there is set aside, never deleted."""
    api = HfApi(library_name="groundup")
    repo, sha = find(api, repo, stage)
    waiting = runs / run_name / f".pull-{repo.id.replace('/', '-')}-{sha[:16]}"
    sealed = bring(api, repo, sha, waiting / "files")
    folder = runs / run_name / sealed["stage"]
    with artifact.lock(folder):
        here = artifact.manifest(folder) if folder.is_dir() else None
        if here and here["fingerprint"] == sealed["fingerprint"] and not artifact.verify(folder):
            say(run_name, f"{folder} is this artifact already")
        else:
            settle(folder, here)
            move(waiting / "files", waiting / "artifact", sealed)
            artifact.write_json(waiting / "artifact" / artifact.MANIFEST, {**sealed, "pulled": repo.at(sha)})
            (waiting / "artifact").rename(folder)
            say(run_name, f"{repo.at(sha)} is now {folder}: {len(sealed['outputs'])} files, every hash is equal")
    shutil.rmtree(waiting)
    return folder


def settle(folder: Path, here: dict[str, Any] | None) -> None:
    """Makes room for the artifact, as the driver does."""
    if folder.is_symlink():
        folder.unlink()
    elif folder.exists():
        kept = artifact.set_aside(folder, here["fingerprint"] if here else artifact.claimed(folder) or "unknown")
        say(folder.parent.name, f"what was {folder} is kept in {kept}")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.hub.pull", description=str(__doc__).splitlines()[0])
    parser.add_argument("--recipe", default="storyworld", help="whose run to put it into")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where runs are written")
    parser.add_argument("--repo", required=True, help="org/name on the Hub, or org/name@revision")
    parser.add_argument("--stage", help=f"one of {', '.join(PUSHABLE)}, where a model and a data set share the name")
    args = parser.parse_args(argv)
    return exit_status(lambda: pull(args.runs, Path(args.recipe).name, Repo.parse(args.repo), args.stage))


if __name__ == "__main__":
    sys.exit(main())
