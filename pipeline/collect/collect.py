"""The verb of `collect`: gathers every source of the recipe under `raw/`, as found, and lists them in `sources.json`.

The story world and the installed documentation also have conversations, prompts and evaluation items; the items of
other benchmarks come from where the recipe says.
Try: `make collect RECIPE=storyworld`
"""

import json
from pathlib import Path
from typing import Any

from pipeline.collect import dataset, evaluation, fetch, files, pydocs, raw, storyworld
from pipeline.collect.source import Source
from pipeline.stage import Job

SOURCES = "sources"  # the folder below raw/ for what the user named, so that no name meets the story world's own


def run(job: Job) -> dict[str, float]:
    """Writes the artifact and returns its metrics."""
    metrics = documents(job)
    return metrics | evaluation.collect(job.recipe.evaluation or {}, job.out)


def documents(job: Job) -> dict[str, float]:
    """Writes everything but the benchmarks that the recipe names."""
    if job.recipe.storyworld is not None:
        return storyworld.collect(job.recipe.storyworld, job.out, job.seed)
    if job.recipe.pydocs is not None:
        return pydocs.collect(job.recipe.pydocs, job.out, job.seed)
    metrics: dict[str, float] = {}
    rows: list[dict[str, Any]] = []
    for source in job.recipe.listed():
        found, own = collect(source, job)
        metrics |= found
        rows += own
    raw.write_sources_json(job.out / "raw", rows)
    return metrics


def collect(source: Source, job: Job) -> tuple[dict[str, float], list[dict[str, Any]]]:
    """Gathers one source. Returns its metrics and its rows of sources.json."""
    if source.storyworld is not None:
        return storyworld.collect(source.storyworld, job.out, job.seed), within(source, job.out / "raw")
    if source.pydocs is not None:
        return pydocs.collect(source.pydocs, job.out, job.seed), within(source, job.out / "raw")
    place = f"{SOURCES}/{source.name}"
    out = job.out / "raw" / place
    if source.files is not None:
        found, columns = files.collect(source.files, source.name, out), source.files.columns
    elif source.fetch is not None:
        found, columns = fetch.collect(source.fetch, source.name, out, job.resume / source.name), source.fetch.columns
    else:
        assert source.dataset is not None, source
        found, columns = dataset.collect(source.dataset, source.name, out), source.dataset.columns
    row = {"name": source.name, "kind": "files", "path": place, "licence": source.licence or "unknown"}
    mapping = {"columns": columns.row()} if columns else {}
    metrics = {f"{source.name}_{key}": value for key, value in found.items()}
    return metrics, [{**row, "weight": source.weight, **mapping}]


def within(source: Source, raw_folder: Path) -> list[dict[str, Any]]:
    """The rows that a world has just written for itself, under the source's name and weight."""
    rows = json.loads((raw_folder / "sources.json").read_text(encoding="utf-8"))
    return [
        {
            **row,
            "name": f"{source.name}/{row['name']}",
            "weight": source.weight,
            "licence": source.licence or row["licence"],
        }
        for row in rows
    ]
