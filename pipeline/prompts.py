"""What the stages that draw their own answers (`ppo`, `grpo`) train on: prompts, screened and checked.

Reads  collect/prompts/rl.jsonl, or the table that the recipe names; collect's evaluation items, where there are some.
Writes certificates/ and, where a prompt was dropped, dropped.jsonl, both into the stage's artifact.
"""

import json
import random
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.chat_columns import PromptTable, prompt_of
from pipeline.chat_gate import ChatGate, Unusable
from pipeline.screen.chats import Screening
from pipeline.stage import Job, UserError
from pipeline.table import rows as rows_of

MOST_LEFT_OUT = 0.05  # of a table's rows, because they can be no prompt


@dataclass(frozen=True, kw_only=True)
class Prompts:
    """Rows to train on, `prompt` a list of messages and the rest as collect wrote it; ids: each one as token ids."""

    rows: list[dict[str, Any]]
    ids: list[list[int]]
    too_long: int
    metrics: dict[str, float]
    screening: Screening
    gate: ChatGate

    def write(self, out: Path, stage: str) -> None:
        """Shows one prompt, and writes down which were dropped."""
        self.gate.show_prompt(self.rows[0]["prompt"], out, stage)
        if self.screening.examples:
            lines = [json.dumps(example, ensure_ascii=False) + "\n" for example in self.screening.examples]
            (out / "dropped.jsonl").write_text("".join(lines), encoding="utf-8")


def load_prompts(job: Job, tokenizer: Any, *, window: int | None, max_completion_length: int) -> Prompts:
    """The prompts that leave room for an answer, in a seeded order. Raises UserError where there is none."""
    recipe = job.recipe
    room = (window or sys.maxsize) - max_completion_length
    screening = Screening(recipe.screen, job.inputs.get("collect"))
    path = recipe.prompts.name if recipe.prompts else job.needs("collect") / "prompts" / "rl.jsonl"
    rows = screened(own_rows(recipe.prompts) if recipe.prompts else read_rows(path, job.stage), screening)
    metrics = screening.finish(job.stage, job.out)
    gate = ChatGate(tokenizer)
    encoded, faults = [], []
    for row in rows:
        try:
            encoded.append((row, gate.prompt(row["prompt"], row["where"])))
        except Unusable as fault:
            faults.append(fault)
            if recipe.prompts is None:  # collect's own never are broken
                raise
    left_out = Counter(fault.reason for fault in faults)
    if len(faults) > MOST_LEFT_OUT * len(rows):
        reasons = ", ".join(f"{reason} {count}" for reason, count in sorted(left_out.items()))
        raise UserError(
            f"{job.stage}: {len(faults)} of {len(rows)} prompts cannot be used ({reasons}), more than "
            f"{100 * MOST_LEFT_OUT:g} %. The first: {faults[0]}"
        )
    metrics |= {f"left_out_{reason}": count for reason, count in sorted(left_out.items())}
    fitting = [(row, ids) for row, ids in encoded if len(ids) <= room]
    if not fitting:
        raise UserError(
            f"{path}: none of its {len(rows)} prompts leaves room for trainer.max_completion_length = "
            f"{max_completion_length} in the model's window. Lower it in {job.stage}.yaml."
        )
    random.Random(f"{job.seed}/{job.stage}/rows").shuffle(fitting)
    fitting = fitting[: recipe.max_prompts]
    return Prompts(
        rows=[{key: value for key, value in row.items() if key != "where"} for row, _ in fitting],
        ids=[ids for _, ids in fitting],
        too_long=sum(len(ids) > room for _, ids in encoded),
        metrics=metrics,
        screening=screening,
        gate=gate,
    )


def read_rows(path: Path, stage: str) -> list[dict[str, Any]]:
    """Each row of collect's prompt file, and `where` it stands. Raises UserError where there is none."""
    if not path.is_file():
        raise UserError(f"{stage}: {path} is not there: the source of this recipe's collect has no prompts.")
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    for number, row in enumerate(rows, start=1):
        if not row.get("prompt"):
            raise UserError(f"{path}, line {number}: has no 'prompt'. Its columns are: {', '.join(row)}.")
    if not rows:
        raise UserError(f"{path}: holds no prompt. Let collect write some (its key `rl`).")
    return [{**row, "where": f"{path}, line {line}"} for line, row in enumerate(rows, start=1)]


def own_rows(table: PromptTable) -> list[dict[str, Any]]:
    """Each row of the recipe's own table, its `prompt` as messages, and `where` it stands."""
    found = [{**row, "prompt": prompt_of(table, row, where), "where": where} for row, where in rows_of(table)]
    if not found:
        raise UserError(f"prompts: {table.name}: holds no row.")
    return found


def screened(rows: list[dict[str, Any]], screening: Screening) -> list[dict[str, Any]]:
    """The prompts with private data replaced, without those that hold evaluation items."""
    screening.begin("prompts")
    kept = ((row, screening.screened(row["prompt"], short(row["where"]))) for row in rows)
    return [{**row, "prompt": messages} for row, messages in kept if messages is not None]


def short(where: str) -> str:
    """A place without the folders before it, since it goes into certificates."""
    return where.rpartition("/")[2]
