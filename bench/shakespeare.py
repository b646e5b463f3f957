"""Seconds of training to nanoGPT's own score on tiny Shakespeare, character by character, on this machine's processor.

    python -m bench.shakespeare --nanogpt ~/nanoGPT --text ~/nanoGPT/data/shakespeare_char/input.txt

nanoGPT runs the recipe that its README gives for a processor (blocks of 64, batches of 12, 4 layers, 4 heads, width
128, 2,000 steps), we run recipes/shakespeare-char cut to `--steps`; they take turns, `--rounds` times. Of both the
seconds of the training steps are counted, compilation with them and evaluation not, and both are scored by one
function: nats a character of the held-out tenth, in windows of 64 that do not overlap, each with a fresh context. The
ratio of medians is only given where our median score is at least as good. Writes bench/shakespeare.json.
"""

import argparse
import json
import os
import pickle
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
import yaml
from transformers import AutoModelForCausalLM, AutoTokenizer

from bench.pretrain import nanogpt_module

ROOT = Path(__file__).resolve().parent.parent
WINDOW, TRAINED = 64, 0.9  # characters; share of the text that is trained on
NANOGPT: dict[str, Any] = {
    "device": "cpu", "compile": False,
    "block_size": WINDOW, "batch_size": 12, "n_layer": 4, "n_head": 4, "n_embd": 128, "dropout": 0.0,
    "max_iters": 2000, "lr_decay_iters": 2000,
    # One evaluation at the end, as short as can be, whose checkpoint is kept: its own would cost it seconds.
    "eval_interval": 2000, "eval_iters": 1, "always_save_checkpoint": True, "log_interval": 1,
}  # fmt: skip
STAGES = ("collect", "corpus", "tokenizer", "pretrain")
Logits = Callable[[torch.Tensor], torch.Tensor]  # ids (B, T) -> (B, T, V)


@torch.no_grad()
def score(logits: Logits, ids: list[int]) -> float:
    """Nats a token of `ids`, in windows of 64 with a fresh context; what is left of the last window is not scored."""
    windows = (len(ids) - 1) // WINDOW
    inputs = torch.tensor(ids[: windows * WINDOW]).view(windows, WINDOW)
    targets = torch.tensor(ids[1 : windows * WINDOW + 1]).view(windows, WINDOW)
    total = 0.0
    for rows, wanted in zip(inputs.split(256), targets.split(256), strict=True):
        total += float(F.cross_entropy(logits(rows).flatten(0, 1).float(), wanted.flatten(), reduction="sum"))
    return total / targets.numel()


def nanogpt(source: Path, text: str, folder: Path) -> tuple[float, float]:
    """(seconds, nats a character) of nanoGPT's own training script, in a copy of its folder."""
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns(".git", "assets", "out*"))
    place = folder / "data" / "shakespeare_char"
    characters = sorted(set(text))
    number = {character: i for i, character in enumerate(characters)}
    ids = np.array([number[character] for character in text], dtype=np.uint16)
    cut = int(len(text) * TRAINED)
    ids[:cut].tofile(place / "train.bin")
    ids[cut:].tofile(place / "val.bin")
    (place / "meta.pkl").write_bytes(pickle.dumps({"vocab_size": len(characters), "stoi": number}))
    words = [f"--{key}={value}" for key, value in NANOGPT.items()]
    told = subprocess.run(
        [sys.executable, "train.py", "config/train_shakespeare_char.py", *words],
        cwd=folder, check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    steps = [float(ms) for ms in re.findall(r"^iter \d+: loss .*? time ([\d.]+)ms", told, re.MULTILINE)]
    found = torch.load(folder / "out-shakespeare-char" / "ckpt.pt", map_location="cpu", weights_only=True)
    module = nanogpt_module(source)
    model = module.GPT(module.GPTConfig(**found["model_args"]))
    model.load_state_dict(found["model"])
    model.eval()
    # Its model gives every position's logits only where it is given targets.
    return sum(steps[: int(NANOGPT["max_iters"])]) / 1000, score(lambda rows: model(rows, rows)[0], ids[cut:].tolist())


def ours(text: str, steps: int, seed: int, folder: Path) -> tuple[float, float]:
    """(seconds, nats a character) of recipes/shakespeare-char, cut to `steps`, through the driver."""
    recipe, data = folder / "shakespeare-char", folder / "data"
    shutil.copytree(ROOT / "recipes" / "shakespeare-char", recipe)
    data.mkdir()
    (data / "input.txt").write_text(text, encoding="utf-8")
    change(recipe / "collect.yaml", lambda keys: keys["files"].update(folder=str(data)))
    change(recipe / "pretrain.yaml", lambda keys: keys.update(steps=steps))
    (recipe / "recipe.yaml").write_text(f"seed: {seed}\n", encoding="utf-8")
    for stage in STAGES:
        words = [sys.executable, "-m", "pipeline.run", stage, "--recipe", str(recipe), "--runs", str(folder / "runs")]
        subprocess.run(words, cwd=ROOT, check=True, env=os.environ | {"HF_HUB_OFFLINE": "1"})
    made = folder / "runs" / "shakespeare-char" / "pretrain"
    seconds = json.loads((made / "manifest.json").read_text(encoding="utf-8"))["metrics"]["seconds"]
    tokenizer = AutoTokenizer.from_pretrained(made / "model")
    model = AutoModelForCausalLM.from_pretrained(made / "model", dtype=torch.float32).eval()
    ids = tokenizer(text[int(len(text) * TRAINED) :]).input_ids
    return seconds, score(lambda rows: model(rows).logits, ids)


def change(path: Path, how: Callable[[Any], Any]) -> None:
    """Rewrites a recipe's file."""
    keys = yaml.safe_load(path.read_text(encoding="utf-8"))
    how(keys)
    path.write_text(yaml.safe_dump(keys), encoding="utf-8")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(prog="python -m bench.shakespeare", description=str(__doc__).splitlines()[0])
    parser.add_argument("--nanogpt", type=Path, required=True, help="a checkout of karpathy/nanoGPT")
    parser.add_argument("--text", type=Path, help="default: data/shakespeare_char/input.txt in that folder")
    parser.add_argument("--steps", type=int, default=360, help="of ours; nanoGPT takes its own 2,000")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("shakespeare.json"))
    args = parser.parse_args(argv)
    source = args.nanogpt.expanduser().resolve()
    path = args.text or source / "data" / "shakespeare_char" / "input.txt"
    for needed in (source / "train.py", path):
        if not needed.is_file():
            parser.error(f"{needed}: no such file. --nanogpt names a checkout, --text tiny Shakespeare.")
    text = path.read_text(encoding="utf-8")
    rows: dict[str, list[tuple[float, float]]] = {"nanogpt": [], "groundup": []}
    for number in range(args.rounds):
        with tempfile.TemporaryDirectory() as folder:
            rows["nanogpt"].append(nanogpt(source, text, Path(folder) / "nanoGPT"))
        with tempfile.TemporaryDirectory() as folder:
            rows["groundup"].append(ours(text, args.steps, number, Path(folder)))
        for name, found in rows.items():
            sys.stdout.write(
                f"round {number + 1} {name:<9} {found[-1][0]:8.1f} s  {found[-1][1]:.4f} nats a character\n"
            )
            sys.stdout.flush()
    medians = {
        name: [statistics.median(column) for column in zip(*found, strict=True)] for name, found in rows.items()
    }
    (theirs, aim), (mine, reached) = medians["nanogpt"], medians["groundup"]
    ratio = round(mine / theirs, 3) if reached <= aim else None
    sys.stdout.write(
        f"{args.steps} steps: {ratio} of nanoGPT's seconds\n"
        if ratio
        else f"not reached: {reached:.4f}, aim {aim:.4f}\n"
    )
    result = {"steps": args.steps, "rounds": rows, "medians": medians, "seconds_ratio": ratio}
    args.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return 0 if ratio else 1


if __name__ == "__main__":
    sys.exit(main())
