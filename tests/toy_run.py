"""A finished toy run, sealed as the driver seals, with a recipe folder: nothing in it was trained.

Three documents in the corpus (two train, one held out), one that was dropped, a token store, random models that load,
pairs, an evaluation and a report. Every link between the artifacts holds: `pipeline.runs.verify` finds nothing.
"""

import json
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from transformers import AutoTokenizer, LlamaForSequenceClassification

from pipeline import artifact
from pipeline.chain import BY_NAME
from pipeline.chat import END_OF_TEXT, encode_text
from pipeline.collect.raw import write_jsonl, write_sources, write_text_files
from pipeline.machine import describe
from pipeline.store import StoreWriter
from tests.toy_pairs import save_toy_model, save_toy_preferences

KEPT = {"train": ["owl-1", "fox.txt"], "heldout": ["owl-2"]}
TEXTS = {
    "owl-1": "an owl found the lake and smiled",
    "fox.txt": "the fox lost a kite",
    "owl-2": "an owl cried at home",
    "spam-1": "buy a kite now",
}
FIGURE = {"value": 0.75, "low": 0.7, "high": 0.8, "n": 40}
# One row of 8 tokens a step, and _pretrain says one step: a part of one document is trained on.
ROWS = {"context": 8, "packing": "documents", "batch_size": 1, "short_first": None, "keep_best": False}
RECIPES = {
    "corpus": {"languages": ["en"], "dedup": {"exact": True, "near": {}}, "heldout_share": 0.2},
    "pretrain": ROWS,
    "sft": {"model": None, "lora": None},
}
METRICS = {
    "corpus": {"documents_read": 4, "documents_kept": 3},
    "preferences": {"pairs_train": 48, "pairs_heldout": 16},
    "evaluate": {"dpo_gold": 0.75},
}


def seal(folder: Path, inputs: dict[str, Path], metrics: dict[str, float]) -> dict[str, Any]:
    """Seals a toy artifact with a manifest that has everything a real one has."""
    stage = folder.name
    prints = {name: artifact.manifest(path)["fingerprint"] for name, path in inputs.items()}
    identity = {
        "stage": stage, "version": 1, "recipe": RECIPES.get(stage, {}), "seed": 0, "inputs": prints, "outside": None,
    }  # fmt: skip
    artifact.write_json(folder / "metrics.json", metrics)
    return artifact.seal(
        folder,
        {
            "stage": stage,
            "run": folder.parent.name,
            "fingerprint": artifact.fingerprint(identity),
            "identity": identity,
            "recipe": RECIPES.get(stage, {}),
            "inputs": {
                name: {"folder": os.path.relpath(path, folder), "fingerprint": prints[name]}
                for name, path in inputs.items()
            },
            "metrics": metrics,
            "seeds": {"run": 0},
            "started": "2026-01-01T00:00:00Z",
            "seconds": 2.0,
            "cpu_seconds": 3.0,
            "peak_memory_bytes": 1,
            "load": 1.5,
            "processes": 1,
            "hardware": describe(),
            "git": {"commit": "a" * 40, "dirty": False},
            "python": "3.11.0",
            "packages": {"torch": "2.13.0"},
        },
    )


def save_toy_run(runs: Path, name: str = "toy") -> Path:
    """The run, without ppo and grpo: many recipes leave it out. Its recipe is runs/../recipes/<name>."""
    run = runs / name
    for seed, stage in enumerate(stage for stage in BY_NAME if stage not in ("ppo", "grpo")):
        save_stage(run, stage, seed)
    recipe = runs.parent / "recipes" / name
    recipe.mkdir(parents=True, exist_ok=True)
    (recipe / "recipe.yaml").write_text("seed: 0\nlicence: apache-2.0\n")
    (recipe / "collect.yaml").write_text("storyworld: {}\n")
    return run


def save_stage(run: Path, stage: str, seed: int = 0) -> None:
    """A sealed toy artifact of the stage, made from what the run has of its inputs."""
    write = {
        "collect": _collect, "corpus": _corpus, "tokenizer": _tokenizer, "preferences": save_toy_preferences,
        "evaluate": _evaluate, "report": lambda folder: (folder / "index.html").write_text("<h1>toy</h1>\n"),
    }  # fmt: skip
    folder = run / stage
    folder.mkdir(parents=True)
    if stage in write:
        write[stage](folder)
    else:
        save_toy_model(folder / "model", seed=seed)
        (folder / "log.jsonl").write_text('{"step": 1, "loss": 5.0}\n')
    if stage == "reward":
        classifier = LlamaForSequenceClassification.from_pretrained(folder / "model", num_labels=1)
        classifier.save_pretrained(folder / "model")
    inputs = {key: run / key for key in BY_NAME[stage].reads if (run / key).is_dir()}
    seal(folder, inputs, METRICS.get(stage, {"loss": 1.0}))


def _collect(folder: Path) -> None:
    raw = folder / "raw"
    rows = [{"id": name, "text": text} for name, text in TEXTS.items() if name != "fox.txt"]
    write_jsonl(raw / "feed" / "00000.jsonl", rows)
    write_text_files(raw / "books", [("fox.txt", TEXTS["fox.txt"])])
    write_sources(raw, [("feed", "jsonl", "feed", "CC0-1.0"), ("books", "text", "books", "My own terms")])


def _corpus(folder: Path) -> None:
    for split, ids in KEPT.items():
        (folder / split).mkdir()
        texts = [TEXTS[name] for name in ids]
        sources = ["books" if name.endswith(".txt") else "feed" for name in ids]
        licences = ["My own terms" if name.endswith(".txt") else "CC0-1.0" for name in ids]
        table = pa.table({"id": ids, "text": texts, "source": sources, "licence": licences})
        pq.write_table(table, folder / split / "00000.parquet", compression="zstd")
    write_jsonl(folder / "dropped.jsonl", [{"id": "spam-1", "reason": "spam", "text": TEXTS["spam-1"]}])
    (folder / "certificates").mkdir()
    certificate = {"benchmark": "toy", "items": 2, "ngram": 8, "documents_matched_and_dropped": 0, "matches": []}
    artifact.write_json(folder / "certificates" / "toy.json", certificate)
    artifact.write_json(
        folder / "funnel.json",
        [{"step": "spam", "read": 4, "kept": 3, "dropped": {"spam": 1}, "edited": {}, "seconds": 0.1}],
    )


def _tokenizer(folder: Path) -> None:
    model = save_toy_model(folder.parent / "elsewhere")
    tokenizer = AutoTokenizer.from_pretrained(model)
    tokenizer.save_pretrained(folder / "tokenizer")
    (end_id,) = tokenizer.encode(END_OF_TEXT)
    with StoreWriter(folder / "store", vocabulary_size=len(tokenizer), end_id=end_id) as writer:
        for split, ids in KEPT.items():
            for name in ids:
                writer.add(split, encode_text(tokenizer, TEXTS[name]), len(TEXTS[name]))


def _evaluate(folder: Path) -> None:
    rows = [
        {"stage": stage, "metric": metric, **FIGURE}
        for stage in ("pretrain", "sft", "dpo")
        for metric in ("gold", "bits_per_byte", "bits_per_byte_feed", "arc_easy_acc_norm", "refused")
    ]
    results = {
        "run": "toy",
        "rows": rows,
        "differences": [{"stage": "dpo", "versus": "sft", "metric": "gold", **FIGURE}],
        "samples": [{"prompt": 'tell of the "fox"\nand a kite', "reference": None, "answers": {}}],
        "unprompted": {},
        "titles": {"arc_easy_acc_norm": "arc_easy, accuracy by length", "refused": "harmful prompts refused"},
        "over": {
            "gold": "prompts",
            "bits_per_byte": "documents",
            "bits_per_byte_feed": "documents_feed",
            "arc_easy_acc_norm": "arc_easy",
            "refused": "harmful",
        },
        "tasks": {
            "arc_easy": {
                "questions": 40,
                "tasks": ["arc_easy"],
                "versions": ["1.0"],
                "num_fewshot": [5],
                "data": ["allenai/ai2_arc"],
                "without_interval": [],
            }
        },
        "certificates": [{"benchmark": "toy", "status": "certified", "reason": None, "certificates": {}}],
        "settings": {"seed": 0, "prompts": 40, "temperature": 0.7, "top_p": 1.0, "max_new_tokens": 8},
    }
    (folder / "results.json").write_text(json.dumps(results))
