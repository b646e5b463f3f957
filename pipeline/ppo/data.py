"""Prompts: read from a prompt-only data set, encoded, checked, and dealt out to steps.

A row's `prompt` is a text or a conversation; its other columns go to the reward function. Which prompts a step gets is
a function of (seed, step) alone: each pass over the data has an order of its own.
"""

import hashlib
import json
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.chat import Message, encode_text, render_prompt
from pipeline.stage import UserError


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """A prompt as given and as token ids; columns: the rest of its row."""

    prompt: str | list[Message]
    ids: list[int]
    columns: dict[str, Any]


def encode_prompts(tokenizer: Any, rows: Iterable[dict[str, Any]]) -> list[Prompt]:
    """The rows' prompts. Raises UserError for a row without one, and where there is no row."""
    prompts = []
    for number, row in enumerate(rows):
        if not row.get("prompt"):
            raise UserError(
                f"train_dataset, row {number}: has no 'prompt' (a text, or messages). Its columns are: "
                f"{', '.join(row)}."
            )
        given = row["prompt"]
        ids = encode_text(tokenizer, given) if isinstance(given, str) else render_prompt(tokenizer, given)
        columns = {name: value for name, value in row.items() if name != "prompt"}
        prompts.append(Prompt(prompt=given, ids=ids, columns=columns))
    if not prompts:
        raise UserError("train_dataset: holds no row. Give it at least one prompt.")
    return prompts


def check_room(prompts: Sequence[Prompt], window: int | None, max_completion_length: int) -> None:
    """Raises UserError where a prompt leaves less room in the window than an answer may take."""
    if window is None:
        return
    most = window - max_completion_length
    long = [len(prompt.ids) for prompt in prompts if len(prompt.ids) > most]
    if long:
        raise UserError(
            f"train_dataset: {len(long)} of {len(prompts)} prompts are too long: up to {max(long)} tokens, where the "
            f"model's window of {window} less max_completion_length = {max_completion_length} leaves {most}. Leave "
            "them out, or lower max_completion_length."
        )


def fingerprint(prompts: Sequence[Prompt]) -> str:
    """16 hex digits that name the data set."""
    digest = hashlib.sha256()
    for prompt in prompts:
        digest.update(json.dumps([prompt.ids, prompt.columns], sort_keys=True, default=str).encode())
    return digest.hexdigest()[:16]


def dealt(num_prompts: int, batch_size: int, step: int, seed: int) -> list[int]:
    """The indices of the prompts of a step (from 0), over all processes."""
    orders: dict[int, list[int]] = {}
    indices = []
    for place in range(step * batch_size, (step + 1) * batch_size):
        epoch, position = divmod(place, num_prompts)
        if epoch not in orders:
            orders[epoch] = list(range(num_prompts))
            random.Random(f"{seed}/ppo/prompts/{epoch}").shuffle(orders[epoch])
        indices.append(orders[epoch][position])
    return indices


def step_seed(seed: int, purpose: str, step: int, process: int) -> int:
    """The seed of a step's random numbers for one purpose on one process."""
    return random.Random(f"{seed}/ppo/{purpose}/{step}/{process}").getrandbits(63)
