"""Pairs by the judges other than gold and reference: a given set, scores, or a language model's comparisons.

Each function gives the labelled pairs of all prompts and the metrics that its judge alone knows; what makes no pair is
told to `drop` with its reason.
"""

import hashlib
import itertools
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.artifact import canonical
from pipeline.judging.language_model import asker, compare, tallied
from pipeline.preferences.given import Drop, read_given
from pipeline.preferences.pair import Answer, Pair, by_scores, labelled
from pipeline.preferences.recipe import Recipe
from pipeline.preferences.scores import Scores, by_function, by_reward_model

Result = tuple[list[Pair], dict[str, float]]
Prompts = Sequence[dict[str, Any]]


def given_pairs(recipe: Recipe, seed: int, drop: Drop) -> Result:
    """The pairs of a set that is there already. Equal prompts have one id, so all their pairs stay together."""
    assert recipe.dataset is not None
    judged = read_given(recipe.dataset, drop)
    pairs: list[Pair] = []
    for row, it in enumerate(judged):
        name = hashlib.sha256(canonical(it.prompt).encode("utf-8", "surrogatepass")).hexdigest()[:16]
        prompt = {"id": name, "prompt": it.prompt, "source": it.source}
        answers = [Answer(text=text, gold=value) for text, value in zip(it.answers, it.scores, strict=True)]
        made = by_scores(prompt, answers, recipe.pairs, random.Random(f"{seed}/preferences/pairs/{row}"))
        if not made:
            drop("no_difference", name, it.answers[0])
        pairs += [replace(pair, id=f"{pair.id}/{row}") for pair in made]
    return pairs, {"rows": len(judged)}


def scored_pairs(
    recipe: Recipe, tokenizer: Any, prompts: Prompts, answers: Sequence[list[str]], seed: int, drop: Drop
) -> Result:
    """The pairs by a function's or a reward model's scores."""
    if recipe.function is not None:
        scores: Scores = by_function(recipe.function, prompts, answers)
    else:
        scores = by_reward_model(str(recipe.reward_model), tokenizer, prompts, answers)
    flat = [value for several in scores for value in several]
    metrics = {"score": float(np.mean(flat)), "score_std": float(np.std(flat)), "score_n": len(flat)} if flat else {}
    return _by_scores(recipe, prompts, answers, scores, seed, drop), metrics


def compared_pairs(
    recipe: Recipe, prompts: Prompts, answers: Sequence[list[str]], seed: int, resume: Path, drop: Drop
) -> Result:
    """The pairs by a language model. With pick: random the pairs that it was asked about; else it is asked about every
    two answers of a prompt, and the one that won most is set against the one that lost most."""
    keys = recipe.language_model
    assert keys is not None
    asked: list[tuple[int, int, int]] = []  # prompt, first answer, second answer
    for number, (prompt, texts) in enumerate(zip(prompts, answers, strict=True)):
        both = list(itertools.combinations(range(len(texts)), 2))
        if recipe.pairs.pick == "random":
            rng = random.Random(f"{seed}/preferences/pairs/{prompt['id']}")
            both = sorted(rng.sample(both, min(recipe.pairs.pairs_per_prompt, len(both))))
        asked += [(number, first, second) for first, second in both]
    compared = compare(
        [(prompts[i]["prompt"], answers[i][first], answers[i][second]) for i, first, second in asked],
        keys,
        asker(keys, resume),
    )  # fmt: skip
    pairs: list[Pair] = []
    wins: Scores = [[0.0] * len(texts) for texts in answers]
    for (number, *places), one in zip(asked, compared, strict=True):
        if one.outcome not in ("first", "second"):
            drop("no_verdict", prompts[number]["id"], answers[number][places[0]])
            continue
        chosen, rejected = places if one.outcome == "first" else places[::-1]
        wins[number][chosen] += 1
        wins[number][rejected] -= 1
        sides = [Answer(text=answers[number][place]) for place in (chosen, rejected)]
        pairs.append(labelled(prompts[number], f"{places[0]}-{places[1]}", *sides))
    if recipe.pairs.pick == "best_against_worst":
        pairs = _by_scores(recipe, prompts, answers, wins, seed, drop)
    return pairs, tallied(compared)


def _by_scores(
    recipe: Recipe, prompts: Prompts, answers: Sequence[list[str]], scores: Scores, seed: int, drop: Drop
) -> list[Pair]:
    pairs: list[Pair] = []
    for prompt, texts, values in zip(prompts, answers, scores, strict=True):
        several = [Answer(text=text, gold=value) for text, value in zip(texts, values, strict=True)]
        rng = random.Random(f"{seed}/preferences/pairs/{prompt['id']}")
        made = by_scores(prompt, several, recipe.pairs, rng) if several else []
        if not made:
            drop("no_difference", prompt["id"], texts[0] if texts else "")
        pairs += made
    return pairs
