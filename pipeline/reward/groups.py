"""Pairs that share a prompt, trained together: each answer is scored once, however many pairs it stands in.

Four answers to a prompt make up to six pairs, which taken one by one would be twelve forward and backward passes, and
cost four here (the batches of Ouyang et al. 2022, 2203.02155, section 3.5, which found it to overfit less as well).
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from datasets import Dataset
from torch.nn.utils.rnn import pad_sequence
from trl import RewardTrainer

from pipeline.length_grouped import LengthGrouped
from pipeline.pairs import EncodedPair


@dataclass(frozen=True, kw_only=True)
class Group:
    """The pairs of one prompt: its answers (each with the prompt before it), and which is chosen over which."""

    sequences: list[list[int]]
    chosen: list[int]  # of each pair the number of its better answer
    rejected: list[int]

    def row(self) -> dict[str, Any]:
        """The group as a row of the trainer's data set."""
        longest = max(len(ids) for ids in self.sequences)
        return {"sequences": self.sequences, "chosen": self.chosen, "rejected": self.rejected, "length": longest}


def group_pairs(pairs: Sequence[EncodedPair]) -> list[Group]:
    """The pairs by prompt, in the order in which prompts and answers come first."""
    groups: dict[tuple[int, ...], tuple[dict[tuple[int, ...], int], Group]] = {}
    for pair in pairs:
        numbers, group = groups.setdefault(tuple(pair.prompt_ids), ({}, Group(sequences=[], chosen=[], rejected=[])))
        for ids, side in ((pair.chosen_ids, group.chosen), (pair.rejected_ids, group.rejected)):
            if tuple(ids) not in numbers:
                numbers[tuple(ids)] = len(numbers)
                group.sequences.append(pair.prompt_ids + ids)
            side.append(numbers[tuple(ids)])
    return [group for _, group in groups.values()]


def sample_groups(groups: Sequence[Group], max_pairs: int | None, purpose: str) -> list[Group]:
    """Groups in a random order that depends on `purpose` alone, up to the one with which `max_pairs` are reached."""
    shuffled = list(groups)
    random.Random(purpose).shuffle(shuffled)
    taken, num_pairs = [], 0
    for group in shuffled:
        if max_pairs is not None and num_pairs >= max_pairs:
            break
        taken.append(group)
        num_pairs += len(group.chosen)
    return taken


@dataclass(frozen=True)
class GroupCollator:
    """Rows as one batch: the answers of all groups, padded on the right, and `order`, which row stands where in pairs:
    the chosen sides of all pairs, then the rejected ones, as RewardTrainer expects the two halves of a batch."""

    pad_id: int

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        sequences: list[torch.Tensor] = []
        chosen: list[int] = []
        rejected: list[int] = []
        for row in rows:
            chosen += [len(sequences) + number for number in row["chosen"]]
            rejected += [len(sequences) + number for number in row["rejected"]]
            sequences += [torch.tensor(ids) for ids in row["sequences"]]
        return {
            "input_ids": pad_sequence(sequences, batch_first=True, padding_value=self.pad_id),  # (B, T)
            "attention_mask": pad_sequence([torch.ones_like(ids) for ids in sequences], batch_first=True),  # (B, T)
            "order": torch.tensor(chosen + rejected),  # (2 P,)
        }


class GroupedRewardTrainer(LengthGrouped, RewardTrainer):
    """TRL's RewardTrainer on rows of groups; per_device_train_batch_size counts groups, so prompts. The loss and what
    is logged are means over the pairs of a batch."""

    def _prepare_dataset(self, dataset: Dataset, *args: Any, **kwargs: Any) -> Dataset:
        return dataset  # the rows are encoded already

    def compute_loss(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """RewardTrainer's, which is given each pair's two scores as if its model had read them."""
        batch = dict(inputs)
        order = batch.pop("order")

        def score_pairs(**keys: Any) -> Any:
            outputs = model(**keys)
            outputs.logits = outputs.logits[order]  # (2 P, 1)
            return outputs

        return super().compute_loss(score_pairs, batch, *args, **kwargs)
