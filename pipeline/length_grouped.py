"""Batches of rows of like length, in an order that a resumed run finds again.

Mends transformers' `train_sampling_strategy: group_by_length`: its order comes from the global random stream, which a
run resumed after the first epoch no longer has, so it trains on some rows twice and never sees others. Here the order
depends on the seed and the epoch alone. Use as a trainer's first base: `class Mine(LengthGrouped, SFTTrainer)`.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch.utils.data import Sampler
from transformers.trainer_pt_utils import get_length_grouped_indices

STRATEGY = "group_by_length"


class LengthGroupedSampler(Sampler[int]):
    """Every index once an epoch; indices of rows of like length stand together."""

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int) -> None:
        self.lengths, self.batch_size, self.seed, self.epoch = list(lengths), batch_size, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Called by the trainer at the start of every epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed * 100_003 + self.epoch)
        return iter(get_length_grouped_indices(self.lengths, self.batch_size, generator=generator))


class LengthGrouped:
    """What a transformers Trainer needs for it; the data set has a column "length" or "input_ids"."""

    args: Any
    train_dataset: Any

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int] | None:
        rows = self.train_dataset if train_dataset is None else train_dataset
        if self.args.train_sampling_strategy != STRATEGY:
            return super()._get_train_sampler(rows)  # type: ignore[misc]
        known = "length" in rows.column_names
        lengths = rows["length"] if known else [len(ids) for ids in rows["input_ids"]]
        batch_size = self.args.train_batch_size * self.args.gradient_accumulation_steps
        return LengthGroupedSampler(lengths, batch_size, self.args.seed)
