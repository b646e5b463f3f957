"""Judges that give every answer a number: a Python function that the recipe names, or a reward model."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

from pipeline.chat import render_conversation
from pipeline.classifier import score
from pipeline.functions import load_function
from pipeline.stage import UserError

Scores = list[list[float]]


def by_function(named: str, prompts: Sequence[dict[str, Any]], answers: Sequence[Sequence[str]]) -> Scores:
    """The function's score of each answer. Raises UserError for what is no number."""
    function = load_function(named, "preferences.yaml")
    return checked(
        [
            [function(prompt["prompt"], text, prompt) for text in texts]
            for prompt, texts in zip(prompts, answers, strict=True)
        ],
        f"function = {named}",
    )


def by_reward_model(
    folder: str, tokenizer: Any, prompts: Sequence[dict[str, Any]], answers: Sequence[Sequence[str]]
) -> Scores:
    """The reward model's score of each answer. Raises UserError for a model that does not fit the chat model."""
    path = Path(folder).expanduser()
    config = AutoConfig.from_pretrained(path, trust_remote_code=False)
    kind = (config.architectures or ["a model"])[0]
    if config.num_labels != 1 or not kind.endswith("ForSequenceClassification"):
        raise UserError(
            f"reward_model = {folder}: is {kind} with {config.num_labels} outputs; "
            "it must be a sequence classifier with one, such as reward/model."
        )
    own = AutoTokenizer.from_pretrained(path, trust_remote_code=False)
    if own.get_vocab() != tokenizer.get_vocab():
        raise UserError(
            f"reward_model = {folder}: its tokenizer is not the chat model's, so it would read other tokens than it "
            "was trained on. Train a reward model on this chat model."
        )
    model = AutoModelForSequenceClassification.from_pretrained(
        path, dtype=torch.float32, use_safetensors=True, trust_remote_code=False
    )
    sequences = [
        render_conversation(own, [*prompt["prompt"], {"role": "assistant", "content": text}])[0]
        for prompt, texts in zip(prompts, answers, strict=True)
        for text in texts
    ]
    flat = iter(score(model, sequences, own.pad_token_id))
    return checked([[next(flat) for _ in texts] for texts in answers], f"reward_model = {folder}")


def checked(scores: Scores, judge: str) -> Scores:
    """The scores. Raises UserError where one is no finite number, and where all are equal."""
    for place, several in enumerate(scores, start=1):
        for value in several:
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
                raise UserError(f"{judge}: gave {value!r} to an answer of prompt {place}; it must be a finite number.")
    distinct = {value for several in scores for value in several}
    if len(distinct) == 1:
        raise UserError(
            f"{judge}: gave {distinct.pop()!r} to every answer, so it orders nothing. Is it the judge you mean?"
        )
    return scores
