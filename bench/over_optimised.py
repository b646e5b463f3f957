"""Where optimising the reward model stops helping: PPO with its brakes off, on a finished run (`make bench-rlhf`).

The recipe's own ppo.yaml, but longer, with hardly a price on KL and no budget; the gold judge, which training never
asks, judges every answer that was drawn. Prints the reward model's score and the gold score against KL (Gao et al.
2023, 2210.10760), marks the row at which the shipped recipe's own PPO ended, and writes bench/over_optimised.json.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.artifact import write_json
from pipeline.evaluate.optimised import Optimised
from pipeline.step_log import read_log


def train(run: Path, recipe: str, out: Path, episodes: int, kl_coef: float) -> None:
    """PPO of the recipe into `out`, every answer kept. Raises CalledProcessError where it fails."""
    batch = json.loads((run / "ppo" / "manifest.json").read_text(encoding="utf-8"))["recipe"]["trainer"]["batch_size"]
    keys = {"total_episodes": episodes, "kl_coef": kl_coef, "kl_budget": "null", "num_samples": batch}
    told = [part for key, value in keys.items() for part in ("--set", f"trainer.{key}={value}")]
    command = [sys.executable, "-m", "pipeline.run", "ppo", "--recipe", recipe, "--runs", str(run.parent)]
    subprocess.run([*command, "--out", str(out), *told], check=True)


def rows(collect: Path, trained: Path) -> list[dict[str, Any]]:
    """A row for each eighth of the training, as results.json has them (docs/evaluation.md)."""
    found = Optimised(collect, trained, seed=0).results()
    return list(found["optimised"])


def shipped_kl(run: Path) -> float:
    """Nats an answer at which the run's own PPO ended, the mean of the last eighth of its steps."""
    log = read_log(run / "ppo" / "log.jsonl")
    last = log[-max(1, len(log) // 8) :]
    return float(sum(entry["kl"] for entry in last) / len(last))


def table(found: Sequence[dict[str, Any]], kl: float) -> list[str]:
    """The rows as text. A mark shows between which two the shipped recipe's `kl` lies, another the best gold score."""
    best = max(found, key=lambda row: row["gold"])
    lines = [f"{'steps':<10}{'KL':>7}{'score':>9}{'gold':>8}  {'95 %':<16}{'wishes met':>11}{'tokens':>8}"]
    marked = False
    for row in found:
        if row["kl"] >= kl and not marked:
            lines.append(f"--- the shipped recipe ends at {kl:.2f} nats")
            marked = True
        interval = f"{row['gold_low']:.4f} to {row['gold_high']:.4f}"
        steps = "{} to {}".format(*row["steps"])
        lines.append(
            f"{steps:<10}{row['kl']:>7.2f}{row['score']:>9.3f}{row['gold']:>8.4f}  {interval:<16}"
            f"{row['wishes_met']:>10.3f}{row['length']:>8.0f}{'  best' if row is best else ''}"
        )
    return lines if marked else [*lines, f"--- the shipped recipe ends at {kl:.2f} nats, further than this run went"]


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.over_optimised", description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, required=True, help="a finished run of the story world, with ppo")
    parser.add_argument("--recipe", default="storyworld")
    parser.add_argument("--episodes", type=int, default=6144)
    parser.add_argument("--kl-coef", type=float, default=0.01)
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "ppo"
        train(args.run.resolve(), args.recipe, out, args.episodes, args.kl_coef)
        found = rows(args.run / "collect", out)
    kl = shipped_kl(args.run)
    sys.stdout.write("\n".join(table(found, kl)) + "\n")
    write_json(Path("bench/over_optimised.json"), {"rows": found, "shipped_kl": kl, "kl_coef": args.kl_coef})
    return 0


if __name__ == "__main__":
    sys.exit(main())
