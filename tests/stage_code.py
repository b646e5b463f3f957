"""Keeps stage versions honest: `python -m tests.stage_code pretrain --why "faster, same weights: compared by sha256"`

A fingerprint holds a stage's version, not its code. So `stage_code.json` lists, for each stage, the hash of its code
at the current version; when the code changes, either raise the version in pipeline/<stage>/recipe.py (the result
changes) or say why it stays the same. This command notes either; tests/test_stage_code.py fails until it was run.
"""

import argparse
import ast
import hashlib
import json
import sys
from pathlib import Path

from pipeline.chain import BY_NAME

ROOT = Path(__file__).resolve().parent.parent
NOTES = Path(__file__).with_name("stage_code.json")

# Code outside its room that can change what a stage writes.
CHATS = ("chat.py", "chat_gate.py")
TABLES = ("chat_columns.py", "table.py")
ADAPTERS = ("adapter.py", "lora.py")
SCREEN = ("screen", "secrets.py", "words.py")
TEXTS = ("coarse_words.py", "labelled.py", "sentences.py", "text_classifier.py", "train_classifier.py")
DRIFT = ("drift.py", "generate.py", "intervals.py")
JUDGED = ("functions.py", "ppo/data.py", "ppo/load.py", "ppo/rewards.py")
ANSWERS = ("classifier.py", "generate.py", "prompts.py")
SHARED = {
    "collect": ["world", "formats.py"],
    "corpus": [*SCREEN, *TEXTS, "intervals.py", "formats.py"],
    "tokenizer": [*SCREEN, "store.py", "chat_template.jinja"],
    "pretrain": ["store.py", "rows.py", "packing.py", "intervals.py", "training_state.py", "engine.py"],
    "sft": [*SCREEN, *CHATS, *TABLES, *ADAPTERS, "trainers.py", "checkpoint.py", "intervals.py", "generate.py"],
    "preferences": [*SCREEN, *CHATS, *TABLES, "functions.py", "generate.py", "classifier.py", "world", "judging"],
    "reward": [*CHATS, "classifier.py", "trainers.py", "length_grouped.py", "pairs.py", "intervals.py"],
    "dpo": [*CHATS, *ADAPTERS, *DRIFT, "trainers.py", "length_grouped.py", "pairs.py"],
    "ppo": [*SCREEN, *CHATS, *ADAPTERS, *ANSWERS, *TABLES, *DRIFT, "training_state.py", "engine.py"],
    "grpo": [*SCREEN, *CHATS, *ADAPTERS, *ANSWERS, *TABLES, *DRIFT, *JUDGED, "trainers.py"],
    "evaluate": [
        *("chat.py", "classifier.py", "generate.py", "store.py", "packing.py", "intervals.py", "world", "judging"),
        *TEXTS,
    ],
    "report": ["render.py", "shown.py"],
}


def files(stage: str) -> list[Path]:
    """The source files that decide what a stage writes."""
    found: list[Path] = []
    for place in [ROOT / "pipeline" / stage, *(ROOT / "pipeline" / name for name in SHARED[stage])]:
        found += sorted(p for p in place.rglob("*") if p.is_file()) if place.is_dir() else [place]
    return [path for path in found if "__pycache__" not in path.parts]


def code(path: Path) -> str:
    """A file's meaning: Python without comments, docstrings and layout; any other file as it is."""
    if path.suffix != ".py":
        return path.read_text(encoding="utf-8")
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return ast.dump(tree)


def digest(stage: str) -> str:
    """16 hex digits that change with the stage's code."""
    text = "\0".join(f"{path.relative_to(ROOT)}\0{code(path)}" for path in files(stage))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def notes() -> dict[str, dict[str, object]]:
    """For each stage the version and the code's hash that were noted last."""
    return json.loads(NOTES.read_text(encoding="utf-8")) if NOTES.exists() else {}


def main() -> int:
    """Notes the present code of the named stages."""
    parser = argparse.ArgumentParser(prog="python -m tests.stage_code", description=__doc__.splitlines()[0])
    parser.add_argument("stages", nargs="+", choices=list(BY_NAME))
    parser.add_argument("--why", help="why the result stays the same; needed where the version was not raised")
    args = parser.parse_args()
    noted = notes()
    for stage in args.stages:
        old, version = noted.get(stage), BY_NAME[stage].version
        if old and old["version"] == version and old["code"] != digest(stage) and not args.why:
            sys.stderr.write(f"{stage}: its code changed at version {version}. Raise the version, or say --why.\n")
            return 2
        noted[stage] = {"version": version, "code": digest(stage), **({"why": args.why} if args.why else {})}
    NOTES.write_text(json.dumps(noted, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
