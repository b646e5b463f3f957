"""The demo on several seeds: `python -m bench.demo --seeds 0 1 2 3 4` (`make bench-demo`).

Writes recipes that differ from recipes/storyworld in the seed alone, runs the chain and the LoRA variant of each
through make, and puts every figure's mean and range over the seeds into bench/demo.json.
"""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bench.bars import metrics, story_bars

ROOT = Path(__file__).resolve().parent.parent


def recipes(folder: Path, seed: int) -> tuple[Path, Path]:
    """The story world's recipe and its LoRA variant at this seed."""
    full, lora = folder / f"storyworld-seed{seed}", folder / f"storyworld-lora-seed{seed}"
    shutil.copytree(ROOT / "recipes" / "storyworld", full)
    (full / "recipe.yaml").write_text(f"seed: {seed}\n")
    shutil.copytree(ROOT / "recipes" / "storyworld-lora", lora)
    (lora / "recipe.yaml").write_text(f"seed: {seed}\nbase: {full}\n")
    return full, lora


def run(recipe: Path, runs: Path) -> None:
    """The whole chain of a recipe, through make. Raises CalledProcessError where it fails."""
    subprocess.run(["make", "--no-print-directory", "all", f"RECIPE={recipe}", f"RUNS={runs}"], cwd=ROOT, check=True)


def figures(run: Path) -> dict[str, float]:
    """The figures of one run: every metric that a bar is about, and what the run cost."""
    found = metrics(run)
    costs = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(run.glob("*/manifest.json"))]
    own = [one for one in costs if one["run"] == run.name]
    values = {
        "seconds": sum(one["seconds"] for one in own),
        "cpu_seconds": sum(one["cpu_seconds"] for one in own),
        "peak_memory_gib": max(one["peak_memory_bytes"] for one in own) / 2**30,
    }
    kinds = [
        key.removeprefix("planted_recall_") for key in found.get("corpus", {}) if key.startswith("planted_recall_")
    ]
    for bar in story_bars([kind for kind in kinds if not kind.endswith(("_low", "_high", "_n"))]):
        if bar.metric in found.get(bar.stage, {}):
            values[bar.metric] = found[bar.stage][bar.metric]
    for stage in ("dpo", "ppo"):
        if "kl" in found.get(stage, {}):
            values[f"{stage}_kl"] = found[stage]["kl"]  # nats an answer, to the SFT model
    return values


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.demo", description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    args = parser.parse_args(argv)
    rows: dict[int, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for seed in args.seeds:
            full, lora = recipes(Path(folder), seed)
            for recipe in (full, lora):
                run(recipe, args.runs)
            rows[seed] = figures(args.runs / full.name)
            scores = metrics(args.runs / lora.name)["evaluate"]
            of_full = scores[f"{full.name.replace('-', '_')}_sft_wishes_met"]  # on the same prompts
            rows[seed]["lora_share_of_full"] = scores["sft_wishes_met"] / of_full
            write(rows)
    return 0


def write(rows: dict[int, dict[str, float]]) -> None:
    """Prints the table of the seeds done so far and writes bench/demo.json."""
    keys = list(dict.fromkeys(key for row in rows.values() for key in row))
    lines = [f"{'figure':<38} {'mean':>9} {'lowest':>9} {'highest':>9}  {len(rows)} seeds"]
    for key in keys:
        values = [row[key] for row in rows.values() if key in row]
        lines.append(f"{key:<38} {statistics.fmean(values):>9.3f} {min(values):>9.3f} {max(values):>9.3f}")
    sys.stdout.write("\n".join(lines) + "\n")
    (ROOT / "bench" / "demo.json").write_text(json.dumps({"seeds": rows}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
