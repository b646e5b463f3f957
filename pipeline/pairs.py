"""Preference pairs as token ids: read from JSONL, checked row by row, rendered as the chat template renders them.

Reads `{"id", "prompt": [..], "chosen": [{"role": "assistant", "content"}], "rejected": [..], "source"}`, one a line.
Both sides of an encoded pair follow the same prompt ids and end with the end-of-turn token, exactly as an answer that
the model gives in use, so a trainer never has to apply the template itself.
"""

import json
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pipeline.chat import render_prompt
from pipeline.chat_gate import ChatGate, Unusable, sample_first
from pipeline.stage import UserError

COLUMNS = ("id", "prompt", "chosen", "rejected")


@dataclass(frozen=True, kw_only=True)
class EncodedPair:
    """One pair; `chosen_ids` and `rejected_ids` hold the answers alone, without the prompt. source: who judged it."""

    id: str
    prompt_ids: list[int]
    chosen_ids: list[int]
    rejected_ids: list[int]
    source: str = ""

    @property
    def length(self) -> int:
        """The number of tokens of prompt and longer answer: what the pair takes in a batch."""
        return len(self.prompt_ids) + max(len(self.chosen_ids), len(self.rejected_ids))


def read_pairs(path: Path) -> list[dict[str, Any]]:
    """The rows of a preference file. Raises UserError where it is empty, or a row lacks a column."""
    rows = []
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise UserError(
                    f"{path}, line {number}: not JSON ({error.msg}). Each line must be one object."
                ) from None
            missing = [column for column in COLUMNS if not isinstance(row, dict) or column not in row]
            if missing:
                has = ", ".join(sorted(row)) if isinstance(row, dict) else type(row).__name__
                raise UserError(f"{path}, line {number}: has no '{missing[0]}'. Its columns are: {has}.")
            rows.append(row)
    if not rows:
        raise UserError(f"{path}: holds no pair. Give the preferences stage more prompts, or a smaller margin.")
    return rows


def encode_pairs(
    tokenizer: Any, rows: Sequence[dict[str, Any]], max_length: int, where: str
) -> tuple[list[EncodedPair], Counter[str]]:
    """The pairs that can be trained on, and how many were left out for which reason.

    Left out: an empty side, equal sides, and prompt plus answer longer than `max_length` tokens, since cutting an
    answer would cut off its end. Raises UserError for anything else that the chat gate refuses, and where nothing is
    left.
    """
    gate, dropped = ChatGate(tokenizer), Counter[str]()
    kept: dict[int, EncodedPair] = {}
    known: dict[str, list[int]] = {}
    for index in sample_first(len(rows)):
        try:
            pair = encode_pair(gate, rows[index], known)
        except Unusable as fault:
            if fault.reason != "empty":
                raise
            dropped["empty"] += 1
            continue
        if pair.chosen_ids == pair.rejected_ids:
            dropped["equal"] += 1
        elif pair.length > max_length:
            dropped["too_long"] += 1
        else:
            kept[index] = pair
    if not kept:
        raise UserError(f"{where}: none of its {len(rows)} pairs can be used (left out: {dict(dropped)}).")
    return [kept[index] for index in sorted(kept)], dropped


def encode_pair(gate: ChatGate, row: dict[str, Any], known: dict[str, list[int]] | None = None) -> EncodedPair:
    """One row's ids. Raises UserError where the chat gate refuses a side.

    known: the answers encoded so far, to which these are added. Four answers make six pairs, so each stands in three.
    """
    prompt = render_prompt(gate.tokenizer, row["prompt"])
    known = {} if known is None else known
    ids = {}
    for side in ("chosen", "rejected"):
        key = json.dumps([row["prompt"], row[side]])
        if key not in known:
            known[key] = answer_ids(gate, row, side, prompt)
        ids[side] = known[key]
    source = str(row.get("source") or "")
    return EncodedPair(
        id=str(row["id"]), prompt_ids=prompt, chosen_ids=ids["chosen"], rejected_ids=ids["rejected"], source=source
    )


def answer_ids(gate: ChatGate, row: dict[str, Any], side: str, prompt: list[int]) -> list[int]:
    """The ids of one side after the prompt, up to and with its end of turn."""
    ids, _ = gate.conversation([*row["prompt"], *row[side]], f"pair {row['id']}, {side}")
    answer = ids[len(prompt) :]
    # Whatever a template writes after the last end of turn (often a line break) is never generated, so not trained.
    return answer[: len(answer) - answer[::-1].index(gate.end)]


def show_pair(tokenizer: Any, pair: EncodedPair, out: Path, stage: str) -> None:
    """Prints and writes what of a pair is trained: its answers, here the chosen one."""
    mask = [0] * len(pair.prompt_ids) + [1] * len(pair.chosen_ids)
    ChatGate(tokenizer).show(pair.prompt_ids + pair.chosen_ids, mask, out, stage)


def best_against(pairs: Sequence[EncodedPair], other: Literal["next", "worst"]) -> list[EncodedPair]:
    """One pair a prompt: its best answer against the worst, or against the next best of those that lost to it.

    The order is by pairs won minus pairs lost (Copeland's scores), so that one wrong label weighs less where answers
    were compared several times. A prompt with one pair keeps it; one whose best answer won nothing is left out.
    """
    balances: dict[tuple[int, ...], Counter[tuple[int, ...]]] = {}
    won = {(tuple(p.prompt_ids), tuple(p.chosen_ids), tuple(p.rejected_ids)) for p in pairs}
    for pair in pairs:
        balance = balances.setdefault(tuple(pair.prompt_ids), Counter())
        balance[tuple(pair.chosen_ids)] += 1
        balance[tuple(pair.rejected_ids)] -= 1
    found = []
    for number, (prompt, balance) in enumerate(balances.items()):
        best, *rest = [answer for answer, _ in balance.most_common()]
        worse = [a for a in rest if balance[a] < balance[best] and (prompt, best, a) in won]
        if worse:
            rejected = worse[0 if other == "next" else -1]
            pair_id = f"best-{other}/{number}"
            found.append(
                EncodedPair(id=pair_id, prompt_ids=list(prompt), chosen_ids=list(best), rejected_ids=list(rejected))
            )
    return found


def sample_pairs(pairs: list[EncodedPair], count: int | None, purpose: str) -> list[EncodedPair]:
    """At most `count` of the pairs, a random choice in random order, which depends on `purpose` alone."""
    chosen = list(pairs)
    random.Random(purpose).shuffle(chosen)
    return chosen[:count]
