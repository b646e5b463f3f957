"""Win rate by a language model of the user's choice, local or behind an OpenAI-compatible address.

Each chat model's first answer to a prompt of collect's is compared with that of one other model, by a rubric and in
both orders (pipeline/judging). A tie counts half, and so does a pair on which the two orders disagree, as in MT-bench
(Zheng et al. 2023, 2306.05685, section 3.4); a pair without a verdict is left out and counted. Beside it stands the
rate at equal length, since judges prefer long answers (win_rate.py).
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.evaluate.answers import Answers
from pipeline.evaluate.exam import Measures
from pipeline.evaluate.models import Candidate
from pipeline.evaluate.recipe import Judge
from pipeline.evaluate.score import Measure, length_in_words
from pipeline.evaluate.win_rate import win_rates
from pipeline.judging.language_model import Comparison, asker, compare
from pipeline.stage import UserError

WORTH = {"first": 1.0, "second": 0.0, "tie": 0.5, "disagreed": 0.5}
SAID = {"tie": "a tie", "disagreed": "the two orders disagree, which counts as a tie", "refused": "no verdict"}
SAME = Comparison(outcome="tie", replies=(None, None))  # word for word the same answer: there is nothing to ask


class JudgedWinRate:
    """The exam. Asks after all models have answered, the first answer of each to each prompt."""

    def __init__(self, answers: Answers, models: Sequence[Candidate], keys: Judge, resume: Path) -> None:
        self.answers, self.keys = answers, keys
        chats = [model.name for model in models if model.chats]
        self.judged = [name for name in chats if name != keys.versus]
        if keys.versus not in chats or not self.judged:
            raise UserError(
                f"evaluate.yaml: judge compares chat models with {keys.versus}, and the run has "
                f"{', '.join(chats) or 'none'}. Name another under judge.versus, or add what is missing."
            )
        self.ask = asker(keys, resume)  # now, so that a key that is not set is said before any model is loaded
        rate, words = f"judged_win_rate_{keys.versus}", f"win rate against {keys.versus}, by the judge model"
        self.titles = {
            rate: words,
            f"{rate}_equal_length": f"{words}, at equal length",
            "judge_agreement": "pairs on which the judge's two orders agree",
        }
        self.items_by_kind: dict[str, list[str]] = {}
        self.compared: dict[str, list[Comparison]] = {}

    def measure(self, candidate: Candidate, model: Any) -> dict[str, Measure]:
        """Nothing yet."""
        return {}

    def afterwards(self) -> Measures:
        """The win rates of all chat models but the one that is compared with; none of one without any verdict."""
        items = self.answers.items[: self.keys.num_prompts]
        base = self.answers.said[self.keys.versus]
        places = [(name, i) for name in self.judged for i in range(len(items))]
        asked = [(name, i) for name, i in places if self.answers.said[name][i] != base[i]]
        found = compare(
            [(items[i]["prompt"], self.answers.said[name][i], base[i]) for name, i in asked], self.keys, self.ask
        )
        verdicts = dict(zip(asked, found, strict=True))
        self.compared = {name: [verdicts.get((name, i), SAME) for i in range(len(items))] for name in self.judged}
        return {name: measures for name in self.judged if (measures := self._measures(name, base))}

    def _measures(self, name: str, base: Sequence[str]) -> dict[str, Measure]:
        with_verdict = [(i, one.outcome) for i, one in enumerate(self.compared[name]) if one.outcome in WORTH]
        if not with_verdict:
            return {}
        longer = [length_in_words(self.answers.said[name][i]) - length_in_words(base[i]) for i, _ in with_verdict]
        asked = [outcome for i, outcome in with_verdict if self.compared[name][i] is not SAME]
        rates = win_rates(f"judged_win_rate_{self.keys.versus}", [WORTH[o] for _, o in with_verdict], longer)
        if asked:
            agree = [float(outcome != "disagreed") for outcome in asked]
            rates["judge_agreement"] = Measure(values=agree, share=True, paired=False)
        return rates

    def results(self) -> dict[str, Any]:
        """Who judged, what became of the pairs, and some verdicts beside the answers."""
        everything = [one for compared in self.compared.values() for one in compared]
        counts = Counter("same answer" if one is SAME else str(one.outcome) for one in everything)
        settings: dict[str, Any] = {
            "model": self.keys.model if self.keys.url or self.keys.revision else Path(self.keys.model).name,
            "versus": self.keys.versus,
            "pairs": len(everything),
            **{key: counts[key] for key in ("tie", "disagreed", "refused", "same answer")},
        }
        shown = self.answers.items[
            : min(self.answers.recipe.num_samples, self.keys.num_prompts or len(self.answers.items))
        ]
        return {
            "settings": {"judge": settings},
            "judge_samples": [
                {
                    "prompt": item["prompt"][-1]["content"],
                    "answers": {model: self.answers.said[model][i] for model in (name, self.keys.versus)},
                    "verdict": f"{name} against {self.keys.versus}: {self._told(name, i)}",
                }
                for i, item in enumerate(shown)
                for name in self.judged
            ],
        }

    def _told(self, name: str, index: int) -> str:
        """A verdict in words."""
        one = self.compared[name][index]
        if one is SAME:
            return "the same words, a tie"
        return SAID.get(one.outcome) or f"{name if one.outcome == 'first' else self.keys.versus} wins"
