"""The verb of `corpus`: raw documents of every source into clean, deduplicated, decontaminated Parquet shards.

Reads the collect artifact. Four passes on datatrove executors: `clean` (read, extract, repair, filter, edit, sign),
`dedup` (one process: whose copy goes), `deal` (drop copies and leaks, deal into buckets), `order` (each bucket sorted
into a shard). Writes train/, heldout/, dropped.jsonl, funnel.json, certificates/, card.md. A killed run redoes only
unfinished tasks. Try: `make corpus RECIPE=storyworld`
"""

import hashlib
import json
import math
import shutil
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from datatrove.pipeline.base import PipelineStep

from pipeline import labelled
from pipeline.artifact import sha256
from pipeline.corpus import (
    across,
    card,
    classifier,
    decontaminate,
    extract,
    funnel,
    gibberish,
    language,
    mix,
    near,
    quality,
    safety,
    shuffle,
    sources,
    spill,
)
from pipeline.corpus.boilerplate import Boilerplate
from pipeline.corpus.execute import Crew, crew, execute
from pipeline.corpus.passages import Passages
from pipeline.corpus.privacy import Privacy
from pipeline.corpus.read import Reader, step_name
from pipeline.corpus.recipe import STAGE, Recipe
from pipeline.corpus.repair import Repair
from pipeline.corpus.step import Ledger
from pipeline.corpus.truth import planted_recall
from pipeline.screen import leaks
from pipeline.stage import Job, UserError


class Books:
    """Hands out one ledger a step, numbered in the order of the steps."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.count = 0

    def ledger(self, step: str, kind: type[Ledger] = Ledger) -> Ledger:
        """The next step's ledger."""
        self.count += 1
        return kind(self.folder / f"{self.count:02d}_{step}", step)


def workspace(job: Job, found: list[sources.Source]) -> Path:
    """The folder below resume/ that belongs to this code, recipe, seed, number of tasks and list of files."""
    recipe = job.recipe.model_dump(mode="json", exclude={"workers", "executor"})
    identity = [STAGE.version, recipe, job.seed, [repr(source) for source in found]]
    key = hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:16]
    folder = job.resume / key
    for name in ("models", "clean", "signatures", "passages", "buckets", "dropped"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    return folder


def model_path(recipe: Recipe) -> Path | None:
    """The fastText model that the recipe names for languages."""
    return Path(recipe.language_model).expanduser() if recipe.language_model else None


def check(recipe: Recipe, collect: Path) -> list[Path]:
    """Refuses what can be refused before any work. Returns the benchmarks' files."""
    quality.check(recipe.quality)
    if recipe.languages is not None:
        language.check(recipe.languages, model_path(recipe))
    paths = leaks.benchmarks(collect) if recipe.decontaminate_ngram is not None else []
    for path in paths:
        leaks.count(path)
    return paths


def train_models(recipe: Recipe, collect: Path, folder: Path, seed: int) -> None:
    """The gibberish model and the classifiers of safety and quality; a mark says that all are written."""
    mark = folder / "done"
    if mark.exists():
        return
    if (share := recipe.quality.gibberish_share) is not None:
        rows = labelled.read(collect / "labelled.jsonl", (), "quality.gibberish_share")
        gibberish.train([row.text for row in rows], share, folder / "gibberish.npz")
    if recipe.safety is not None and recipe.safety.labels:
        given = recipe.safety.labelled
        path = Path(given).expanduser() if given else collect / "labelled.jsonl"
        rows = labelled.read(path, ("clean", *recipe.safety.labels), "safety")
        safety.train(rows, recipe.safety, folder, seed)
    if recipe.quality.classifier is not None:
        classifier.prepare(recipe.quality.classifier, folder, seed)
    mark.touch()


def cleaning(recipe: Recipe, found: list[sources.Source], folder: Path) -> list[PipelineStep]:
    """The steps of the first pass."""
    books = Books(folder / "dropped")
    steps: list[PipelineStep] = [
        Reader(source, books.ledger(step_name(source)), recipe.max_document_bytes, folder / "clean.log")
        for source in found
    ]
    steps.append(extract.Extract(recipe.extractor, books.ledger("extract")))
    if recipe.repair:
        steps.append(Repair())
    if recipe.languages is not None:
        steps.append(language.Language(recipe.languages, model_path(recipe), books.ledger("language")))
    if recipe.dedup.passages:
        steps.append(Passages(books.ledger("passages")))
    steps += quality.filters(recipe.quality, books.ledger)
    if (wanted := recipe.quality.classifier) is not None:
        model = folder / "models" / "quality.bin"
        steps.append(classifier.QualityFilter(model, wanted, books.ledger("classifier")))
    if recipe.quality.gibberish_share is not None:
        steps.append(gibberish.Gibberish(folder / "models" / "gibberish.npz", books.ledger("gibberish")))
    if recipe.safety is not None:
        steps.append(safety.SafetyFilter(folder / "models", recipe.safety, books.ledger("safety")))
    if recipe.boilerplate:
        steps.append(Boilerplate(books.ledger("boilerplate")))
    if recipe.privacy:
        steps.append(Privacy(recipe.privacy, books.ledger("privacy")))
    steps.append(near.Signatures(folder / "signatures"))
    if recipe.dedup.across is not None:
        steps.append(across.Notes(folder / "passages"))
    steps.append(shuffle.writer(folder / "clean", "${rank}.parquet", final=False))
    return steps


def find_copies(recipe: Recipe, folder: Path) -> float:
    """Writes removals.npz and renamed.npy; returns the seconds that took."""
    started, path = time.monotonic(), folder / "removals.npz"
    if not path.exists():
        gone = near.removals(folder / "signatures", folder / "clean", recipe.dedup)
        near.write_removals(gone, folder / "removals.tmp.npz")
        np.save(folder / "renamed.npy", mix.duplicate_ids(folder / "clean"))
        if recipe.dedup.across is not None:
            places = np.array(sorted(gone), dtype=np.int64)
            np.save(folder / "passages.npy", across.repeated(folder / "passages", places, recipe.dedup.across))
        (folder / "removals.tmp.npz").replace(path)
    return time.monotonic() - started


def dealing(
    recipe: Recipe, found: list[sources.Source], benchmarks: list[Path], folder: Path, seed: int
) -> list[PipelineStep]:
    """The steps of the third pass."""
    books = Books(folder / "dropped")
    books.count = 50  # after every step of the first pass
    steps: list[PipelineStep] = [shuffle.reader(folder / "clean")]
    steps.append(near.DropCopies(folder / "removals.npz", books.ledger("dedup")))
    if recipe.dedup.across is not None:
        steps.append(across.DropRepeated(folder / "passages.npy", books.ledger("passages across")))
    if benchmarks and recipe.decontaminate_ngram is not None:
        ledger = books.ledger("decontaminate", decontaminate.MatchLedger)
        ngram = recipe.decontaminate_ngram
        steps.append(decontaminate.Decontaminate(tuple(benchmarks), ngram, recipe.privacy, ledger))
    if np.load(folder / "renamed.npy").size:
        steps.append(mix.UniqueIds(folder / "renamed.npy"))
    weights = {source.name: source.weight for source in found}
    if any(weight != 1 for weight in weights.values()):
        steps.append(mix.Mix(weights, recipe.heldout_share, seed, books.ledger("mix")))
    # Counted before copies go: the exact number of shards matters less than that it is known now.
    total = documents(folder / "clean")
    sizes = {"train": total * max(1.0, *weights.values()), "heldout": total * recipe.heldout_share}
    shards = {split: max(1, math.ceil(size / recipe.shard_documents)) for split, size in sizes.items()}
    steps.append(shuffle.Deal(seed, recipe.heldout_share, shards, ends=recipe.heldout == "ends"))
    steps.append(spill.Spill(folder / "buckets", shuffle.CLEAN, shuffle.clean_row))
    return steps


def documents(folder: Path) -> int:
    """How many rows the Parquet files below a folder hold."""
    return sum(pq.read_metadata(path).num_rows for path in folder.rglob("*.parquet"))


def some_kept(kept: Path, folder: Path, out: Path, names: list[str]) -> None:
    """Raises UserError, saying why, where no document is left."""
    if not any(path.is_file() for path in kept.rglob("*")):  # a writer opens its file for the first document
        _, dropped, lost = funnel.write_dropped(folder / "dropped", out / "dropped.jsonl", names)
        reasons = ", ".join(f"{reason} {n}" for reason, n in (dropped + lost).most_common())
        raise UserError(f"corpus: not one document was kept ({reasons}). Loosen corpus.yaml, or mend the sources.")


def order(recipe: Recipe, folder: Path, out: Path, seed: int, by: Crew) -> None:
    """The fourth pass. It is cheap and writes outside resume/, so it is always done whole."""
    shutil.rmtree(folder / "order", ignore_errors=True)
    buckets = tuple(sorted(path.name for path in (folder / "buckets").iterdir()))
    steps = [shuffle.Gather(folder / "buckets", buckets, seed), shuffle.writer(out, "${shard}.parquet", final=True)]
    execute(steps, folder / "order", min(recipe.tasks, len(buckets)), by, "corpus: shards")


def passed_over(entries: list[dict[str, Any]]) -> dict[str, float]:
    """`skipped_<kind>`: records of archives that are no documents (requests, ..); `documents_repeated` by weights."""
    found: Counter[str] = Counter()
    for entry in entries:
        found.update({key: n for key, n in entry["counts"].items() if key.startswith("skipped_")})
        found["documents_repeated"] += entry["counts"]["repeated"]
    return {key: n for key, n in sorted(found.items()) if n}


def books_balance(entries: list[dict[str, Any]], kept: int, dropped: Counter[str], lost: Counter[str]) -> int:
    """The number of documents read. Asserts that every one of them is kept, dropped for a reason, or lost."""
    read = sum(entry["counts"]["read"] for entry in entries)
    repeated = sum(entry["counts"]["repeated"] for entry in entries)
    assert read + repeated == kept + dropped.total() + lost.total(), (
        f"corpus: {read} documents read + {repeated} repeated, but {kept} kept + {dropped.total()} dropped "
        f"{dict(dropped)} + {lost.total()} lost {dict(lost)}"
    )
    return read


def run(job: Job) -> dict[str, float]:
    """Builds the corpus and returns its metrics."""
    recipe: Recipe = job.recipe
    collect, by = job.needs("collect"), crew(recipe, job.cluster)
    found = sources.load(collect / "raw")
    names = [source.name for source in found]
    benchmarks = check(recipe, collect)
    folder = workspace(job, found)
    train_models(recipe, collect, folder / "models", job.seed)
    execute(cleaning(recipe, found, folder), folder / "clean.log", recipe.tasks, by, "corpus: clean")
    some_kept(folder / "clean", folder, job.out, names)
    dedup_seconds = find_copies(recipe, folder)
    steps = dealing(recipe, found, benchmarks, folder, job.seed)
    execute(steps, folder / "deal.log", recipe.tasks, by, "corpus: dedup")
    some_kept(folder / "buckets", folder, job.out, names)
    by_step, dropped, lost = funnel.write_dropped(folder / "dropped", job.out / "dropped.jsonl", names)
    entries = funnel.merge(folder / "clean.log") + funnel.merge(folder / "deal.log")
    order(recipe, folder, job.out, job.seed, by)
    if recipe.quality.classifier is not None:
        (job.out / "models").mkdir()
        shutil.copyfile(folder / "models" / "quality.bin", job.out / "models" / "quality.bin")
    # A document of which only the end is held out stands in both splits.
    kept = documents(job.out / "train") + (documents(job.out / "heldout") if recipe.heldout == "documents" else 0)
    read = books_balance(entries, kept, dropped, lost)
    entries[-1]["counts"]["kept"] = kept
    for entry in entries:
        entry["seconds"] += dedup_seconds if entry["step"] == "dedup" else 0.0
    text = json.dumps(funnel.rows(entries, by_step), indent=1, ensure_ascii=False)
    (job.out / "funnel.json").write_text(text + "\n", encoding="utf-8")
    if recipe.decontaminate_ngram is not None:
        rows = (row for row in funnel.ledger_rows(folder / "dropped") if "matches" in row)
        matches = [{"document": row["id"], **match} for row in rows for match in row["matches"]]
        files = {p.relative_to(job.out).as_posix(): sha256(p) for p in sorted(job.out.glob("*/*.parquet"))}
        index = leaks.Index(recipe.decontaminate_ngram, recipe.privacy)
        leaks.certify(index, benchmarks, matches, {"corpus_files_sha256": files}, job.out)
    metrics = {
        "documents_read": read,
        **passed_over(entries),
        "documents_kept": kept,
        "documents_heldout": documents(job.out / "heldout"),
        "documents_lost": lost.total(),
        "bytes_kept": sum(entry["counts"]["bytes"] for entry in funnel.merge(folder / "order")),
        **{f"dropped_{reason}": n for reason, n in sorted(dropped.items())},
        **{f"lost_{reason}": n for reason, n in sorted(lost.items())},
        **planted_recall(collect / "truth.jsonl", job.out),
    }
    if note := card.split_note(recipe.dedup.model_dump(), recipe.heldout_share):
        sys.stderr.write(f"corpus: {note}\n")
    card.write(job.out, job.run_name, job.seed, metrics, note)
    return metrics
