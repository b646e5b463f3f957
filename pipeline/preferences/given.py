"""A preference set that is there already, in any of five layouts, as judged answers.

Reads rows of a file or of the Hub; gives for each its prompt, its answers and a score of each, of which only the order
means anything unless the set has ratings. Rows that make no pair are counted by reason.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.chat import Message
from pipeline.chat_columns import transcript
from pipeline.preferences.recipe import NEEDED, OPTIONAL, Given
from pipeline.stage import UserError
from pipeline.table import Row, column, rows

ROLES = {"human": "user", "gpt": "assistant", "Human": "user", "Assistant": "assistant"}

Drop = Callable[[str, str, str], None]  # reason, prompt's id, text


@dataclass(frozen=True, kw_only=True)
class Judged:
    """A prompt's answers with their scores; source: who wrote or judged them."""

    prompt: list[Message]
    answers: list[str]
    scores: list[float]
    source: str


def read_given(given: Given, drop: Drop) -> list[Judged]:
    """The rows that can be compared. Raises UserError for a row without the columns, or where nothing is left."""
    found, total = [], 0
    for total, (row, where) in enumerate(rows(given), start=1):  # noqa: B007
        values = {name: column(row, given.columns.get(name, name), where) for name in NEEDED[given.format]}
        for name in OPTIONAL[given.format]:
            theirs = given.columns.get(name, name)
            if name in given.columns or theirs in row:
                values[name] = column(row, theirs, where)
        judged = READERS[given.format](values, where, drop)
        if judged is not None:
            found.append(judged)
    if not found:
        raise UserError(f"dataset: {given.name}: not one of its {total} rows can be compared.")
    return found


def _pairs(values: Row, where: str, drop: Drop) -> Judged | None:
    if "prompt" not in values:
        sides = [_messages(values[side], "assistant", where) for side in ("chosen", "rejected")]
        return _whole(sides, values, where, drop)
    answers = [_answer(values[side], where) for side in ("chosen", "rejected")]
    return Judged(prompt=_prompt(values, where), answers=answers, scores=[1.0, 0.0], source=_source(values))


def _transcripts(values: Row, where: str, drop: Drop) -> Judged | None:
    return _whole([transcript(values[side]) for side in ("chosen", "rejected")], values, where, drop)


def _whole(sides: list[list[Message]], values: Row, where: str, drop: Drop) -> Judged | None:
    """Two conversations that differ in their last message alone."""
    chosen, rejected = sides
    if len(chosen) < 2 or chosen[:-1] != rejected[:-1] or {chosen[-1]["role"], rejected[-1]["role"]} != {"assistant"}:
        drop("different_prompts", where, str(chosen[-1:]))
        return None
    answers = [chosen[-1]["content"], rejected[-1]["content"]]
    return Judged(prompt=chosen[:-1], answers=answers, scores=[1.0, 0.0], source=_source(values))


def _choices(values: Row, where: str, drop: Drop) -> Judged | None:
    answers = [_answer(values[side], where) for side in ("first", "second")]
    if values["label"] not in (1, 2):
        drop("tie" if values["label"] == 0 else "no_label", where, answers[0])
        return None
    first = float(values["label"] == 1)
    return Judged(prompt=_prompt(values, where), answers=answers, scores=[first, 1 - first], source=_source(values))


def _listed(values: Row, where: str, drop: Drop) -> Judged | None:
    if not isinstance(values["answers"], list):
        raise UserError(f"{where}: the column of 'answers' is {type(values['answers']).__name__}, expected a list.")
    answers = [_answer(answer, where) for answer in values["answers"]]
    scores = values.get("scores", [-float(place) for place in range(len(answers))])
    if not isinstance(scores, list) or len(scores) != len(answers):
        raise UserError(f"{where}: the column of 'scores' must be a list of {len(answers)} numbers, one an answer.")
    if not all(isinstance(score, int | float) and abs(score) < float("inf") for score in scores):
        drop("no_score", where, str(scores))
        return None
    if len(answers) < 2:
        drop("one_answer", where, "".join(answers))
        return None
    return Judged(prompt=_prompt(values, where), answers=answers, scores=[*map(float, scores)], source=_source(values))


READERS: dict[str, Callable[[Row, str, Drop], Judged | None]] = {
    "pairs": _pairs, "transcripts": _transcripts, "choices": _choices, "ranked": _listed, "rated": _listed,
}  # fmt: skip


def _source(values: Row) -> str:
    return str(values.get("source") or "dataset")


def _prompt(values: Row, where: str) -> list[Message]:
    """The prompt's messages with what stands in columns of its own."""
    messages = _messages(values["prompt"], "user", where)
    before = [{"role": "system", "content": values["system"]}] if values.get("system") else []
    for question, answer in values.get("history") or []:
        before += [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    if values.get("input") and messages:
        messages[-1] = {**messages[-1], "content": f"{messages[-1]['content']}\n\n{values['input']}"}
    return [*before, *messages]


def _answer(value: Any, where: str) -> str:
    messages = _messages(value, "assistant", where)
    return messages[-1]["content"] if messages else ""


def _messages(value: Any, role: str, where: str) -> list[Message]:
    """A text, a message or a list of messages, in either of the two ways to write one."""
    if value is None or isinstance(value, str):
        return [{"role": role, "content": value or ""}]
    found = []
    for message in [value] if isinstance(value, Mapping) else value if isinstance(value, list) else [None]:
        given = message if isinstance(message, Mapping) else {}
        who, content = given.get("role", given.get("from")), given.get("content", given.get("value"))
        if not isinstance(who, str) or not isinstance(content, str | None):
            raise UserError(
                f"{where}: {str(value)[:60]!r} is no text and no message ({{role, content}} or {{from, value}})."
            )
        found.append({"role": ROLES.get(who, who), "content": content or ""})
    return found
