"""Our PPO beside that of TRL 1.12.0, the last release that had one: `make bench-rlhf`

Speed and memory on random models of 20M parameters, the score reached on the chat model and the reward model of a
finished run. TRL runs in an environment of its own, at the batch sizes that are fastest for it; the two libraries take
turns. Prints a table and writes bench/ppo.json.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM, LlamaForSequenceClassification

from pipeline.artifact import write_json
from pipeline.chat import render_prompt
from pipeline.machine import describe

RUNNER = Path(__file__).with_name("ppo_runner.py")
# What both libraries are told. One mini-batch a pass: TRL's accelerator accumulates over the whole batch, whatever
# num_mini_batches says, so that more of them would be more updates for ours alone.
COMMON: dict[str, Any] = {
    "mini_batches": 1, "epochs": 4, "temperature": 1.0, "missing_eos_penalty": 1.0, "kl_coef": 0.05, "seed": 0,
}  # fmt: skip
SPEED = {"batch": 64, "episodes": 128, "length": 100, "learning_rate": 1e-5}
SCORE = {"batch": 64, "episodes": 512, "length": 200, "learning_rate": 1e-4}
# (episodes at once in an update, in a forward without gradient) that each library is tried at.
BATCHES = ((8, 32), (16, 32), (32, 32), (32, 64))


def random_models(folder: Path, tokenizer: Any, seed: int = 0) -> tuple[str, str]:
    """A Llama of 20M parameters and a sequence classifier of the same shape, untrained."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=512, intermediate_size=1408, num_hidden_layers=6,
        num_attention_heads=8, num_key_value_heads=8, max_position_embeddings=512, tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id, eos_token_id=tokenizer.convert_tokens_to_ids("<|im_end|>"),
        bos_token_id=None, num_labels=1,
    )  # fmt: skip
    for name, kind in (("policy", LlamaForCausalLM), ("reward", LlamaForSequenceClassification)):
        model = kind(config)
        model.save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
    return str(folder / "policy"), str(folder / "reward")


def run(python: str, spec: dict[str, Any], folder: Path) -> dict[str, Any]:
    """A run's result. Raises CalledProcessError where it fails."""
    place, out = folder / "spec.json", folder / "out.json"
    place.write_text(json.dumps({**spec, "out": str(out)}), encoding="utf-8")
    env = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    subprocess.run([python, str(RUNNER), str(place)], check=True, stdout=subprocess.DEVNULL, env=env)
    return json.loads(out.read_text(encoding="utf-8"))


def fastest(python: str, spec: dict[str, Any], folder: Path) -> tuple[int, int]:
    """The sizes of BATCHES at which one step takes the least CPU time."""
    tried = {}
    for micro, rollout in BATCHES:
        found = run(python, {**spec, "episodes": spec["batch"], "micro": micro, "rollout": rollout}, folder)
        tried[micro, rollout] = found["cpu_seconds"]
    return min(tried, key=lambda sizes: tried[sizes])


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.ppo", description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, required=True, help="a finished run with sft and reward")
    parser.add_argument("--peer-python", required=True, help="the Python of an environment with trl==1.12.0")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    args = parser.parse_args(argv)
    policy, reward = (str(args.run.resolve() / stage / "model") for stage in ("sft", "reward"))
    tokenizer = AutoTokenizer.from_pretrained(policy)
    lines = (args.run / "collect" / "prompts" / "rl.jsonl").read_text(encoding="utf-8").splitlines()
    prompts = [json.loads(line)["prompt"] for line in lines]
    # On its data's last batch TRL's accelerator makes an update of every micro-batch: it must not come so far.
    assert len(prompts) // SCORE["batch"] > SCORE["episodes"] // SCORE["batch"], "too few prompts"
    shared = {**COMMON, "prompts": prompts, "ids": [render_prompt(tokenizer, prompt) for prompt in prompts]}
    pythons = {"ours, value head": sys.executable, "ours, four models": sys.executable, "trl": args.peer_python}
    found: dict[str, Any] = {"hardware": describe(), "speed": {}, "scores": {}}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        random_policy, random_reward = random_models(folder, tokenizer)
        specs = {
            kind: {
                **shared, "library": "trl" if kind == "trl" else "ours",
                "value": "head" if kind == "ours, value head" else "reward",
            }
            for kind in pythons
        }  # fmt: skip
        for kind, spec in specs.items():
            spec |= {**SPEED, "policy": random_policy, "reward": random_reward}
            spec["micro"], spec["rollout"] = fastest(pythons[kind], spec, folder)
        turns: dict[str, list[dict[str, Any]]] = {kind: [] for kind in pythons}
        for _ in range(args.turns):
            for kind, spec in specs.items():
                turns[kind].append(run(pythons[kind], spec, folder))
        for kind, results in turns.items():
            found["speed"][kind] = {
                "episodes_per_second": statistics.median(one["episodes"] / one["seconds"] for one in results),
                "episodes_per_cpu_second": statistics.median(one["episodes"] / one["cpu_seconds"] for one in results),
                "peak_bytes_above": statistics.median(one["peak_bytes_above"] for one in results),
                "sizes": [specs[kind]["micro"], specs[kind]["rollout"]],
                "packages": results[0]["packages"],
                "turns": [round(one["seconds"], 2) for one in results],
            }
        show(found)
        for seed in args.seeds:
            for kind, spec in specs.items():
                told = {**spec, **SCORE, "policy": policy, "reward": reward, "seed": seed}
                scores = run(pythons[kind], told, folder)["scores"]
                found["scores"].setdefault(kind, []).append(scores)
                sys.stdout.write(f"seed {seed}, {kind}: score {scores[0]:.3f} -> {last(scores):.3f}\n")
    write_json(Path("bench/ppo.json"), found)
    return 0


def last(scores: Sequence[float]) -> float:
    """The mean over the last four steps."""
    return statistics.fmean(scores[-4:])


def show(found: dict[str, Any]) -> None:
    """Prints the table of speed and memory, and the ratios to TRL."""
    peer = found["speed"]["trl"]
    heads = ("episodes/s", "over trl", "by CPU", "MB above", "over trl")
    sys.stdout.write(f"{'':<20}" + "".join(f"{head:>12}" for head in heads) + "  sizes\n")
    for kind, one in found["speed"].items():
        speed, cpu = (one[key] / peer[key] for key in ("episodes_per_second", "episodes_per_cpu_second"))
        memory = one["peak_bytes_above"]
        cells = [f"{one['episodes_per_second']:.2f}", f"{speed:.2f}", f"{cpu:.2f}", f"{memory / 1e6:.0f}"]
        cells.append(f"{memory / peer['peak_bytes_above']:.2f}")
        sys.stdout.write(f"{kind:<20}" + "".join(f"{cell:>12}" for cell in cells) + f"  {one['sizes']}\n")


if __name__ == "__main__":
    sys.exit(main())
