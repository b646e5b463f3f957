"""Our model against the harness's `hf` model on one task: `python -m bench.harness --model runs/storyworld/sft/model`

Both answer the same requests in one process, turn by turn, at the same batch size, dtype and device; loading and
building of requests are left out. Writes every turn's seconds, their ratio and the largest difference of a
log-likelihood to bench/harness.json. The task is asked over local JSON lines where --data names them.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from pipeline.artifact import write_json
from pipeline.evaluate.models import candidates
from pipeline.evaluate.recipe import LocalData, Named, Tasks
from pipeline.evaluate.tasks import load, manager_of
from pipeline.machine import describe


def requests(task: Any, limit: int, num_fewshot: int) -> list[Any]:
    """The task's requests, built once for both."""
    task.set_config(key="num_fewshot", value=num_fewshot)
    task.set_fewshot_seed(seed=0)
    task.build_all_requests(limit=limit)
    return list(task.instances)


def turn(model: Any, asked: Sequence[Any]) -> tuple[float, list[Any]]:
    """Seconds and answers."""
    started = time.perf_counter()
    answers = getattr(model, asked[0].request_type)(asked, disable_tqdm=True)
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - started, answers


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.harness", description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True, help="a model's folder")
    parser.add_argument("--task", default="arc_easy")
    parser.add_argument("--data", help="the task's questions as JSON lines")
    parser.add_argument("--limit", type=int, default=300)
    parser.add_argument("--num-fewshot", type=int, default=0)
    parser.add_argument("--batch-size", type=int, default=16, help="of the hf model; ours counts tokens")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("bench/harness.json"))
    args = parser.parse_args(argv)
    from lm_eval.models.huggingface import HFLM

    from pipeline.evaluate.harness import HarnessModel

    data = {args.task: LocalData(test=args.data)} if args.data else {}
    keys = Tasks(names=(args.task,), data=data)
    asked = requests(load(keys, manager_of(keys))[args.task][0], args.limit, args.num_fewshot)
    (candidate,) = candidates({}, [Named(name="model", folder=args.model, chat=False)])
    loaded = candidate.load()
    ours = HarnessModel(candidate, loaded, batch_size=args.batch_size, seed=0, chat=False)
    theirs = HFLM(
        pretrained=loaded, tokenizer=candidate.tokenizer, batch_size=args.batch_size, max_length=candidate.context
    )
    for model in (ours, theirs):  # warm
        turn(model, asked[:32])
    seconds: dict[str, list[float]] = {"ours": [], "hf": []}
    answers: dict[str, list[Any]] = {}
    for _ in range(args.turns):
        for name, model in (("ours", ours), ("hf", theirs)):
            took, answers[name] = turn(model, asked)
            seconds[name].append(round(took, 3))
    gaps = [abs(a[0] - b[0]) for a, b in zip(answers["ours"], answers["hf"], strict=True) if isinstance(a, tuple)]
    found = {
        "task": args.task,
        "requests": len(asked),
        "num_fewshot": args.num_fewshot,
        "batch_size": args.batch_size,
        "parameters": sum(p.numel() for p in loaded.parameters()),
        "vocabulary": len(candidate.tokenizer),
        "seconds": seconds,
        "times_as_fast": round(
            statistics.median(h / o for o, h in zip(seconds["ours"], seconds["hf"], strict=True)), 3
        ),
        "largest_difference": max(gaps, default=None),
        "hardware": describe(),
    }
    write_json(args.out, found)
    sys.stdout.write(json.dumps(found, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
