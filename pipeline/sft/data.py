"""Conversations as token ids, and the chat gate: what would teach the model nothing or the wrong thing is refused.

Reads JSONL, `{"id", "messages": [{"role", "content"}, ..]}` a line; returns rows `{"input_ids", "labels"}` with
label -100 wherever the assistant did not write. A wrong mask or a missing end token is the field's most common and
most costly mistake, and rendering ten thousand rows takes seconds, so every row is looked at before training starts.
"""

import json
import random
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.chat import Message, end_of_turn_id, render_conversation, render_prompt
from pipeline.stage import UserError

ROLES = ("system", "user", "assistant")
IGNORED = -100  # the label that the loss skips
# Rows longer than the model's window are left out and counted; above this share the recipe does not fit the model.
MOST_TOO_LONG = 0.05

Row = dict[str, list[int]]


@dataclass(frozen=True, kw_only=True)
class Conversation:
    """One conversation and the file and line that it came from."""

    messages: list[Message]
    where: str


def read(path: Path) -> list[Conversation]:
    """The conversations of a file. Raises UserError naming file and line for a row that is none."""
    if not path.is_file():
        raise UserError(
            f"{path}: no such file. The recipe's source has no conversations: leave sft.yaml out, or collect some."
        )
    found = []
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            where = f"{path}, line {number}"
            try:
                found.append(Conversation(messages=_messages(json.loads(line), where), where=where))
            except json.JSONDecodeError as error:
                raise UserError(f"{where}: not JSON ({error.msg}). Each line must be one object.") from None
    if not found:
        raise UserError(f"{path}: holds no conversation.")
    return found


def _messages(row: Any, where: str) -> list[Message]:
    """The messages of a row. Raises UserError for anything that cannot be rendered and learnt from."""
    messages = row.get("messages") if isinstance(row, dict) else None
    if not isinstance(messages, list) or not messages:
        has = f"has the keys {', '.join(sorted(row)) or 'none'}" if isinstance(row, dict) else "is no object"
        raise UserError(f'{where}: expected an object with "messages", a list of messages; the row {has}.')
    for place, message in enumerate(messages, start=1):
        role = message.get("role") if isinstance(message, dict) else None
        content = message.get("content") if isinstance(message, dict) else None
        if role not in ROLES:
            raise UserError(f"{where}: message {place} has the role {role!r}; it must be one of {', '.join(ROLES)}.")
        if not isinstance(content, str) or not content.strip():
            raise UserError(f'{where}: message {place} ({role}) has no text in "content".')
    if messages[-1]["role"] != "assistant":
        raise UserError(f"{where}: the last message is the {messages[-1]['role']}'s; it must be the assistant's.")
    return [{"role": message["role"], "content": message["content"]} for message in messages]


def sample(conversations: list[Conversation], count: int | None, purpose: str) -> list[Conversation]:
    """At most `count` conversations in random order, which depends on `purpose` (with the seed) alone."""
    chosen = list(conversations)
    random.Random(purpose).shuffle(chosen)
    return chosen[:count]


def encode(tokenizer: Any, conversations: Iterable[Conversation], window: int) -> tuple[list[Row], int]:
    """The rows that pass the gate, and how many were left out because they are longer than `window` tokens.

    Raises UserError for a row that the gate refuses, and when more than 5 % are too long.
    """
    end, pad = end_of_turn_id(tokenizer), tokenizer.pad_token_id
    if pad is None or pad == end:
        raise UserError(
            f"the tokenizer's pad token ({tokenizer.pad_token!r}) must be there and differ from the token that ends a "
            f"turn ({tokenizer.decode([end])!r}), or the model learns nothing about where to stop"
        )
    rows, too_long, total = [], 0, 0
    for total, conversation in enumerate(conversations, start=1):  # noqa: B007
        row = gate(tokenizer, conversation, end)
        if len(row["input_ids"]) > window:
            too_long += 1
        else:
            rows.append(row)
    if too_long > MOST_TOO_LONG * total:
        raise UserError(
            f"{too_long} of {total} conversations are longer than the {window} tokens that the model reads; cutting "
            "them would cut off the answers' ends. Shorten them, or raise max_length or the model's context."
        )
    return rows, too_long


def gate(tokenizer: Any, conversation: Conversation, end: int) -> Row:
    """One conversation as a row. Raises UserError naming its line where training on it would mislead the model."""
    where, messages = conversation.where, conversation.messages
    try:
        ids, mask = render_conversation(tokenizer, messages)
        prompt = render_prompt(tokenizer, messages[:-1]) if len(messages) > 1 else []
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
    if not 0 < sum(mask) < len(mask):
        raise UserError(
            f"{where}: {sum(mask)} of its {len(mask)} tokens would be trained. {{% generation %}} in the chat "
            "template must enclose the assistant's words and nothing else."
        )
    # The answer must begin exactly where the prompt of later use ends.
    if ids[: len(prompt)] != prompt or (prompt and not mask[len(prompt)]):
        raise UserError(
            f"{where}: the chat template renders the prompt in another way when an answer follows, so the model would "
            "be trained on prompts that it never sees in use. Mend the template's generation prompt."
        )
    turns = sum(message["role"] == "assistant" for message in messages)
    trained_ends = sum(token == end for token, trained in zip(ids, mask, strict=True) if trained)
    if trained_ends < turns:
        raise UserError(
            f"{where}: {trained_ends} of the assistant's {turns} turns end with a trained "
            f"{tokenizer.decode([end])!r}, so the model would never learn to stop. Put it inside the chat template's "
            "generation block."
        )
    labels = [token if trained else IGNORED for token, trained in zip(ids, mask, strict=True)]
    return {"input_ids": ids, "labels": labels}
