"""Publishes a finished artifact on the Hub: `make push RECIPE=storyworld REPO=org/name [STAGE=dpo] [PRIVATE=0]`

A model goes with its tokenizer, chat template, generation config, the run's report and a card made from the manifests;
a corpus or a preference set goes as a data set with its card. What was uploaded is downloaded again and compared, and
`org/name@commit` noted in the artifact's manifest. A push that was interrupted is continued by the same command.

The token comes from HF_TOKEN or the library's own store. It is handed to nothing but the library.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
from huggingface_hub.errors import RepositoryNotFoundError

from pipeline import artifact
from pipeline.chain import CHAIN, MODEL_STAGES
from pipeline.hub import facts, secrets
from pipeline.hub.card import data_card, model_card
from pipeline.hub.client import (
    HubError,
    differs,
    exit_status,
    hashes,
    is_empty,
    patiently,
    read_marker,
    say,
    token,
)
from pipeline.hub.layout import CARD, MARKER, PUSHABLE, File, Repo, artifact_files, kind_of, marker, same_files
from pipeline.recipe import Recipe, load
from pipeline.report.traced import drawn
from pipeline.runs import unlike_metrics
from pipeline.stage import UserError


def choose(run: Path, stage: str | None) -> Path:
    """The artifact to publish: the named stage's, or that of the last finished model. Raises UserError for none."""
    if stage:
        kind_of(stage)
    for name in [stage] if stage else list(reversed(MODEL_STAGES)):
        if artifact.manifest(run / name) is not None:
            return run / name
    wanted = f"the stage {stage}" if stage else f"a model ({', '.join(reversed(MODEL_STAGES))})"
    raise UserError(f"{run}: has not finished {wanted}. Run `make {stage or 'all'} RECIPE={run.name}` first.")


def verified(folder: Path) -> dict[str, Any]:
    """The artifact's manifest. Raises UserError where a file is not as it was sealed, or the identity was changed."""
    sealed = artifact.manifest(folder)
    if problems := artifact.verify(folder) or unlike_metrics(folder):
        raise UserError(f"{problems[0]}. Nothing was pushed. Build the stage {folder.name} again.")
    assert sealed is not None, f"{folder} was verified"
    if artifact.fingerprint(sealed["identity"]) != sealed["fingerprint"]:
        raise UserError(f"{folder / artifact.MANIFEST}: its fingerprint is not that of its identity: it was edited.")
    return sealed


def revision(folder: Path, sealed: dict[str, Any], run: Path, repo: Repo, licence: str | None) -> list[File]:
    """Every file that the repository is to hold for a verified artifact, card and marker included."""
    origins = facts.lineage(folder)
    base = facts.base(origins)
    files = artifact_files(folder, sealed, base.id if base else None)
    if kind_of(sealed["stage"]) == "model":
        evaluate, report = (facts.beside(run, stage, sealed) for stage in ("evaluate", "report"))
        if report:
            # Drawn anew: the page that is read at home shows texts that were dropped, and a chat that was trained on.
            page = drawn(report.folder, report.manifest or {}, public=True)
            files.append(File.of("report/index.html", page.encode()))
        card = model_card(repo.id, origins, evaluate, licence, has_report=report is not None)
    else:
        card = data_card(repo.id, origins)
    files.append(File.of(CARD, card.encode()))
    return [*files, marker(sealed, files)]


def publish(api: HfApi, repo: Repo, files: list[File], public: bool) -> str:
    """Brings the repository to hold exactly these files; returns the commit that does. Does only what is missing.

    Raises UserError where the newest revision was not made by a push of this stage of this run, and where the
    repository is not as visible as was said.
    """
    try:
        info = api.repo_info(repo.id, repo_type=repo.kind)
    except RepositoryNotFoundError:
        api.create_repo(repo.id, repo_type=repo.kind, private=not public)
        info = api.repo_info(repo.id, repo_type=repo.kind)
    head = str(info.sha)
    check_visibility(repo, bool(info.private), public)
    present = hashes(api, repo, head)
    made = json.loads(bytes(next(file.content for file in files if file.name == MARKER)))
    old: dict[str, Any] = {}
    if not is_empty(present):
        old = checked(repo, head, read_marker(api, repo, head), present, made)["files"]
    if old == made["files"]:
        return head
    operations: list[Any] = [
        CommitOperationAdd(path_in_repo=f.name, path_or_fileobj=f.content)
        for f in files
        if old.get(f.name) != f.entry()
    ]
    operations += [CommitOperationDelete(path_in_repo=name) for name in sorted(old.keys() - made["files"].keys())]
    commit = api.create_commit(
        repo.id, operations, commit_message="groundup: make push", repo_type=repo.kind, parent_commit=head
    )
    return commit.oid


def check_visibility(repo: Repo, private: bool, public: bool) -> None:
    """Raises UserError where an existing repository would show what was to be private, or hide what was not."""
    if not private and not public:
        raise UserError(
            f"{repo.id}: is public, and a push is private unless told otherwise. Say PRIVATE=0 to publish there, or "
            f"name another REPO=."
        )
    if private and public:
        raise UserError(
            f"{repo.id}: is private, and PRIVATE=0 only says what a new repository is to be. Make it public in its "
            f"settings on the Hub first, or leave PRIVATE=0 out."
        )


def checked(
    repo: Repo, sha: str, found: dict[str, Any] | None, present: dict[str, str], made: dict[str, Any]
) -> dict[str, Any]:
    """The marker `found` of a revision. Raises UserError where no push of the stage that `made` names made it."""
    other = "Name another REPO=, or move what is there out of the way."
    if found is None:
        raise UserError(f"{repo.at(sha)}: was not made by `make push`, so it is not overwritten. {other}")
    if different := same_files(found["files"], present):
        raise UserError(
            f"{repo.at(sha)}: was changed after `make push` made it ({different[0]}), so it is not overwritten. "
            f"{other}"
        )
    if (found.get("run"), found["stage"]) != (made["run"], made["stage"]):
        raise UserError(
            f"{repo.at(sha)}: holds the stage {found['stage']} of the run {found.get('run')}, and this is "
            f"{made['stage']} of {made['run']}. {other}"
        )
    return found


def note(folder: Path, fingerprint: str, place: str) -> None:
    """Notes in the manifest where the artifact was published. It is no part of what a manifest seals: neither the
    fingerprint nor a file's hash depends on it, and the time that make compares stays as it was.

    Raises UserError where another artifact took the folder's place meanwhile.
    """
    path = folder / artifact.MANIFEST
    sealed = artifact.manifest(folder)
    if sealed is None or sealed["fingerprint"] != fingerprint:
        raise UserError(f"{folder}: was built anew meanwhile. {place} holds the artifact that was there before.")
    times = path.stat()
    places = [known for known in sealed.get("published", []) if known != place]
    artifact.write_json(path, {**sealed, "published": [*places, place]})
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def push(run: Path, recipe: Recipe, repo: Repo, stage: str | None, public: bool) -> str:
    """Publishes, compares and notes; returns `org/name@commit`. Raises UserError or HubError."""
    folder = choose(run, stage)
    wanted = kind_of(folder.name)
    if repo.kind not in (None, wanted) or repo.revision:
        raise UserError(f"REPO={repo.id}: give org/name alone; the stage {folder.name} is a {wanted} there.")
    repo = replace(repo, kind=wanted)
    sealed = verified(folder)
    files = revision(folder, sealed, run, repo, recipe.licence)
    secrets.check(files, token())
    api = HfApi(library_name="groundup")
    where = f"{folder.parent.name}/{folder.name}"
    size = sum(file.num_bytes for file in files) / 1e6
    say(where, f"{len(files)} files, {size:.1f} MB, to {repo.id} ({'public' if public else 'private'})")
    sha = patiently(lambda: publish(api, repo, files, public), repo)
    if different := differs(api, repo, sha, {file.name: file.sha256 for file in files}):
        raise HubError(
            f"{repo.at(sha)}: {different[0]} does not come back as it was sent ({len(different)} of {len(files)} "
            f"files). Do not use this revision; nothing was noted. Run the command again."
        )
    note(folder, sealed["fingerprint"], repo.at(sha))
    say(where, f"is {repo.at(sha)}: downloaded again, and every hash is equal")
    return repo.at(sha)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.hub.push", description=str(__doc__).splitlines()[0])
    parser.add_argument("--recipe", default="storyworld", help="whose run to publish from")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where runs are written")
    parser.add_argument("--repo", required=True, help="org/name on the Hub")
    parser.add_argument("--stage", help=f"one of {', '.join(PUSHABLE)}; default: the last finished model")
    parser.add_argument("--private", choices=["0", "1"], default="1", help="0 makes a new repository public")
    args = parser.parse_args(argv)

    def command() -> None:
        recipe = load(args.recipe, CHAIN)
        push(args.runs / recipe.name, recipe, Repo.parse(args.repo), args.stage, args.private == "0")

    return exit_status(command)


if __name__ == "__main__":
    sys.exit(main())
