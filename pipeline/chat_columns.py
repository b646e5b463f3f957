"""A data set's columns as messages: one mapping for the layouts in which conversations are published.

| format            | columns                                                                                  |
|-------------------|------------------------------------------------------------------------------------------|
| messages          | messages: [{role, content}, ..]                                                          |
| prompt_completion | prompt, completion: each a text or messages                                              |
| alpaca            | instruction, output; where they are there, input and history ([[question, answer], ..])  |
| sharegpt          | conversations: [{from, value}, ..]                                                       |
| transcripts       | transcript: a text of "\\n\\nHuman: .." and "\\n\\nAssistant: .." turns                    |
| prompt            | prompt: a text or messages; for stages that answer by themselves                         |

Each may have a column `system`. `columns:` says where a name differs: `columns: {instruction: question}`.
"""

import difflib
import re
from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from pipeline.stage import UserError
from pipeline.table import Row, Table, column

Message = dict[str, str]
Format = Literal["messages", "prompt_completion", "alpaca", "sharegpt", "transcripts"]

# Of each format the columns that must be there, those that may, and the keys within a message.
COLUMNS: dict[str, tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]] = {
    "messages": (("messages",), ("system",), ("role", "content")),
    "prompt_completion": (("prompt", "completion"), ("system",), ("role", "content")),
    "alpaca": (("instruction", "output"), ("input", "history", "system"), ()),
    "sharegpt": (("conversations",), ("system",), ("from", "value")),
    "transcripts": (("transcript",), ("system",), ()),
    "prompt": (("prompt",), ("system",), ("role", "content")),
}
ROLES = {"human": "user", "gpt": "assistant"}  # ShareGPT's names
TURN = re.compile(r"\n\n(Human|Assistant):")
SPEAKERS = {"Human": "user", "Assistant": "assistant"}


class ChatTable(Table):
    """Rows that are conversations.

    format: see above. columns: our name of a column or key -> theirs. roles: their name of a role -> ours, for those
    that are not system, user, assistant or ShareGPT's human and gpt.
    """

    format: Format = "messages"
    columns: dict[str, str] = Field(default_factory=dict)
    roles: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _known_columns(self) -> Self:
        accepted = [name for names in COLUMNS[self.format] for name in names]
        for name in self.columns:
            if name not in accepted:
                close = difflib.get_close_matches(name, accepted, n=1)
                hint = f" Did you mean '{close[0]}'?" if close else ""
                raise ValueError(
                    f"columns: format: {self.format} has no '{name}'.{hint} Accepted: {', '.join(accepted)}."
                )
        return self


class PromptTable(ChatTable):
    """Rows that are prompts, or conversations whose last answer is left out."""

    format: Format | Literal["prompt"] = "prompt"  # type: ignore[assignment]


def messages_of(table: ChatTable, row: Row, where: str) -> list[Message]:
    """The row's messages. Raises UserError for a column that is missing or holds something else.

    Contents and roles are left for the chat gate to look at.
    """
    needed, optional, _ = COLUMNS[table.format]
    theirs = {name: table.columns.get(name, name) for name in (*needed, *optional)}
    values = {name: column(row, theirs[name], where) for name in needed}
    # An optional column that the recipe names must be there.
    values |= {
        name: column(row, theirs[name], where) for name in optional if name in table.columns or theirs[name] in row
    }
    system = [{"role": "system", "content": values["system"]}] if values.get("system") else []
    if table.format == "alpaca":
        return [*system, *_alpaca(values, where)]
    if table.format == "transcripts":
        return [*system, *transcript(values["transcript"])]
    if table.format == "prompt":
        return [*system, *turns(values["prompt"], "user", table, theirs["prompt"], where)]
    if table.format == "prompt_completion":
        sides = (("prompt", "user"), ("completion", "assistant"))
        return [*system, *(m for name, role in sides for m in turns(values[name], role, table, theirs[name], where))]
    return [*system, *turns(values[needed[0]], None, table, theirs[needed[0]], where)]


def turns(value: Any, text_role: str | None, table: ChatTable, name: str, where: str) -> list[Message]:
    """The messages that a column holds: a list of them, or with `text_role` a text that is one message's."""
    if isinstance(value, str) and text_role:
        return [{"role": text_role, "content": value}]
    if not isinstance(value, list) or not all(isinstance(message, Mapping) for message in value):
        expected = "a text or a list of messages" if text_role else "a list of messages"
        raise UserError(f"{where}: the column '{name}' is {type(value).__name__}, expected {expected}.")
    keys = COLUMNS[table.format][2] or ("role", "content")
    role, content = (table.columns.get(key, key) for key in keys)
    known = (ROLES if table.format == "sharegpt" else {}) | table.roles
    found = []
    for message in value:
        given = column(dict(message), role, f"{where}, column '{name}'")
        text = column(dict(message), content, f"{where}, column '{name}'")
        found.append({"role": known.get(given, given) if isinstance(given, str) else given, "content": text})
    return found


def prompt_of(table: PromptTable, row: Row, where: str) -> list[Message]:
    """The row's messages without the answer that they end with."""
    messages = messages_of(table, row, where)
    while messages and messages[-1]["role"] == "assistant":
        messages.pop()
    return messages


def transcript(text: Any) -> list[Message]:
    """The turns of one text; none where it does not begin with a turn, which the chat gate counts as empty."""
    before, *parts = TURN.split(text) if isinstance(text, str) else ("",)
    if before.strip():
        return []
    return [
        {"role": SPEAKERS[who], "content": said.strip()} for who, said in zip(parts[::2], parts[1::2], strict=True)
    ]


def _alpaca(values: Row, where: str) -> list[Message]:
    history = values.get("history") or []
    if not isinstance(history, list) or any(not isinstance(turn, list) or len(turn) != 2 for turn in history):
        raise UserError(f"{where}: the column of 'history' must be a list of [question, answer].")
    told = [values["instruction"], values.get("input")]
    if not all(isinstance(text, str | None) for text in told):
        raise UserError(f"{where}: the columns of 'instruction' and 'input' must be texts.")
    question = "\n\n".join(text for text in told if text and text.strip())
    pairs = [*history, [question, values["output"]]]
    return [
        {"role": role, "content": text}
        for pair in pairs
        for role, text in zip(("user", "assistant"), pair, strict=True)
    ]
