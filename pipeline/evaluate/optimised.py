"""What optimising a reward did to what the reward stands for: the gold judge's opinion of the answers drawn in PPO.

Reads ppo/samples.jsonl and log.jsonl, and the wishes behind collect/prompts/rl.jsonl. The training never saw the gold
score. Beside the reward and the KL of the same steps it shows where over-optimisation begins (Gao et al. 2023,
2210.10760): where the reward goes on rising and the gold score no longer does.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.artifact import canonical
from pipeline.evaluate.exam import Measures
from pipeline.evaluate.models import Candidate
from pipeline.evaluate.score import Measure, wishes
from pipeline.step_log import read_log

PARTS = 8  # of the training, one after the other
LEAST_ANSWERS = 8  # in a part


class Optimised:
    """The exam; it measures no model, but the answers that a stage left behind."""

    def __init__(self, collect: Path, trained: Path, seed: int) -> None:
        asked = read_log(collect / "prompts" / "rl.jsonl")
        self.wishes = {canonical(row["prompt"]): row["wishes"] for row in asked if row.get("wishes")}
        self.samples, self.log, self.seed = read_log(trained / "samples.jsonl"), read_log(trained / "log.jsonl"), seed
        self.titles: dict[str, str] = {}
        self.items_by_kind: dict[str, list[str]] = {}

    def measure(self, candidate: Candidate, model: Any) -> dict[str, Measure]:
        """Nothing."""
        return {}

    def afterwards(self) -> Measures:
        """Nothing."""
        return {}

    def results(self) -> dict[str, Any]:
        """{"optimised": a row for each part of the training}: its steps, means of score, KL and length over all of its
        answers, gold score with interval and share of wishes met over those that samples.jsonl kept."""
        judged = [sample for sample in self.samples if canonical(sample["prompt"]) in self.wishes]
        steps = sorted({sample["step"] for sample in judged})
        parts = min(PARTS, len(judged) // LEAST_ANSWERS, len(steps))
        rows = []
        for part in range(parts):
            first, last = (steps[len(steps) * place // parts + shift] for place, shift in ((part, 0), (part + 1, -1)))
            kept = [sample for sample in judged if first <= sample["step"] <= last]
            entries = [entry for entry in self.log if first <= entry["step"] <= last]
            items = [{"wishes": self.wishes[canonical(sample["prompt"])]} for sample in kept]
            found = wishes([sample["answer"] for sample in kept], items)
            gold = found["gold"].figure(self.seed)
            rows.append(
                {
                    "steps": [first, last],
                    **{key: sum(entry[key] for entry in entries) / len(entries) for key in ("score", "kl", "length")},
                    "gold": gold["value"],
                    "gold_low": gold["low"],
                    "gold_high": gold["high"],
                    "wishes_met": found["wishes_met"].figure(self.seed)["value"],
                    "n": len(kept),
                }
            )
        return {"optimised": rows} if rows else {}


def answers_of(inputs: Mapping[str, Path]) -> Path | None:
    """The run's own PPO artifact, where it kept answers."""
    trained = inputs.get("ppo")
    return trained if trained and (trained / "samples.jsonl").is_file() else None
