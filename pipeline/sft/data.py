"""Conversations as rows to train on: read, mixed, put through the chat gate, counted.

Reads collect's JSONL, `{"id", "messages": [{"role", "content"}, ..]}` a line, or the data sets that the recipe names;
returns rows `{"input_ids", "labels"}` with label -100 wherever the assistant did not write.
"""

import hashlib
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pipeline.artifact import canonical
from pipeline.chat import Message
from pipeline.chat_columns import ChatTable, messages_of
from pipeline.chat_gate import ChatGate, Unusable, sample_first
from pipeline.screen.chats import Screening
from pipeline.sft.recipe import Data
from pipeline.stage import UserError
from pipeline.table import rows

IGNORED = -100  # the label that the loss skips
# Rows longer than the model's window are left out and counted; above this share the recipe does not fit the model.
MOST_TOO_LONG = 0.05
KEPT_SAMPLES = 20  # of what was left out, for each reason

Row = dict[str, list[int]]


@dataclass(frozen=True, kw_only=True)
class Conversation:
    """One conversation and the file and line that it came from."""

    messages: list[Message]
    where: str


@dataclass
class LeftOut:
    """What is not trained on, counted by reason, with a few examples of each."""

    counts: Counter[str] = field(default_factory=Counter)
    examples: list[dict[str, str]] = field(default_factory=list)

    def add(self, reason: str, message: str) -> None:
        """Counts one conversation."""
        self.counts[reason] += 1
        if self.counts[reason] <= KEPT_SAMPLES:
            self.examples.append({"reason": reason, "what": message})


def read(path: Path) -> list[Conversation]:
    """The conversations of collect's file. Raises UserError naming file and line for a row that is none."""
    if not path.is_file():
        raise UserError(
            f"{path}: no such file. The recipe's source has no conversations: leave sft.yaml out, collect some, or "
            "name others under `data:` in sft.yaml."
        )
    return read_table(ChatTable(path=str(path)))


def read_table(table: ChatTable) -> list[Conversation]:
    """The conversations of a data set. Raises UserError for a row without the columns, or where there is no row."""
    found = [Conversation(messages=messages_of(table, row, where), where=where) for row, where in rows(table)]
    if not found:
        raise UserError(f"{table.name}: holds no conversation.")
    return found


def mixture(data: Data, seed: int) -> tuple[list[Conversation], list[Conversation], dict[str, float]]:
    """The conversations to train on, by weight; those held out, each once; how many each source gave to train on.

    Which ones are held out depends on their first turn alone, so no prompt stands on both sides.
    """
    training: list[Conversation] = []
    heldout: list[Conversation] = []
    counts: dict[str, float] = {}
    for number, source in enumerate(data.sources, start=1):
        own: list[Conversation] = []
        for talk in read_table(source):
            (heldout if _share(talk, seed) < data.heldout else own).append(talk)
        whole = int(source.weight)
        rest = round((source.weight - whole) * len(own))
        taken = own * whole + random.Random(f"{seed}/sft/mixture/{number}").sample(own, rest)
        training += taken
        counts[f"source_{number}_conversations"] = len(taken)
    if not heldout or not training:
        raise UserError(
            f"data: {len(training)} conversations to train on and {len(heldout)} held out. Give more of them, or "
            "another share as data.heldout."
        )
    return training, heldout, counts


def _share(talk: Conversation, seed: int) -> float:
    """A number in [0, 1) that depends on the seed and the conversation's first turn."""
    first = next((i for i, m in enumerate(talk.messages) if m["role"] == "assistant"), len(talk.messages))
    text = canonical([seed, talk.messages[: max(first, 1)]])
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:7]) / 2**56


def sample(conversations: list[Conversation], count: int | None, purpose: str) -> list[Conversation]:
    """At most `count` conversations in random order, which depends on `purpose` (with the seed) alone."""
    chosen = list(conversations)
    random.Random(purpose).shuffle(chosen)
    return chosen[:count]


def screened(conversations: Sequence[Conversation], name: str, screening: Screening) -> list[Conversation]:
    """The conversations with private data replaced, without those that hold evaluation items."""
    screening.begin(name)
    kept = []
    for talk in conversations:
        messages = screening.screened(talk.messages, talk.where.rpartition("/")[2])
        if messages is not None:
            kept.append(replace(talk, messages=messages))
    return kept


def encode(
    tokenizer: Any, conversations: Sequence[Conversation], window: int, max_left_out: float = 0.0
) -> tuple[list[Row], LeftOut]:
    """The rows that pass the gate, in the order given, and what was left out.

    Raises UserError for a fault of the template, and where more is left out than the share `max_left_out`; of rows
    longer than `window` tokens 5 % are always accepted. None is cut: that would cut off its answer's end.
    """
    gate, left_out = ChatGate(tokenizer), LeftOut()
    found: dict[int, Row] = {}
    for index in sample_first(len(conversations)):
        talk = conversations[index]
        try:
            ids, mask = gate.conversation(talk.messages, talk.where)
        except Unusable as fault:
            if not max_left_out:
                raise
            left_out.add(fault.reason, str(fault))
            continue
        if len(ids) > window:
            cut = not any(mask[:window])
            left_out.add("answer_cut_off" if cut else "too_long", f"{talk.where}: {len(ids)} tokens")
        else:
            labels = [token if trained else IGNORED for token, trained in zip(ids, mask, strict=True)]
            found[index] = {"input_ids": ids, "labels": labels}
    _check_left_out(left_out, len(conversations), window, max_left_out)
    return [found[index] for index in sorted(found)], left_out


def _check_left_out(left_out: LeftOut, total: int, window: int, most: float) -> None:
    """Raises UserError where too many conversations are left out."""
    counts = left_out.counts
    cut = counts["answer_cut_off"]
    too_long = counts["too_long"] + cut
    if too_long > max(most, MOST_TOO_LONG) * total:
        whole = f" ({cut} of them by their prompt alone, so that nothing of the answer would be left)" if cut else ""
        raise UserError(
            f"{too_long} of {total} conversations are longer than the {window} tokens that the model reads{whole}; "
            "cutting them would cut off the answers' ends. Shorten them, or raise max_length or the model's context."
        )
    if sum(counts.values()) - too_long > most * total:
        others = sorted(set(counts) - {"too_long", "answer_cut_off"})
        reasons = ", ".join(f"{reason} {counts[reason]}" for reason in others)
        first = next(example["what"] for example in left_out.examples if example["reason"] in others)
        raise UserError(
            f"{sum(counts.values()) - too_long} of {total} conversations cannot be trained on ({reasons}), more than "
            f"data.max_left_out = {most:g} allows. The first: {first}"
        )
