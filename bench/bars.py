"""Compares a finished run with its bars: `python -m bench.bars --recipe storyworld` (the gate does, after the demo).

Reads the manifests of runs/<recipe>; prints one row a figure. Exit status 1 when a rate is more than three standard
errors below its bar, or when a mean that must be positive is not. Never judges wall time: machines differ.
"""

import argparse
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

STANDARD_ERRORS = 3.0  # a miss within this many is noise for the gate, and still shown as below its bar


@dataclass(frozen=True, kw_only=True)
class Bar:
    """A figure that a run must reach. above: at least `value` (else at most). rate: judged with its standard error."""

    what: str
    stage: str
    metric: str
    value: float
    above: bool = True
    rate: bool = True


def story_bars(kinds: Sequence[str]) -> list[Bar]:
    """The bars of recipes/storyworld; `kinds` are the kinds of planted dirt that the corpus found."""
    return [
        *(
            Bar(what=f"planted {kind} removed", stage="corpus", metric=f"planted_recall_{kind}", value=0.95)
            for kind in kinds
        ),
        Bar(what="clean documents lost", stage="corpus", metric="clean_lost", value=0.02, above=False),
        Bar(what="base stories without defect", stage="evaluate", metric="pretrain_well_formed", value=0.80),
        Bar(
            what="base bits per byte over unigram's", stage="evaluate", metric="bits_per_byte_ratio", value=0.5,
            above=False, rate=False,
        ),
        Bar(what="base, all wishes met", stage="evaluate", metric="pretrain_wishes_met", value=0.05, above=False),
        Bar(what="SFT, all wishes met", stage="evaluate", metric="sft_wishes_met", value=0.75),
        Bar(what="reward model against gold", stage="reward", metric="accuracy_gold", value=0.85),
        Bar(
            what="reward model over 'the longer'", stage="reward", metric="accuracy_over_longer", value=0.10,
            rate=False,
        ),
        Bar(
            what="reward model over 'the shorter'", stage="reward", metric="accuracy_over_shorter", value=0.10,
            rate=False,
        ),
        *(bar for stage in ("dpo", "ppo") for bar in aligned_bars(stage)),
    ]  # fmt: skip


def aligned_bars(stage: str) -> list[Bar]:
    """Those of a model that alignment made, beside the SFT model."""
    name = stage.upper()
    return [
        Bar(
            what=f"{name} over SFT, gold score", stage="evaluate", metric=f"{stage}_minus_sft_gold", value=0.0,
            rate=False,
        ),
        Bar(
            what=f"{name} over SFT, low end of interval", stage="evaluate", metric=f"{stage}_minus_sft_gold_low",
            value=0.0, rate=False,
        ),
        Bar(
            what=f"{name}'s length over SFT's, off 1", stage="evaluate", metric=f"{stage}_length_change", value=0.25,
            above=False, rate=False,
        ),
    ]  # fmt: skip


def metrics(run: Path) -> dict[str, dict[str, float]]:
    """Each finished stage's metrics, with the ratios that the bars speak of."""
    found = {
        path.parent.name: json.loads(path.read_text(encoding="utf-8"))["metrics"]
        for path in sorted(run.glob("*/manifest.json"))
    }
    if "evaluate" in found:
        scores = found["evaluate"]
        if "unigram_bits_per_byte" in scores:
            scores["bits_per_byte_ratio"] = scores["pretrain_bits_per_byte"] / scores["unigram_bits_per_byte"]
        for stage in ("dpo", "ppo"):
            if f"{stage}_length_mean" in scores:
                scores[f"{stage}_length_change"] = abs(scores[f"{stage}_length_mean"] / scores["sft_length_mean"] - 1)
    if "reward" in found:
        for other in ("longer", "shorter"):
            if "accuracy_gold" in found["reward"]:
                found["reward"][f"accuracy_over_{other}"] = (
                    found["reward"]["accuracy_gold"] - found["reward"][f"accuracy_{other}"]
                )
    return found


def verdict(bar: Bar, value: float, n: float | None) -> str:
    """ "reached", "below the bar, within noise", or "missed"."""
    short = (bar.value - value) if bar.above else (value - bar.value)
    if short <= 0 and not (bar.value == 0.0 and value == 0.0):
        return "reached"
    if bar.rate and n:
        error = math.sqrt(max(bar.value * (1 - bar.value), 1e-12) / n)
        if short <= STANDARD_ERRORS * error:
            return "below the bar, within noise"
    return "missed"


def table(run: Path, not_yet: Sequence[str] = ()) -> tuple[list[str], int]:
    """The rows, and how many bars were missed (an absent figure is a miss), those of `not_yet` not counted."""
    found = metrics(run)
    kinds = sorted(
        key.removeprefix("planted_recall_")
        for key in found.get("corpus", {})
        if key.startswith("planted_recall_") and not key.endswith(("_low", "_high", "_n"))
    )
    lines, missed = [f"{'figure':<38} {'bar':>8} {'value':>8}  {'95 % interval':<18} n"], 0
    for bar in story_bars(kinds):
        scores = found.get(bar.stage, {})
        value = scores.get(bar.metric)
        if value is None:
            said, shown, interval, n = "missed (no such figure)", "-", "", ""
        else:
            said = verdict(bar, value, scores.get(f"{bar.metric}_n"))
            low, high = scores.get(f"{bar.metric}_low"), scores.get(f"{bar.metric}_high")
            interval = f"{low:.3f} to {high:.3f}" if low is not None and high is not None else ""
            shown, n = f"{value:.3f}", f"{scores.get(f'{bar.metric}_n', 0):.0f}"
        missed += said.startswith("missed") and bar.metric not in not_yet
        sign = ">=" if bar.above else "<="
        lines.append(f"{bar.what:<38} {sign}{bar.value:>6.2f} {shown:>8}  {interval:<18} {n:<6} {said}")
    return lines, missed


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.bars", description=__doc__.splitlines()[0])
    parser.add_argument("--recipe", default="storyworld")
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument(
        "--not-yet", nargs="*", default=[], help="metrics whose bars are known to be out of reach so far"
    )
    args = parser.parse_args(argv)
    lines, missed = table(args.runs / args.recipe, args.not_yet)
    sys.stdout.write("\n".join(lines) + f"\n{missed} missed\n")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
