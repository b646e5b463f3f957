"""Preference pairs: the SFT model answers the prompts, a judge says which answer is better. `make preferences`

Reads  collect/prompts/preferences.jsonl and sft/model; or a set of preferences that the recipe names.
Writes train.jsonl and heldout.jsonl (pairs, split by prompt), gold.jsonl (the scores behind each pair, for measuring
       only: no training reads it) and dropped.jsonl (a sample of what made no pair, with the reason).

"gold" orders several samples of each prompt by the story world's judge; label noise then swaps a share of the pairs, a
stand-in for people, who disagree about as often as that. Only the order reaches train.jsonl, never the score.
"reference" needs no judge: the author's own text is chosen and the model's sample rejected. For the others see
order.py.
"""

import json
import random
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from pipeline.chat import render_prompt, stop_ids
from pipeline.chat_gate import ChatGate, Unusable
from pipeline.generate import generate, window
from pipeline.intervals import bootstrap_mean
from pipeline.preferences.order import compared_pairs, given_pairs, scored_pairs
from pipeline.preferences.pair import (
    Answer,
    Pair,
    against_reference,
    balanced,
    by_gold,
    swap_labels,
    without_repeats,
)
from pipeline.preferences.recipe import Recipe
from pipeline.screen.chats import Screening
from pipeline.stage import Job, UserError
from pipeline.world.judge import judge
from pipeline.world.wishes import Wishes

KEPT_SAMPLES = 20  # dropped answers that are kept for reading, for each reason


@dataclass
class Dropped:
    """What made no pair, counted by reason, with a few examples of each."""

    counts: Counter[str] = field(default_factory=Counter)
    examples: list[dict[str, str]] = field(default_factory=list)

    def add(self, reason: str, prompt_id: str, text: str) -> None:
        """Counts one answer or pair."""
        self.counts[reason] += 1
        if self.counts[reason] <= KEPT_SAMPLES:
            self.examples.append({"id": prompt_id, "reason": reason, "text": text[:2000]})

    def add_pair(self, reason: str, pair: Pair) -> None:
        """Counts a pair by its chosen side."""
        self.add(reason, pair.prompt_id, pair.chosen.text)


def run(job: Job) -> dict[str, float]:
    """Makes the pairs; returns their counts and the mean gold score of the samples."""
    recipe: Recipe = job.recipe
    dropped = Dropped()
    screening = Screening(recipe.screen, job.inputs.get("collect"))
    ids, pairs, metrics = made(job, dropped, screening)
    pairs = screened_pairs(pairs, screening)
    metrics |= screening.finish("preferences", job.out)
    pairs = usable(pairs, job, dropped)
    if recipe.judge not in ("gold", "reference"):
        pairs = without_repeats(pairs, dropped.add_pair)
        if recipe.pairs.balance_length:
            pairs = balanced(pairs, random.Random(f"{job.seed}/preferences/balance"), dropped.add_pair)
    heldout_ids = set(ids[: round(recipe.heldout * len(ids))])
    heldout = [pair for pair in pairs if pair.prompt_id in heldout_ids]
    train = [pair for pair in pairs if pair.prompt_id not in heldout_ids]
    if not heldout or not train:
        raise UserError(
            f"preferences: {len(train)} pairs to train on and {len(heldout)} held out, from {len(ids)} prompts; "
            f"left out: {dict(dropped.counts)}. Give more prompts, or lower gold.margin."
        )
    write_jsonl(job.out / "train.jsonl", [pair.row(recipe.judge) for pair in train])
    write_jsonl(job.out / "heldout.jsonl", [pair.row(recipe.judge) for pair in heldout])
    if recipe.gold:
        write_jsonl(job.out / "gold.jsonl", [pair.gold_row() for pair in pairs])
    write_jsonl(job.out / "dropped.jsonl", [*screening.examples, *dropped.examples])
    return {
        "prompts": len(ids),
        "samples": 0 if recipe.judge == "dataset" else len(ids) * recipe.num_samples,
        "pairs_train": len(train),
        "pairs_heldout": len(heldout),
        "chosen_longer": sum(len(pair.chosen.text) > len(pair.rejected.text) for pair in pairs) / len(pairs),
        **{f"dropped_{reason}": count for reason, count in sorted(dropped.counts.items())},
        **metrics,
    }


def made(job: Job, dropped: Dropped, screening: Screening) -> tuple[list[str], list[Pair], dict[str, float]]:
    """The prompts' ids in random order, the pairs, and what the judge knows."""
    recipe: Recipe = job.recipe
    if recipe.judge == "dataset":
        pairs, metrics = given_pairs(recipe, job.seed, dropped.add)
        ids = sorted({pair.prompt_id for pair in pairs})
        random.Random(f"{job.seed}/preferences/prompts").shuffle(ids)
        taken = set(ids[: recipe.max_prompts])
        return ids[: recipe.max_prompts], [pair for pair in pairs if pair.prompt_id in taken], metrics
    prompts = read_prompts(job.needs("collect") / "prompts" / "preferences.jsonl", recipe)
    prompts = sorted(prompts, key=lambda p: p["id"])
    random.Random(f"{job.seed}/preferences/prompts").shuffle(prompts)
    # Before anything answers or judges them, which may be a server.
    prompts = screened_prompts(prompts[: recipe.max_prompts], screening)
    model = job.needs("sft") / "model"
    answers = answer_prompts(prompts, model, recipe, job.seed, dropped)
    if recipe.language_model is not None:
        pairs, metrics = compared_pairs(recipe, prompts, answers, job.seed, job.resume, dropped.add)
    elif recipe.judge in ("function", "reward_model"):
        tokenizer = AutoTokenizer.from_pretrained(model)
        pairs, metrics = scored_pairs(recipe, tokenizer, prompts, answers, job.seed, dropped.add)
    else:
        pairs, metrics = judged(prompts, answers, recipe, job.seed, dropped)
    return [prompt["id"] for prompt in prompts], pairs, metrics


def screened_prompts(prompts: list[dict[str, Any]], screening: Screening) -> list[dict[str, Any]]:
    """The prompts with private data replaced, without those that hold evaluation items."""
    screening.begin("prompts")
    kept = ((prompt, screening.screened(prompt["prompt"], prompt["id"])) for prompt in prompts)
    return [{**prompt, "prompt": messages} for prompt, messages in kept if messages is not None]


def screened_pairs(pairs: list[Pair], screening: Screening) -> list[Pair]:
    """The same for pairs, whose answers may hold either too: a given set's, or what a model knows by heart."""
    screening.begin("pairs")
    kept = []
    for pair in pairs:
        sides = [{"role": "assistant", "content": side.text} for side in (pair.chosen, pair.rejected)]
        messages = screening.screened([*pair.prompt, *sides], pair.id)
        if messages is not None:
            *prompt, chosen, rejected = messages
            texts = [replace(pair.chosen, text=chosen["content"]), replace(pair.rejected, text=rejected["content"])]
            kept.append(replace(pair, prompt=prompt, chosen=texts[0], rejected=texts[1]))
    return kept


def usable(pairs: list[Pair], job: Job, dropped: Dropped) -> list[Pair]:
    """The pairs that the chat gate would let pass, with two sides that differ."""
    gate = ChatGate(AutoTokenizer.from_pretrained(job.needs("sft") / "model"))
    kept = []
    for pair in pairs:
        try:
            if pair.chosen.text.strip() == pair.rejected.text.strip():
                raise Unusable("equal", pair.id)
            for side in (pair.chosen, pair.rejected):
                gate.check_messages([*pair.prompt, {"role": "assistant", "content": side.text}], pair.id)
            kept.append(pair)
        except Unusable as fault:
            dropped.add(fault.reason, pair.prompt_id, str(fault))
    return kept


def read_prompts(path: Path, recipe: Recipe) -> list[dict[str, Any]]:
    """The prompts, each with what the judge needs. Raises UserError where that is missing."""
    if not path.is_file():
        raise UserError(f"preferences: {path} is not there: the source of this recipe's collect has no prompts.")
    prompts = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    needed = {"gold": ["wishes"], "reference": ["reference"]}.get(recipe.judge, [])
    for number, prompt in enumerate(prompts, start=1):
        for key in ("id", "prompt", *needed):
            if prompt.get(key) is None:
                raise UserError(f"{path}, line {number}: has no '{key}', which judge: {recipe.judge} needs.")
    if len(prompts) < 2:
        raise UserError(
            f"{path}: holds {len(prompts)} prompts; at least two are needed, one for each side of the split."
        )
    return prompts


def answer_prompts(
    prompts: list[dict[str, Any]], model_path: Path, recipe: Recipe, seed: int, dropped: Dropped
) -> list[list[str]]:
    """For each prompt its finished, non-empty, distinct answers as texts, in the order in which they were drawn."""
    tokenizer = AutoTokenizer.from_pretrained(model_path)
    model = AutoModelForCausalLM.from_pretrained(model_path, dtype=torch.float32, use_safetensors=True).eval()
    rendered = [render_prompt(tokenizer, prompt["prompt"]) for prompt in prompts]
    limit = window(model)
    fitting = [index for index, ids in enumerate(rendered) if limit is None or len(ids) < limit]
    stops = stop_ids(tokenizer)
    drawn = [
        generate(
            model,
            tokenizer,
            [rendered[index] for index in fitting],
            max_new_tokens=recipe.max_new_tokens,
            temperature=temperature,
            top_p=recipe.top_p,
            # A prompt's random stream depends on the seed and its place, so each of its answers needs another seed.
            seed=random.Random(f"{seed}/preferences/sample/{number}").getrandbits(32),
            batch_size=recipe.batch_size,
            stop_ids=stops,
        )
        for number, temperature in enumerate(recipe.temperatures)
    ]
    samples = dict(zip(fitting, zip(*drawn, strict=True), strict=True))
    answers: list[list[str]] = []
    for index, prompt in enumerate(prompts):
        if index not in samples:
            dropped.add("prompt_too_long", prompt["id"], prompt["prompt"][-1]["content"])
        texts: list[str] = []
        for ids in samples.get(index, ()):
            text = tokenizer.decode(ids, skip_special_tokens=True).strip()
            if not ids or ids[-1] not in stops:
                dropped.add("unfinished", prompt["id"], text)  # cut off by the limit: nothing that could be preferred
            elif not text:
                dropped.add("empty", prompt["id"], text)
            elif text in texts:
                dropped.add("equal", prompt["id"], text)
            else:
                texts.append(text)
        answers.append(texts)
    return answers


def judged(
    prompts: list[dict[str, Any]], answers: list[list[str]], recipe: Recipe, seed: int, dropped: Dropped
) -> tuple[list[Pair], dict[str, float]]:
    """The labelled pairs of all prompts, and the metrics that only the judge at work knows."""
    pairs: list[Pair] = []
    if recipe.gold is None:
        for prompt, texts in zip(prompts, answers, strict=True):
            reference = prompt["reference"].strip()
            for text in texts:
                if text == reference or not reference:
                    dropped.add("equal" if reference else "empty_reference", prompt["id"], text)
                else:
                    pairs.append(against_reference(prompt, text))
        return pairs, {}
    scores: list[float] = []
    for prompt, texts in zip(prompts, answers, strict=True):
        wishes = Wishes.from_dict(prompt["wishes"])
        scored = [Answer(text=text, gold=judge(text, wishes).score) for text in texts]
        scores += [answer.gold for answer in scored]
        made = by_gold(prompt, scored, recipe.gold, random.Random(f"{seed}/preferences/pairs/{prompt['id']}"))
        if not made:
            dropped.add("no_difference", prompt["id"], texts[0] if texts else "")
        pairs += made
    labelled = swap_labels(pairs, recipe.gold.label_noise, random.Random(f"{seed}/preferences/noise"))
    if not scores:
        return labelled, {}
    mean, low, high = bootstrap_mean(scores, seed)
    swapped = sum(pair.chosen.gold < pair.rejected.gold for pair in labelled)
    return labelled, {
        "gold": mean,
        "gold_low": low,
        "gold_high": high,
        "gold_n": len(scores),
        "labels_swapped": swapped,
    }


def write_jsonl(path: Path, rows: list[dict[str, Any]]) -> None:
    """One object a line."""
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
