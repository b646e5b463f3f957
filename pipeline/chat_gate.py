"""The chat gate: nothing is trained on chats that would teach the model nothing or the wrong thing.

A wrong loss mask, end token or template is the field's most common and most costly mistake, and it shows nowhere but
in the model. Every stage that trains on chats (sft, reward, dpo, ppo) puts its rows through a ChatGate before the
first step, which raises one UserError with the row's place, what is wrong with it and how to mend it:

    gate = ChatGate(tokenizer)                       # the tokenizer and its template by themselves
    ids, mask = gate.conversation(messages, where)   # a whole conversation; mask: 1 what is trained
    ids = gate.prompt(messages, where)               # a prompt that the model is to answer
    gate.show(ids, mask, out, "sft")                 # prints what is trained; writes out/trained_tokens.json

A fault of the row alone is an Unusable, which a stage may count by its reason instead of stopping. Faults of the
template are told by a sample as well as by all rows: `sample_first` gives an order that finds them at once.
"""

import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.chat import (
    START_OF_TURN,
    Message,
    end_of_turn_id,
    inference_text,
    render_conversation,
    render_prompt,
    training_text,
)
from pipeline.stage import UserError

ROLES = ("system", "user", "assistant")
SAMPLE = 64  # rows that are looked at before all the others
PROBE = "(the model's own answer)"  # what a prompt is checked with
SHOWN_TOKENS = 400  # printed; the file has all of them
GREEN, DIM, PLAIN = "\033[32m", "\033[2m", "\033[0m"


class Unusable(UserError):
    """A fault of one row alone. reason: one word with underscores, to count by."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Memory:
    """A tokenizer that encodes what the template writes between the contents once: it is the same in every chat."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self.known: dict[str, list[int]] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self.tokenizer, name)

    def encode(self, text: str, split_special_tokens: bool = False, **keys: Any) -> list[int]:
        """As the tokenizer's; with special tokens parsed, the text is the template's and is remembered."""
        if split_special_tokens:
            return self.tokenizer.encode(text, split_special_tokens=True, **keys)
        if text not in self.known:
            self.known[text] = self.tokenizer.encode(text, **keys)
        return self.known[text]


class ChatGate:
    """Looks at chats through one tokenizer. Raises UserError for a tokenizer that nothing can be trained with."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer, self.end = Memory(tokenizer), end_of_turn_id(tokenizer)
        if self.end is None:
            raise UserError("the tokenizer has no token that ends a turn: set its eos_token to the one that does.")
        if tokenizer.pad_token_id is None or tokenizer.pad_token_id == self.end:
            raise UserError(
                f"the tokenizer's pad token ({tokenizer.pad_token!r}) must be there and differ from the token that "
                f"ends a turn ({tokenizer.decode([self.end])!r}), or the model learns nothing about where to stop."
            )
        special = [token.content for token in tokenizer.added_tokens_decoder.values() if token.special]
        self.special = re.compile("|".join(map(re.escape, sorted(special, key=len, reverse=True))) or "(?!)")

    def conversation(self, messages: Sequence[Message], where: str) -> tuple[list[int], list[int]]:
        """A whole conversation's ids, and 1 for each that is trained. Raises UserError, Unusable for the row's own."""
        self.check_messages(messages, where)
        if messages[-1]["role"] != "assistant":
            raise Unusable(
                "no_answer",
                f"{where}: the last message is the {messages[-1]['role']}'s; it must be the assistant's.",
            )
        try:
            ids, mask = render_conversation(self.tokenizer, messages)
            self._check_mask(messages, ids, mask, where)
            self._check_renderings(messages, ids, mask, where)
        except UserError as error:
            message = str(error)
            raise UserError(message if message.startswith(where) else f"{where}: {message}") from None
        return ids, mask

    def prompt(self, messages: Sequence[Message], where: str) -> list[int]:
        """The ids after which the model's answer begins, checked with a probe in the answer's place."""
        self.check_messages(messages, where)
        self.conversation([*messages, {"role": "assistant", "content": PROBE}], where)
        return render_prompt(self.tokenizer, messages)

    def show_prompt(self, messages: Sequence[Message], out: Path, stage: str) -> None:
        """As `show`, of a prompt that the model answers by itself."""
        ids, mask = self.conversation([*messages, {"role": "assistant", "content": PROBE}], "the prompt shown")
        self.show(ids, mask, out, stage)

    def check_messages(self, messages: Sequence[Message], where: str) -> None:
        """Raises Unusable for no messages, an unknown role, a message without text, a special token in a text."""
        if not messages:
            raise Unusable("empty", f"{where}: holds no message.")
        for place, message in enumerate(messages, start=1):
            role, content = message.get("role"), message.get("content")
            if role not in ROLES:
                raise Unusable(
                    "unknown_role",
                    f"{where}: message {place} has the role {role!r}; it must be one of {', '.join(ROLES)}.",
                )
            if not isinstance(content, str) or not content.strip():
                raise Unusable("empty", f'{where}: message {place} ({role}) has no text in "content".')
            if found := self.special.search(content):
                raise Unusable(
                    "special_token",
                    f"{where}: message {place} ({role}) spells out the special token {found[0]!r}, which would "
                    "become the token itself where another program renders the chat. Take it out of the text.",
                )

    def _check_mask(self, messages: Sequence[Message], ids: list[int], mask: list[int], where: str) -> None:
        """What is trained: something, not all, and the end of every turn of the assistant's; one BOS at most."""
        if not 0 < sum(mask) < len(mask):
            raise UserError(
                f"{where}: {sum(mask)} of its {len(mask)} tokens would be trained. {{% generation %}} in the chat "
                "template must enclose the assistant's words and nothing else."
            )
        turns = sum(message["role"] == "assistant" for message in messages)
        ends = sum(token == self.end for token, trained in zip(ids, mask, strict=True) if trained)
        if ends < turns:
            raise UserError(
                f"{where}: {ends} of the assistant's {turns} turns end with a trained "
                f"{self.tokenizer.decode([self.end])!r}, so the model would never learn to stop. Put it inside the "
                "chat template's generation block."
            )
        # Some models use the mark of a turn, or its end, as their BOS as well: those stand in a chat many times.
        bos = self.tokenizer.bos_token_id
        if bos not in (None, self.end) and self.tokenizer.bos_token != START_OF_TURN and ids.count(bos) > 1:
            raise UserError(
                f"{where}: {ids.count(bos)} of its tokens are {self.tokenizer.bos_token!r}, which begins a text and "
                "may stand there once. Let the chat template write it before the first message alone."
            )

    def _check_renderings(self, messages: Sequence[Message], ids: list[int], mask: list[int], where: str) -> None:
        """Training sees what use sees: the same text, and before each answer the same prompt, by text and by token."""
        text = inference_text(self.tokenizer, messages)
        trained_text = training_text(self.tokenizer, messages)
        if text != trained_text:
            place = next((i for i, (a, b) in enumerate(zip(text, trained_text, strict=False)) if a != b), None)
            place = min(len(text), len(trained_text)) if place is None else place
            raise UserError(
                f"{where}: in use the chat template writes {text[place : place + 30]!r} where training would see "
                f"{trained_text[place : place + 30]!r}: it changes what the messages say. Let it write the "
                "contents as they are."
            )
        for message in messages:
            if message["content"].strip() not in text:
                raise UserError(
                    f"{where}: the chat template leaves out the {message['role']}'s message. Let it write every role."
                )
        for turn, message in enumerate(messages):
            if message["role"] != "assistant" or turn == 0:
                continue
            prompt = render_prompt(self.tokenizer, messages[:turn])
            if ids[: len(prompt)] != prompt or not mask[len(prompt)] or not text.startswith(
                inference_text(self.tokenizer, messages[:turn], add_generation_prompt=True)
            ):  # fmt: skip
                raise UserError(
                    f"{where}: the chat template renders the prompt in another way when an answer follows, so the "
                    "model would be trained on prompts that it never sees in use. Mend the template's generation "
                    "prompt."
                )
            if turn + 1 < len(messages) and not text.startswith(inference_text(self.tokenizer, messages[: turn + 1])):
                raise UserError(
                    f"{where}: the chat template renders the answer in message {turn + 1} in another way once it is "
                    "followed by others, so the model would not learn to write it as it is read. Let the template "
                    "write every turn of the assistant's alike."
                )

    def show(self, ids: Sequence[int], mask: Sequence[int], out: Path, stage: str) -> None:
        """Prints a sample, what is trained in green (in brackets where there is no terminal); writes it as data."""
        tokens = [
            {"text": self.tokenizer.decode([token]), "trained": bool(trained)}
            for token, trained in zip(ids, mask, strict=True)
        ]
        path = out / "trained_tokens.json"
        path.write_text(json.dumps({"stage": stage, "tokens": tokens}, ensure_ascii=False) + "\n", encoding="utf-8")
        colour = sys.stderr.isatty()
        sys.stderr.write(f"[{stage}] {sum(mask)} of the {len(mask)} tokens of one sample are trained:\n")
        text = spans(self.tokenizer, ids[:SHOWN_TOKENS], mask[:SHOWN_TOKENS], colour)
        sys.stderr.write(text + (" ..." if len(ids) > SHOWN_TOKENS else "") + "\n")


def spans(tokenizer: Any, ids: Sequence[int], mask: Sequence[int], colour: bool) -> str:
    """The text with what is trained marked. Whole spans are decoded, since a character may take several tokens."""
    before, after, rest = (GREEN, PLAIN, DIM) if colour else ("[[", "]]", "")
    parts, start = [], 0
    for end in range(1, len(ids) + 1):
        if end < len(ids) and mask[end] == mask[start]:
            continue
        # Nothing that somebody wrote may steer the terminal.
        text = "".join(c if c.isprintable() or c == "\n" else "?" for c in tokenizer.decode(list(ids[start:end])))
        parts.append(f"{before}{text}{after}" if mask[start] else f"{rest}{text}{PLAIN if colour else ''}")
        start = end
    return "".join(parts)


def sample_first(count: int) -> list[int]:
    """Every index below `count` once, those of a sample spread over all of them first."""
    step = max(1, count // SAMPLE)
    sample = list(range(0, count, step))[:SAMPLE]
    return [*sample, *sorted(set(range(count)) - set(sample))]
