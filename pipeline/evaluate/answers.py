"""The answers to collect's evaluation prompts, scored by the gold judge or against references.

Reads collect/prompts/evaluate.jsonl: {"id", "prompt": messages, "plain", "wishes" or "reference"}. A base model also
writes from nothing, and that is what its stories' form is judged by: it was never taught to be asked.
"""

import json
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline.chat import stop_ids
from pipeline.evaluate.exam import Measures, digest
from pipeline.evaluate.models import Candidate, choose
from pipeline.evaluate.recipe import Recipe
from pipeline.evaluate.results import METRICS
from pipeline.evaluate.score import Measure, per_prompt, rouge_l, well_formed, wishes
from pipeline.generate import generate
from pipeline.stage import UserError

NUM_UNPROMPTED_SHOWN = 3
UNPROMPTED = "unprompted"  # what the base's stories are over, which nobody asked for
TITLES = ("wishes_met", "gold", "well_formed", "rouge_l", "length_mean")


class Answers:
    """The exam. Chooses prompts that leave every model room for an answer."""

    def __init__(self, collect: Path, models: Sequence[Candidate], recipe: Recipe, seed: int) -> None:
        self.recipe, self.seed = recipe, seed
        everything = prompts(collect / "prompts" / "evaluate.jsonl", recipe)
        self.items, self.passed_over = choose(models, everything, recipe.num_prompts, recipe.max_new_tokens, seed)
        self.said: dict[str, list[str]] = {}  # model -> its first answer to each prompt
        self.unprompted: dict[str, list[str]] = {}

    @property
    def titles(self) -> dict[str, str]:
        """The metrics in words."""
        return {metric: METRICS[metric] for metric in TITLES}

    @property
    def items_by_kind(self) -> dict[str, list[str]]:
        """The prompts."""
        return {"prompts": [digest(item["prompt"][-1]["content"]) for item in self.items]}

    def measure(self, candidate: Candidate, model: Any) -> dict[str, Measure]:
        """The scores of one model's answers. A base model, which was never taught to answer, is asked once."""
        samples = self.recipe.samples_per_prompt
        times = samples if candidate.chats else 1
        # Each place in the list has a random stream of its own, so the first answers are those of one sample a prompt.
        told = say(candidate, model, candidate.prompts * times, self.recipe, self.seed)
        self.said[candidate.name] = told[: len(self.items)]
        if self.recipe.answers == "rouge_l":
            found = rouge_l(told, self.items * times)
        else:
            found = wishes(told, self.items * times)
            if candidate.chats:
                found["well_formed"] = replace(well_formed(told), over="prompts")
        found = {metric: per_prompt(measure, times) for metric, measure in found.items()}
        if self.recipe.answers == "wishes" and not candidate.chats:
            asked = [candidate.document_start] * (len(self.items) * samples)
            stories = say(candidate, model, asked, self.recipe, self.seed)
            self.unprompted[candidate.name] = stories[:NUM_UNPROMPTED_SHOWN]
            found["well_formed"] = per_prompt(replace(well_formed(stories), over=UNPROMPTED), samples)
        return found

    def afterwards(self) -> Measures:
        """Nothing."""
        return {}

    def results(self) -> dict[str, Any]:
        """Samples of what was said."""
        return {
            "samples": [
                {
                    "prompt": item["prompt"][-1]["content"],
                    "reference": item.get("reference"),
                    "answers": {name: texts[i] for name, texts in self.said.items()},
                }
                for i, item in enumerate(self.items[: self.recipe.num_samples])
            ],
            "unprompted": self.unprompted,
            "settings": {
                "prompts": len(self.items),
                "prompts_too_long": self.passed_over,
                "samples_per_prompt": self.recipe.samples_per_prompt,
            },
        }


def prompts(path: Path, recipe: Recipe) -> list[dict[str, Any]]:
    """The evaluation prompts that the recipe's scoring can use. Raises UserError where there is none."""
    needed = {"wishes": "wishes", "rouge_l": "reference"}[str(recipe.answers)]
    if not path.is_file():
        raise UserError(
            f"evaluate: {path} is missing: this recipe's collect gives no evaluation prompts. Let it write some, or "
            f"say answers: null in evaluate.yaml to measure held-out text only."
        )
    with path.open(encoding="utf-8") as file:
        items = [item for item in map(json.loads, file) if item.get(needed)]
    if not items:
        raise UserError(
            f"evaluate: no prompt in {path} has '{needed}', which answers: {recipe.answers} scores against."
        )
    return items


def say(candidate: Candidate, model: Any, asked: list[list[int]], recipe: Recipe, seed: int) -> list[str]:
    """What the model answers, as text. Every model draws with the same seed, so that differences can be paired."""
    ids = generate(
        model,
        candidate.tokenizer,
        asked,
        max_new_tokens=recipe.max_new_tokens,
        temperature=recipe.temperature,
        top_p=recipe.top_p,
        seed=random.Random(f"{seed}/evaluate/answers").randrange(2**31),
        batch_size=recipe.batch_size,
        stop_ids=stop_ids(candidate.tokenizer),
    )
    return [text.strip() for text in candidate.tokenizer.batch_decode(ids, skip_special_tokens=True)]
