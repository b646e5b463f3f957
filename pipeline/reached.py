"""What pretraining reached of a document: its rows are a function of (seed, epoch), so they are laid out again.

Reads pretrain's manifest (seed, recipe) and log.jsonl (how many steps, which were left out), and the token store.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.rows import Order
from pipeline.store import Split

HELDOUT = "heldout_bits_per_byte"


@dataclass(frozen=True, kw_only=True)
class Reached:
    """tokens: of the document's `length`, those that were trained on; rows: in so many rows; least, most: how often
    one of those tokens was. left_out: its rows in steps without an update. steps: those that made the model."""

    tokens: int
    length: int
    rows: int
    least: int
    most: int
    left_out: int
    steps: int

    @property
    def words(self) -> str:
        """In a sentence's end, after the stage's name."""
        if not self.tokens and self.left_out:
            return "was never trained on it: what it reached of it stood in steps that were left out (log.jsonl)"
        if not self.tokens:
            return f"never reached it: its training, of {self.steps:,} steps, ended before any row with this document"
        share = f"all {self.length}" if self.tokens == self.length else f"{self.tokens} of the {self.length}"
        rows = f"{self.rows} row{'s' if self.rows > 1 else ''}"
        often = times(self.least) if self.least == self.most else f"{self.least} to {self.most} times"
        return f"was trained on {share} tokens of it, in {rows}, each {often}"


def times(number: int) -> str:
    """`once`, `3 times`."""
    return "once" if number == 1 else f"{number} times"


def steps(log: list[dict[str, Any]], recipe: Mapping[str, Any]) -> int:
    """How many steps made the model: all that the log has, or with keep_best those before the best evaluation."""
    if recipe.get("keep_best") and (measured := [entry for entry in log if HELDOUT in entry]):
        return int(min(measured, key=lambda entry: entry[HELDOUT])["step"])
    return max(int(entry["step"]) for entry in log if "left_out" not in entry)


def reached(pretrain: Path, sealed: Mapping[str, Any], split: Split, document: int) -> Reached:
    """Of one document of the training split, by the number that it has there."""
    with (pretrain / "log.jsonl").open(encoding="utf-8") as lines:
        log = [entry for entry in map(json.loads, lines) if "step" in entry]
    recipe = sealed["recipe"]
    batch, last = recipe["batch_size"], steps(log, recipe)
    without = {entry["first_row"] // batch for entry in log if "left_out" in entry}
    order = Order(
        split, context=recipe["context"], packing=recipe["packing"], seed=sealed["seeds"]["run"], batch=batch,
        short_first=recipe.get("short_first"),
    )  # fmt: skip
    start, end = (int(offset) for offset in split.offsets[document : document + 2])
    counts = np.zeros(end - start, dtype=np.int64)
    rows = left_out = first = 0  # first: of the epoch, among the rows of all epochs
    for epoch in range(last * batch + 1):
        layout = (order.rows if epoch == 0 else order.lay_out(epoch=epoch)).layout
        for number, pieces in enumerate(layout[: last * batch - first], start=first):
            own = [(max(at, start), min(at + size, end)) for at, size in pieces if at < end and at + size > start]
            if not own:
                continue
            if number // batch in without:
                left_out += 1
                continue
            rows += 1
            for begin, stop in own:
                counts[begin - start : stop - start] += 1
        first += len(layout)
        if first >= last * batch:
            break
    seen = counts[counts > 0]
    least, most = (int(seen.min()), int(seen.max())) if len(seen) else (0, 0)
    return Reached(
        tokens=len(seen), length=end - start, rows=rows, least=least, most=most, left_out=left_out, steps=last
    )
