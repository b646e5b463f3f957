"""Pairs of answers: which two of one prompt's answers are set against each other, and with which label."""

import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from pipeline.preferences.recipe import Gold

NO_SCORE = float("nan")  # the reference judge orders without scoring


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One answer and its gold score (NaN under the reference judge)."""

    text: str
    gold: float = NO_SCORE


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two answers to one prompt, labelled."""

    id: str
    prompt_id: str
    prompt: list[dict[str, str]]
    chosen: Answer
    rejected: Answer

    def row(self, source: str) -> dict[str, Any]:
        """What a training may read: the order, and no score."""
        return {
            "id": self.id,
            "prompt": self.prompt,
            "chosen": [{"role": "assistant", "content": self.chosen.text}],
            "rejected": [{"role": "assistant", "content": self.rejected.text}],
            "source": source,
        }

    def gold_row(self) -> dict[str, Any]:
        """The scores behind the pair; the chosen side's is the lower one where label noise swapped them."""
        return {"id": self.id, "chosen_gold": self.chosen.gold, "rejected_gold": self.rejected.gold}


def by_gold(prompt: dict[str, Any], answers: Sequence[Answer], keys: Gold, rng: random.Random) -> list[Pair]:
    """At most `pairs_per_prompt` random pairs among the answers that lie further apart than `margin`.

    Random ones rather than best against worst: a reward model that has seen only extremes cannot tell a good answer
    from a slightly better one.
    """
    apart = [
        (first, second)
        for first, second in itertools.combinations(range(len(answers)), 2)
        if abs(answers[first].gold - answers[second].gold) > keys.margin
    ]
    picked = sorted(rng.sample(apart, min(keys.pairs_per_prompt, len(apart))))
    pairs = []
    for first, second in picked:
        better, worse = sorted((answers[first], answers[second]), key=lambda answer: answer.gold, reverse=True)
        pairs.append(
            Pair(
                id=f"{prompt['id']}/{first}-{second}",
                prompt_id=prompt["id"],
                prompt=prompt["prompt"],
                chosen=better,
                rejected=worse,
            )
        )
    return pairs


def against_reference(prompt: dict[str, Any], text: str) -> Pair:
    """The author's text chosen, the model's rejected."""
    return Pair(
        id=f"{prompt['id']}/reference",
        prompt_id=prompt["id"],
        prompt=prompt["prompt"],
        chosen=Answer(text=prompt["reference"].strip()),
        rejected=Answer(text=text),
    )


def swap_labels(pairs: Sequence[Pair], share: float, rng: random.Random) -> list[Pair]:
    """The pairs, each with its label swapped with probability `share`."""
    return [
        replace(pair, chosen=pair.rejected, rejected=pair.chosen) if rng.random() < share else pair for pair in pairs
    ]
