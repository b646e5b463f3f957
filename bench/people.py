"""A reward model of people's and GPT-4's choices, from a base model that was made here (`python -m bench.people`).

The chain's own stages on real text: a base model pretrained for about 20 minutes on two cores on books and news, a
chat model of 5,000 instructions, then a reward model on each of two preference sets, in five folds by prompt. Prints
for each set the accuracy over all folds beside "the longer one" and "the shorter one", and the difference from the
better of these, paired by prompt; writes bench/people.json. The data are not part of this project: --data names them.
"""

import argparse
import gzip
import json
import subprocess
import sys
import tempfile
import zlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from pipeline.artifact import write_json
from pipeline.classifier import score
from pipeline.intervals import paired_difference
from pipeline.pairs import encode_pairs, read_pairs
from pipeline.recipe import validate
from pipeline.reward.recipe import Recipe
from pipeline.reward.score import ScoredPair, accuracies, length_matched
from pipeline.reward.train import run, scored
from pipeline.stage import Job

FOLDS = 5
BOOKS = ("classic_books", "kids_classics", "onestop_levels")
WINDOW = 384  # tokens: nine in ten of the transcripts
CHAIN = ("collect", "corpus", "tokenizer", "pretrain", "sft")
REWARD = {
    "num_train_epochs": 1,
    "per_device_train_batch_size": 8,
    "learning_rate": 5e-4,
    "lr_scheduler_type": "cosine",
    "warmup_steps": 0.1,
    "weight_decay": 0.01,
}


def recipes(data: Path, tokens: int) -> dict[str, dict[str, Any]]:
    """The recipe's files. tokens: the base model's budget."""
    sources = [
        {"name": name, "licence": "not ours", "files": {"folder": str(data / name), "suffixes": [".jsonl"]}}
        for name in BOOKS
    ]
    instructions = {"path": str(next((data / "alpaca_5000").glob("*.json*"))), "format": "alpaca"}
    return {
        "recipe": {"seed": 0, "tracking": None},
        "collect": {"sources": sources},
        # A novel repeats its lines, and one document of it holds more than the limits for pages allow.
        "corpus": {"quality": {"gopher_repetition": None, "c4": None}, "safety": None, "heldout_share": 0.05},
        "tokenizer": {"vocab_size": 6144},
        "pretrain": {
            "model": {
                "model_type": "qwen3", "hidden_size": 192, "intermediate_size": 512, "num_hidden_layers": 4,
                "num_attention_heads": 3, "num_key_value_heads": 3, "head_dim": 64, "tie_word_embeddings": True,
                "max_position_embeddings": WINDOW,
            },
            "context": WINDOW, "packing": "stream", "batch_size": 16, "tokens": tokens, "optimizer": "muon",
            "learning_rate": 7e-3, "checkpoint_every": 500,
        },
        "sft": {
            "data": {"sources": [instructions], "heldout": 0.02, "max_left_out": 0.05},
            "trainer": {
                "num_train_epochs": 1, "per_device_train_batch_size": 16, "learning_rate": 1e-3,
                "lr_scheduler_type": "cosine", "warmup_steps": 0.03, "weight_decay": 0.01,
            },
        },
        "reward": {"trainer": REWARD},
    }  # fmt: skip


def given(data: Path, out: Path) -> dict[str, dict[str, Any]]:
    """What preferences.yaml says of each set. Of alpaca_eval's rows those with a verdict are brought together."""
    rows = [row for path in sorted((data / "alpaca_eval_pref").glob("*.gz")) for row in lines(path)]
    joined = out / "alpaca_eval.jsonl"
    kept = [
        {"prompt": row["instruction"], "first": row["output_1"], "second": row["output_2"],
         "label": int(row["preference"]), "source": row["generator_2"]}
        for row in rows if row["preference"] is not None
    ]  # fmt: skip
    joined.write_text("".join(json.dumps(row) + "\n" for row in kept), encoding="utf-8")
    return {
        "hh_harmless": {"path": str(data / "hh_harmless_dev"), "format": "transcripts"},
        "alpaca_eval": {"path": str(joined), "format": "choices"},
    }


def lines(path: Path) -> Iterable[dict[str, Any]]:
    """The rows of a .jsonl.gz."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        yield from map(json.loads, file)


def prompt_of(row: dict[str, Any]) -> str:
    """What all pairs of a prompt share."""
    return json.dumps(row["prompt"], sort_keys=True)


def folds(rows: Sequence[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """The rows in FOLDS parts; all of one prompt in one part, which its text alone decides."""
    parts: list[list[dict[str, Any]]] = [[] for _ in range(FOLDS)]
    for row in rows:
        parts[zlib.crc32(prompt_of(row).encode()) % FOLDS].append(row)
    return parts


def judged(sft: Path, parts: Sequence[Sequence[dict[str, Any]]], out: Path) -> list[ScoredPair]:
    """Every pair, scored by the reward model of the fold that did not train on it."""
    found: list[ScoredPair] = []
    recipe = validate(Recipe, {"trainer": REWARD}, "bench.people")
    for number, heldout in enumerate(parts):
        folder = out / f"fold{number}"
        pairs, model = folder / "preferences", folder / "reward"
        pairs.mkdir(parents=True)
        model.mkdir()
        training = [row for other, part in enumerate(parts) if other != number for row in part]
        for name, rows in (("train", training), ("heldout", heldout)):
            text = "".join(json.dumps(row) + "\n" for row in rows)
            (pairs / f"{name}.jsonl").write_text(text, encoding="utf-8")
        inputs = {"sft": sft, "preferences": pairs}
        run(Job(stage="reward", recipe=recipe, out=model, inputs=inputs, seed=0, run_name="people"))
        found += scores(model / "model", pairs / "heldout.jsonl")
    return found


def scores(model_path: Path, file: Path) -> list[ScoredPair]:
    """The file's pairs in their labelled order."""
    tokenizer = AutoTokenizer.from_pretrained(model_path)
    model = AutoModelForSequenceClassification.from_pretrained(model_path, use_safetensors=True).eval()
    pairs, _ = encode_pairs(tokenizer, read_pairs(file), WINDOW, str(file))
    sides = [pair.prompt_ids + ids for pair in pairs for ids in (pair.chosen_ids, pair.rejected_ids)]
    values = score(model, sides, tokenizer.pad_token_id)
    return [scored(pair, values[2 * index], values[2 * index + 1]) for index, pair in enumerate(pairs)]


def over_length(pairs: Sequence[ScoredPair]) -> tuple[str, float, float, float]:
    """(the better of the two rules by length, accuracy less that rule's, low, high), paired by prompt."""
    means = accuracies(pairs, seed=0)
    rule = max(("longer", "shorter"), key=lambda name: means[name][0])
    sign = 1 if rule == "longer" else -1
    right: dict[Any, list[tuple[float, float]]] = defaultdict(list)
    for pair in pairs:
        margins = (pair.better_reward - pair.worse_reward, sign * (pair.better_length - pair.worse_length))
        right[pair.prompt].append((np.sign(margins[0]) / 2 + 0.5, np.sign(margins[1]) / 2 + 0.5))
    by_prompt = np.array([np.mean(values, axis=0) for values in right.values()])
    return (rule, *paired_difference(by_prompt[:, 0], by_prompt[:, 1], seed=0))


def figures(pairs: Sequence[ScoredPair]) -> dict[str, Any]:
    """Of all folds together: accuracies with their intervals, the difference, pairs of like length."""
    rule, mean, low, high = over_length(pairs)
    found: dict[str, Any] = {"pairs": len(pairs), **accuracies(pairs, seed=0)}
    found |= {"better_rule": rule, "over_it": (mean, low, high)}
    if matched := length_matched(pairs):
        found["length_matched"] = accuracies(matched, seed=0)["reward"]
    return found


def stage(name: str, recipe: Path, runs: Path, *more: str) -> None:
    """One stage of the chain. Raises CalledProcessError."""
    command = [sys.executable, "-m", "pipeline.run", name, "--recipe", str(recipe), "--runs", str(runs), *more]
    subprocess.run(command, check=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.people", description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--tokens", type=int, default=9_000_000, help="of pretraining: 20 minutes on two cores")
    args = parser.parse_args(argv)
    if not args.data.is_dir():
        sys.stderr.write(f"{args.data}: the preference sets are not here. --data names the folder that holds them.\n")
        return 2
    data, report = args.data.resolve(), {}
    with tempfile.TemporaryDirectory() as folder:
        out, recipe = Path(folder), Path(folder) / "people"
        recipe.mkdir()
        sets = given(data, out)
        first = {"judge": "dataset", "dataset": next(iter(sets.values())), "heldout": 0.02}
        for name, keys in {**recipes(data, args.tokens), "preferences": first}.items():
            (recipe / f"{name}.yaml").write_text(yaml.safe_dump(keys), encoding="utf-8")
        for name in CHAIN:
            stage(name, recipe, args.runs)
        sft = args.runs.resolve() / "people" / "sft"
        for name, keys in sets.items():
            made = out / f"{name}-pairs"
            told = [part for key, value in keys.items() for part in ("--set", f"dataset.{key}={value}")]
            stage("preferences", recipe, args.runs, "--out", str(made), *told)
            rows = [row for file in ("train", "heldout") for row in read_pairs(made / f"{file}.jsonl")]
            report[name] = figures(judged(sft, folds(rows), out / name))
    base = json.loads((args.runs / "people" / "pretrain" / "manifest.json").read_text(encoding="utf-8"))["metrics"]
    report["base"] = {key: base[key] for key in ("seconds", "heldout_bits_per_byte") if key in base}
    for name in sets:
        sys.stdout.write("\n".join(table(name, report[name])) + "\n")
    write_json(Path("bench/people.json"), report)
    return 0


def table(name: str, found: dict[str, Any]) -> list[str]:
    """The set's figures as text."""
    rows = {"reward model": "reward", "the longer one": "longer", "the shorter one": "shorter",
            "reward model, like lengths": "length_matched"}  # fmt: skip
    lines = [f"{name}: {found['pairs']} pairs, {FOLDS} folds by prompt"]
    lines += [
        "  {:<28} {:.3f} [{:.3f}, {:.3f}] of {} prompts".format(label, *found[key])
        for label, key in rows.items()
        if key in found
    ]
    return [*lines, "  over '{}' {:+.3f} [{:+.3f}, {:+.3f}]".format(found["better_rule"], *found["over_it"])]


if __name__ == "__main__":
    sys.exit(main())
