"""A token store's documents in rows of equal length, to train on and to measure with.

`Order` gives the rows of a training step, `scoring_rows` those of a measurement. Where a row begins and in what order
rows come is a function of (seed, epoch) alone: nothing is written, and any number of processes sees the same.
"""

import functools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from pipeline.packing import Layout, best_fit, stream
from pipeline.stage import UserError
from pipeline.store import Split

IGNORE = -100  # what torch's cross entropy skips: the padding after the last document of a row

Packing = Literal["documents", "stream"]


@dataclass(frozen=True, kw_only=True)
class Rows:
    """A split laid out in rows of `context` tokens to predict. The first piece of a row is led by the token that
    stands before it, which for the beginning of a document is an end token, as when the model is sampled."""

    split: Split
    context: int
    layout: Layout

    def __len__(self) -> int:
        return len(self.layout)

    def batch(self, rows: Iterable[int]) -> tuple[np.ndarray, np.ndarray]:
        """Inputs and targets of these rows, both (rows, context) int64; targets are IGNORE past a row's last piece."""
        chosen = [self.layout[row] for row in rows]
        ids = np.full((len(chosen), self.context + 1), self.split.end_id, dtype=np.int64)
        targets = np.full((len(chosen), self.context), IGNORE, dtype=np.int64)
        for i, pieces in enumerate(chosen):
            if pieces[0][0] > 0:
                ids[i, 0] = self.split.tokens[pieces[0][0] - 1]
            filled = 1
            for start, length in pieces:
                ids[i, filled : filled + length] = self.split.tokens[start : start + length]
                filled += length
            targets[i, : filled - 1] = ids[i, 1:filled]
        return ids[:, :-1], targets

    def sources(self, rows: Iterable[int]) -> np.ndarray:
        """The source of each target, (rows, context) int64, as a place in the split's; 0 where there is no target.

        Of rows whose pieces hold one document each, as those of `scoring_rows` do.
        """
        chosen = [self.layout[row] for row in rows]
        found = np.zeros((len(chosen), self.context), dtype=np.int64)
        for i, pieces in enumerate(chosen):
            filled = 0
            for start, length in pieces:
                document = np.searchsorted(self.split.offsets, start, side="right") - 1
                found[i, filled : filled + length] = self.split.sources[document]
                filled += length
        return found


def positions(ids: np.ndarray, end_id: int) -> np.ndarray:
    """Each token's place in its document, (rows, context): an end token begins the next document at 0.

    Transformers keeps documents of one row apart where positions begin anew (without a mask and without a cache): no
    token sees the document before its own.
    """
    places = np.broadcast_to(np.arange(ids.shape[1]), ids.shape)
    return places - np.maximum.accumulate(np.where(ids == end_id, places, 0), axis=1)


def training_rows(
    split: Split, *, context: int, packing: Packing, seed: int, epoch: int, short_first: int | None = None
) -> Rows:
    """The rows of one epoch in their order, which is a function of (seed, epoch) alone.

    "documents": a row begins where a document begins and holds whole documents, the largest that fit (best fit). The
    room left is filled with the beginning of a document that stands whole elsewhere: no row is padded and no text is
    lost. The parts of a document longer than a row stand at the beginning of rows.
    "stream": the shuffled documents end to end, cut every `context` tokens, so that rows begin anywhere.
    short_first: documents of up to so many tokens make the first rows of the first epoch; later epochs mix all.
    """
    rng = np.random.default_rng([seed, epoch])
    order = rng.permutation(split.num_documents)
    short = np.diff(split.offsets)[order] <= (short_first or 0 if epoch == 0 else 0)
    layout: Layout = []
    for part in filter(len, (order[short], order[~short])):
        rows = (
            stream(split.offsets, context, part)
            if packing == "stream"
            else best_fit(split.offsets, context, part, fill=True)
        )
        layout += [rows[i] for i in rng.permutation(len(rows))]
    return Rows(split=split, context=context, layout=layout)


def scoring_rows(split: Split, *, context: int) -> Rows:
    """Rows where every token of the split, end tokens included, is a target exactly once: best fit, then padding."""
    order = np.arange(split.num_documents)
    return Rows(split=split, context=context, layout=best_fit(split.offsets, context, order, fill=False))


class Order:
    """Which rows a step trains on: of the epochs laid end to end, step * batch to (step + 1) * batch - 1. A function
    of (seed, epoch, step) alone, so that a resumed run, or any number of processes, reads what one run would read."""

    def __init__(
        self, split: Split, *, context: int, packing: Packing, seed: int, batch: int, short_first: int | None = None
    ) -> None:
        self.lay_out = functools.partial(
            training_rows, split, context=context, packing=packing, seed=seed, short_first=short_first
        )
        self.batch = batch
        self.rows = self.lay_out(epoch=0)
        if not len(self.rows):
            raise UserError(
                "the token store has no document to train on: see the corpus's funnel.json for what dropped them."
            )
        self.epoch, self.begin = 0, 0  # the epoch laid out now, and the number of its first row

    def __getitem__(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """Inputs and targets of the whole batch of a step, both (batch, context)."""
        if step * self.batch < self.begin:
            self.epoch, self.begin, self.rows = 0, 0, self.lay_out(epoch=0)
        parts, first, end = [], step * self.batch, (step + 1) * self.batch
        while first < end:
            # Epochs differ by a few rows in length (best fit), so the later ones are found by laying out the earlier.
            while first >= self.begin + len(self.rows):
                self.epoch, self.begin = self.epoch + 1, self.begin + len(self.rows)
                self.rows = self.lay_out(epoch=self.epoch)
            last = min(end, self.begin + len(self.rows))
            parts.append(self.rows.batch(range(first - self.begin, last - self.begin)))
            first = last
        return np.concatenate([ids for ids, _ in parts]), np.concatenate([targets for _, targets in parts])
