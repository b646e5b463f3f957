"""Win rate against the run's SFT model by the run's reward model, plain and length-controlled.

Judges prefer long answers. So beside the share of prompts that a model wins stands what a logistic regression of the
wins on the difference in length predicts for answers of equal length: Dubois et al. 2024, "Length-Controlled
AlpacaEval" (arXiv 2404.04475), equation 2 without the term for the instruction's difficulty, which needs many models.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from pipeline.chat import encode_text, end_of_turn_id, render_prompt
from pipeline.classifier import score
from pipeline.evaluate.answers import Answers
from pipeline.evaluate.exam import Measures
from pipeline.evaluate.models import Candidate
from pipeline.evaluate.score import Measure, length_in_words
from pipeline.intervals import CHUNK, RESAMPLES
from pipeline.stage import UserError

RIDGE = 0.1  # on both coefficients, so that a model that wins every prompt has a finite one; nothing beside n = 100
STEPS = 30  # of Newton's method


@dataclass(frozen=True, kw_only=True)
class LengthControlled(Measure):
    """The win rate that would be at equal lengths: `values` are wins (1, 0, 0.5 for a tie), `longer` by how many words
    the answer is longer. A bootstrap over prompts refits the regression each time."""

    longer: list[float]
    paired: bool = False

    def figure(self, seed: int) -> dict[str, Any]:
        """As of any measure."""
        wins, x = np.asarray(self.values), squashed(self.longer)
        generator, n = np.random.default_rng(seed), len(wins)
        rates = []
        for start in range(0, RESAMPLES, max(1, CHUNK // n)):
            draw = generator.integers(0, n, size=(min(max(1, CHUNK // n), RESAMPLES - start), n))
            rates.append(controlled(wins[draw], x[draw]))
        low, high = np.percentile(np.concatenate(rates), [2.5, 97.5])
        value = float(controlled(wins[None], x[None])[0])
        return {"value": value, "low": float(low), "high": float(high), "n": n, "interval": "bootstrap"}


def squashed(longer: Sequence[float]) -> np.ndarray:
    """Differences in length in standard deviations, kept within 1 by tanh, as in the paper."""
    values = np.asarray(longer, dtype=np.float64)
    spread = values.std()
    return np.tanh(values / spread) if spread > 0 else np.zeros_like(values)


def controlled(wins: np.ndarray, x: np.ndarray) -> np.ndarray:
    """(R,) rates at x = 0 of R logistic regressions of wins (R, N) on x (R, N), by Newton's method."""
    level, slope = np.zeros(len(wins)), np.zeros(len(wins))
    for _ in range(STEPS):
        p = 1 / (1 + np.exp(-(level[:, None] + slope[:, None] * x)))
        gap, weight = wins - p, p * (1 - p)
        down_level = gap.sum(axis=1) - RIDGE * level
        down_slope = (gap * x).sum(axis=1) - RIDGE * slope
        a, b = weight.sum(axis=1) + RIDGE, (weight * x).sum(axis=1)
        c = (weight * x * x).sum(axis=1) + RIDGE
        determinant = a * c - b * b
        level = level + (c * down_level - b * down_slope) / determinant
        slope = slope + (a * down_slope - b * down_level) / determinant
    return 1 / (1 + np.exp(-level))


def win_rates(metric: str, wins: list[float], longer: list[float]) -> dict[str, Measure]:
    """The two rates of one model: of its wins as they are, and at equal length. Both are one a prompt."""
    return {
        metric: Measure(values=wins, paired=False),
        f"{metric}_equal_length": LengthControlled(values=wins, longer=longer),
    }


class WinRate:
    """The exam. Judges after all models have answered collect's prompts, the first answer of each to each."""

    def __init__(self, answers: Answers, models: Sequence[Candidate], reward: Path | None, versus: str) -> None:
        if reward is None or not (reward / "model" / "config.json").is_file():
            raise UserError(
                "evaluate.yaml: win_rate: reward needs the run's reward model, and there is none. Add reward.yaml to "
                "the recipe, or remove the key."
            )
        self.answers, self.folder, self.versus = answers, reward / "model", versus
        self.judged = [model.name for model in models if model.chats]
        if versus not in self.judged or len(self.judged) < 2:
            raise UserError(
                f"evaluate.yaml: win_rate compares chat models with {versus}, and the run has "
                f"{', '.join(self.judged) or 'none'}. Remove the key, or add what is missing."
            )
        self.titles = {
            "reward": "reward model's mean score",
            f"win_rate_{versus}": f"win rate against {versus}, by the reward model",
            f"win_rate_{versus}_equal_length": f"win rate against {versus}, at equal length",
        }
        self.items_by_kind: dict[str, list[str]] = {}

    def measure(self, candidate: Candidate, model: Any) -> dict[str, Measure]:
        """Nothing yet."""
        return {}

    def afterwards(self) -> Measures:
        """The scores of all chat models, and the win rates of all but the one that is compared with."""
        rewards = {name: self._rewards(self.answers.said[name]) for name in self.judged}
        found: Measures = {name: {"reward": Measure(values=values)} for name, values in rewards.items()}
        base = np.asarray(rewards[self.versus])
        base_words = np.array([length_in_words(text) for text in self.answers.said[self.versus]])
        for name in self.judged:
            if name == self.versus:
                continue
            gap = np.asarray(rewards[name]) - base
            wins = ((np.sign(gap) + 1) / 2).tolist()
            longer = np.array([length_in_words(text) for text in self.answers.said[name]]) - base_words
            found[name] |= win_rates(f"win_rate_{self.versus}", wins, longer.tolist())
        return found

    def _rewards(self, texts: Sequence[str]) -> list[float]:
        tokenizer = AutoTokenizer.from_pretrained(self.folder, trust_remote_code=False)
        model = AutoModelForSequenceClassification.from_pretrained(
            self.folder, dtype=torch.float32, use_safetensors=True, trust_remote_code=False
        ).to("cuda" if torch.cuda.is_available() else "cpu")
        end = [end_of_turn_id(tokenizer)]
        sequences = [
            [*render_prompt(tokenizer, item["prompt"]), *encode_text(tokenizer, text), *end]
            for item, text in zip(self.answers.items, texts, strict=True)
        ]
        return score(model, sequences, tokenizer.pad_token_id)

    def results(self) -> dict[str, Any]:
        """Who judged."""
        return {"settings": {"win_rate": {"judge": "reward", "versus": self.versus}}}
