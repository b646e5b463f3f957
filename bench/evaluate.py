"""Evaluation's speed: `make bench-evaluate` (`python -m bench.evaluate --run runs/storyworld`)

Two bars. Our model of lm-evaluation-harness is at least as fast as the harness's own `hf` model on the same task, for
each kind of task: multiple choice, log-likelihoods of whole texts, generation. And the whole stage of a finished run,
all of its models and figures, takes at most 150 s in one process, imports included.

The tasks are made of the run's held-out text, so nothing is fetched. Both models answer the same requests in one
process, turn by turn, so that whatever else the machine does hits both; the ratio is the median over turns. On a
processor it is of CPU seconds, which a busy machine leaves as they are; on an accelerator of wall time. Writes
bench/evaluate.json; exit status 1 where a bar is missed.
"""

import argparse
import json
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import yaml

from bench.harness import requests, turn
from pipeline import artifact
from pipeline.artifact import write_json
from pipeline.chain import BY_NAME
from pipeline.evaluate.bits import heldout
from pipeline.evaluate.models import Candidate, candidates
from pipeline.evaluate.recipe import Named, Tasks
from pipeline.evaluate.tasks import load, manager_of
from pipeline.machine import describe
from pipeline.sentences import sentences
from pipeline.stage import Job, UserError, resolve

LEAST_RATIO, MOST_SECONDS = 1.0, 150.0
CHOICES = 4
TASKS: dict[str, dict[str, Any]] = {
    "choice": {
        "output_type": "multiple_choice", "doc_to_text": "{{text}}", "doc_to_choice": "{{choices}}",
        "doc_to_target": "{{label}}", "metric_list": [{"metric": "acc"}],
    },
    "whole_text": {
        "output_type": "loglikelihood_rolling", "doc_to_text": "", "doc_to_target": "{{whole}}",
        "metric_list": [{"metric": "bits_per_byte"}],
    },
    "generation": {
        "output_type": "generate_until", "doc_to_text": "{{text}}", "doc_to_target": "{{next}}",
        "generation_kwargs": {"until": ["\n"], "max_gen_toks": 48, "do_sample": False},
        "metric_list": [{"metric": "exact_match"}],
    },
}  # fmt: skip


def rows(run: Path, count: int) -> list[dict[str, Any]]:
    """Questions: a held-out text's beginning, which of four sentences comes next, and the whole text."""
    found: list[dict[str, Any]] = []
    for document in heldout(run / "corpus", 10 * count, seed=0):
        pieces = [piece.strip() for piece in sentences(document.text) if piece.strip()]
        if len(pieces) > 3:
            found.append({"text": " ".join(pieces[:2]), "next": pieces[2], "whole": document.text})
    if len({row["next"] for row in found}) < CHOICES:
        raise UserError(
            f"{run / 'corpus'}: holds {len(found)} held-out texts of four sentences or more; give another."
        )
    rng = random.Random(0)
    for row in found:
        others = [other["next"] for other in found if other["next"] != row["next"]]
        choices = [row["next"], *rng.sample(others, CHOICES - 1)]
        rng.shuffle(choices)
        row |= {"choices": [f" {choice}" for choice in choices], "label": choices.index(row["next"])}
    return found[:count]


def write_tasks(folder: Path, questions: Sequence[dict[str, Any]]) -> None:
    """Task files in the harness's own format, and their data."""
    data = folder / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in questions), encoding="utf-8")
    for name, keys in TASKS.items():
        task = {
            "task": f"groundup_{name}", "dataset_path": "json", "test_split": "test",
            "dataset_kwargs": {"data_files": {"test": str(data)}}, **keys,
        }  # fmt: skip
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(task), encoding="utf-8")


def compared(candidate: Candidate, loaded: Any, asked: Sequence[Any], batch_size: int, turns: int) -> dict[str, Any]:
    """Seconds of each turn of the two models, the ratios, and by how much their likelihoods differ at most."""
    from lm_eval.models.huggingface import HFLM

    from pipeline.evaluate.harness import HarnessModel

    models = {
        "ours": HarnessModel(candidate, loaded, batch_size=batch_size, seed=0, chat=False),
        "hf": HFLM(
            pretrained=loaded, tokenizer=candidate.tokenizer, batch_size=batch_size, max_length=candidate.context
        ),
    }
    for model in models.values():
        turn(model, asked[:8])
    seconds: dict[str, list[float]] = {name: [] for name in models}
    cpu: dict[str, list[float]] = {name: [] for name in models}
    answers: dict[str, list[Any]] = {}
    for number in range(turns):
        # Whoever is second finds the caches warm, so they take turns in that too.
        for name in sorted(models, reverse=bool(number % 2)):
            before = time.process_time()
            took, answers[name] = turn(models[name], asked)
            seconds[name].append(round(took, 3))
            cpu[name].append(round(time.process_time() - before, 3))
    gaps = [abs(a[0] - b[0]) for a, b in zip(answers["ours"], answers["hf"], strict=True) if isinstance(a, tuple)]
    return {
        "requests": len(asked),
        "seconds": seconds,
        "cpu_seconds": cpu,
        "times_as_fast": ratio(seconds if torch.cuda.is_available() else cpu),
        "largest_difference": max(gaps, default=None),
    }


def ratio(spent: dict[str, list[float]]) -> float:
    """How many times as fast ours is: the median over turns."""
    return round(statistics.median(h / o for o, h in zip(spent["ours"], spent["hf"], strict=True)), 3)


def whole_stage(run: Path) -> dict[str, Any]:
    """Seconds and peak memory of the run's evaluate stage, done again in a process of its own."""
    command = [sys.executable, "-m", "bench.evaluate", "--run", str(run), "--stage-only"]
    started = time.perf_counter()
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return {"seconds": round(time.perf_counter() - started, 1), **json.loads(done.stdout)}


def stage_only(run: Path) -> dict[str, Any]:
    """Does the stage again in a folder that is thrown away; says whether its figures are those of the run."""
    stage = BY_NAME["evaluate"]
    sealed = artifact.manifest(run / "evaluate")
    if sealed is None:
        raise UserError(f"{run / 'evaluate'}: is not finished. Run `make evaluate RECIPE={run.name}` first.")
    inputs = {name: (run / "evaluate" / link["folder"]).resolve() for name, link in sealed["inputs"].items()}
    with tempfile.TemporaryDirectory() as folder:
        recipe = stage.recipe.model_validate_json(json.dumps(sealed["recipe"]))
        job = Job(
            stage="evaluate", recipe=recipe, out=Path(folder), inputs=inputs, seed=sealed["seeds"]["run"],
            run_name=run.name,
        )  # fmt: skip
        metrics = resolve(stage.verb)(job)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    known = sealed["metrics"]
    return {
        "figures": len(metrics),
        "figures_that_differ": sum(known.get(name, value) != value for name, value in metrics.items()),
        "peak_memory_bytes": peak,
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.evaluate", description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, default=Path("runs/storyworld"))
    parser.add_argument("--questions", type=int, default=200)
    parser.add_argument("--batch-size", type=int, default=16, help="of the hf model; ours counts tokens")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--no-stage", action="store_true", help="leave the whole stage out")
    parser.add_argument("--stage-only", action="store_true", help="what the benchmark starts in a process of its own")
    parser.add_argument("--out", type=Path, default=Path("bench/evaluate.json"))
    args = parser.parse_args(argv)
    try:
        if args.stage_only:
            sys.stdout.write(json.dumps(stage_only(args.run)))
            return 0
        stage = None if args.no_stage else whole_stage(args.run)
        model = args.run / "pretrain" / "model"
        (candidate,) = candidates({}, [Named(name="model", folder=str(model), chat=False)])
        with tempfile.TemporaryDirectory() as folder:
            write_tasks(Path(folder), rows(args.run, args.questions))
            keys = Tasks(names=tuple(f"groundup_{name}" for name in TASKS), folder=folder)
            tasks = load(keys, manager_of(keys))
            loaded = candidate.load()
            found = {
                name.removeprefix("groundup_"): compared(
                    candidate, loaded, requests(tasks[name][0], args.questions, 0), args.batch_size, args.turns
                )
                for name in keys.names
            }
    except UserError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    missed = [name for name, one in found.items() if one["times_as_fast"] < LEAST_RATIO]
    missed += ["whole stage"] if stage and stage["seconds"] > MOST_SECONDS else []
    told = {
        "run": args.run.name,
        "questions": args.questions,
        "batch_size": args.batch_size,
        "parameters": sum(p.numel() for p in loaded.parameters()),
        "vocabulary": len(candidate.tokenizer),
        "tasks": found,
        "bar_times_as_fast": LEAST_RATIO,
        "stage": stage,
        "bar_seconds": MOST_SECONDS,
        "missed": missed,
        "hardware": describe(),
    }
    write_json(args.out, told)
    sys.stdout.write(json.dumps(told, indent=1) + "\n")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
