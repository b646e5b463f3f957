"""Pairs of answers: which two of one prompt's answers are set against each other, and with which label."""

import itertools
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pipeline.artifact import canonical
from pipeline.preferences.recipe import Gold, Pairing

NO_SCORE = float("nan")  # the reference judge orders without scoring


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One answer and its score by the judge, gold or other (NaN under judges that order without scoring)."""

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
    source: str = ""  # who judged it, where that is not the same for all

    def row(self, source: str) -> dict[str, Any]:
        """What a training may read: the order, and no score."""
        return {
            "id": self.id,
            "prompt": self.prompt,
            "chosen": [{"role": "assistant", "content": self.chosen.text}],
            "rejected": [{"role": "assistant", "content": self.rejected.text}],
            "source": self.source or source,
        }

    def gold_row(self) -> dict[str, Any]:
        """The scores behind the pair; the chosen side's is the lower one where label noise swapped them."""
        return {"id": self.id, "chosen_gold": self.chosen.gold, "rejected_gold": self.rejected.gold}


def by_gold(prompt: dict[str, Any], answers: Sequence[Answer], keys: Gold | Pairing, rng: random.Random) -> list[Pair]:
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
        pairs.append(labelled(prompt, f"{first}-{second}", better, worse))
    return pairs


def by_scores(prompt: dict[str, Any], answers: Sequence[Answer], keys: Pairing, rng: random.Random) -> list[Pair]:
    """The pairs of one prompt's answers that the recipe's `pairing:` wants; none where they lie too near."""
    if keys.pick == "random":
        return by_gold(prompt, answers, keys, rng)
    best, worst = (pick(range(len(answers)), key=lambda place: answers[place].gold) for pick in (max, min))
    if answers[best].gold - answers[worst].gold <= keys.margin:
        return []
    return [labelled(prompt, f"{best}-{worst}", answers[best], answers[worst])]


def labelled(prompt: dict[str, Any], name: str, chosen: Answer, rejected: Answer) -> Pair:
    """One pair of a prompt's answers."""
    return Pair(
        id=f"{prompt['id']}/{name}",
        prompt_id=prompt["id"],
        prompt=prompt["prompt"],
        chosen=chosen,
        rejected=rejected,
        source=prompt.get("source", ""),
    )


def without_repeats(pairs: Sequence[Pair], drop: Callable[[str, Pair], None]) -> list[Pair]:
    """Each pair once; of pairs that stand there in both orders none. `drop` is told reason and pair."""

    def key(pair: Pair, chosen: Answer, rejected: Answer) -> tuple[str, str, str]:
        return canonical(pair.prompt), chosen.text, rejected.text

    orders = Counter(key(pair, pair.chosen, pair.rejected) for pair in pairs)
    kept, seen = [], set()
    for pair in pairs:
        own = key(pair, pair.chosen, pair.rejected)
        if orders[key(pair, pair.rejected, pair.chosen)]:
            drop("contradicted", pair)
        elif own in seen:
            drop("repeated", pair)
        else:
            kept.append(pair)
        seen.add(own)
    return kept


def balanced(pairs: Sequence[Pair], rng: random.Random, drop: Callable[[str, Pair], None]) -> list[Pair]:
    """As many pairs whose chosen side is longer (in characters) as such whose rejected side is; ties stay."""
    longer = [i for i, pair in enumerate(pairs) if len(pair.chosen.text) > len(pair.rejected.text)]
    shorter = [i for i, pair in enumerate(pairs) if len(pair.chosen.text) < len(pair.rejected.text)]
    many, few = sorted((longer, shorter), key=len, reverse=True)
    taken_out = set(rng.sample(many, len(many) - len(few)))
    for place in sorted(taken_out):
        drop("length_balance", pairs[place])
    return [pair for place, pair in enumerate(pairs) if place not in taken_out]


def against_reference(prompt: dict[str, Any], text: str) -> Pair:
    """The author's text chosen, the model's rejected."""
    return labelled(prompt, "reference", Answer(text=prompt["reference"].strip()), Answer(text=text))


def swap_labels(pairs: Sequence[Pair], share: float, rng: random.Random) -> list[Pair]:
    """The pairs, each with its label swapped with probability `share`."""
    return [
        replace(pair, chosen=pair.rejected, rejected=pair.chosen) if rng.random() < share else pair for pair in pairs
    ]
