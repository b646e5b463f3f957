"""Commands over a finished run: `python -m pipeline.runs verify|summary|gc --recipe storyworld`

verify recomputes every sha256 and fingerprint, compares a manifest's metrics with the sealed metrics.json, and draws
the report again from the manifests; summary prints what each stage cost and the evaluation; gc lists the folders that
were set aside, and removes them with --yes.
"""

import argparse
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline import artifact
from pipeline.chain import CHAIN
from pipeline.stage import UserError


def artifacts(run: Path) -> dict[str, Path]:
    """The folders of a run's stages that are there, finished or not, in the order of the chain."""
    return {stage.name: run / stage.name for stage in CHAIN if (run / stage.name).is_dir()}


def unlike_metrics(folder: Path) -> list[str]:
    """The first metric in which a manifest, which nothing seals, differs from the metrics.json that it seals."""
    path, sealed = folder / "metrics.json", artifact.manifest(folder)
    if sealed is None or not path.is_file():
        return []
    kept = json.loads(path.read_text(encoding="utf-8"))
    if artifact.canonical(sealed["metrics"]) == artifact.canonical(kept):  # also of what is no number, unlike itself
        return []
    for name, has, given in artifact.differing(sealed["metrics"], kept):
        return [f"{folder / artifact.MANIFEST}: its metric {name} is {has}, and the sealed {path.name} has {given}"]
    return []


def verify(run: Path) -> list[str]:
    """Everything in which a run differs from its manifests: files, fingerprints, metrics, links between artifacts."""
    problems = []
    for name, folder in artifacts(run).items():
        if faults := artifact.verify(folder):
            problems += faults
        else:
            problems += unlike_metrics(folder)
        sealed = artifact.manifest(folder)
        if sealed is None:
            continue
        if artifact.fingerprint(sealed["identity"]) != sealed["fingerprint"]:
            problems.append(f"{folder / artifact.MANIFEST}: its fingerprint is not that of its identity")
        if sealed["identity"]["stage"] != name:
            problems.append(f"{folder / artifact.MANIFEST}: is that of the stage {sealed['identity']['stage']}")
        for key, link in sealed["inputs"].items():
            source = (folder.resolve() / link["folder"]).resolve()
            found = artifact.manifest(source) if source.is_dir() else None
            if found is None and "pulled" in sealed:
                continue  # what it was made from stayed where it was made
            if found is None:
                problems.append(f"{folder}: its input {key} is no longer at {source}")
            elif not found["fingerprint"] == link["fingerprint"] == sealed["identity"]["inputs"][key]:
                problems.append(f"{folder}: its input {key} at {source} is not the artifact that it was made from")
    return problems


def verify_page(run: Path) -> tuple[list[str], str]:
    """In what the report differs from what the run's manifests say, and what could not be compared, in words.

    For a run in which all else is in order: else the page differs for a reason that was named already.
    """
    folder = run / "report"
    if not folder.is_dir():
        return [], ""
    from pipeline.report.traced import untraced  # the page's libraries, which `summary` after every demo does without

    found = untraced(folder)
    if found is not None:
        return found, ""
    return [], (
        f"{folder}: its figures were not compared with the manifests, for another version of the code drew the page. "
        f"Run `make report RECIPE={run.name}`, then verify again."
    )


def _rows(sealed: dict[str, dict[str, Any]]) -> list[str]:
    lines = [f"{'stage':<12} {'seconds':>8} {'CPU-s':>8} {'load':>5} {'peak MB':>8}"]
    for name, one in sealed.items():
        lines.append(
            f"{name:<12} {one['seconds']:>8.1f} {one['cpu_seconds']:>8.1f} {one['load']:>5.1f} "
            f"{one['peak_memory_bytes'] / 2**20:>8.0f}"
        )
    seconds, cpu = (sum(one[key] for one in sealed.values()) for key in ("seconds", "cpu_seconds"))
    peak = max(one["peak_memory_bytes"] for one in sealed.values())
    lines.append(f"{'all':<12} {seconds:>8.1f} {cpu:>8.1f} {cpu / max(seconds, 1e-9):>5.1f} {peak / 2**20:>8.0f}")
    return lines


def summary(run: Path) -> str:
    """The table that ends a run: what each stage cost, what the corpus lost, what the models reach."""
    sealed = {name: one for name, folder in artifacts(run).items() if (one := artifact.manifest(folder))}
    if not sealed:
        raise UserError(f"{run}: no finished stage there. Run `make all RECIPE={run.name}` first.")
    parts = ["\n".join(_rows(sealed))]
    table = run / "evaluate" / "table.md"
    if table.is_file():
        parts.append(table.read_text(encoding="utf-8").strip())
    page = run / "report" / "index.html"
    if page.is_file():
        parts.append(f"The report: {page}")
    return "\n\n".join(parts) + "\n"


def collect_garbage(runs: Path, yes: bool) -> str:
    """Lists what was set aside, with sizes; removes it where `yes`."""
    folders = sorted(path for aside in runs.glob(f"*/{artifact.ASIDE}") for path in aside.iterdir())
    lines = []
    for folder in folders:
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        lines.append(f"{size / 2**20:10.1f} MB  {folder}{'  removed' if yes else ''}")
        if yes:
            shutil.rmtree(folder)
    if not lines:
        return "Nothing was set aside.\n"
    return "\n".join(lines) + ("\n" if yes else "\nRemove them with: make gc YES=1\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.runs", description=__doc__.splitlines()[0])
    parser.add_argument("command", choices=["verify", "summary", "gc"])
    parser.add_argument("--recipe", default="storyworld")
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--yes", action="store_true")
    args = parser.parse_args(argv)
    run = args.runs / Path(args.recipe).name
    try:
        if args.command == "gc":
            sys.stdout.write(collect_garbage(args.runs, args.yes))
            return 0
        if args.command == "summary":
            sys.stdout.write(summary(run))
            return 0
        if not run.is_dir():
            raise UserError(f"{run}: no such run. Run `make all RECIPE={run.name}` first.")
        problems, left_out = verify(run), ""
        if not problems:
            problems, left_out = verify_page(run)
        told = problems or [f"{run}: {len(artifacts(run))} artifacts, every file as sealed"]
        sys.stdout.write("\n".join([*told, *filter(None, [left_out])]) + "\n")
        return 1 if problems else 0
    except UserError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2


if __name__ == "__main__":
    sys.exit(main())
