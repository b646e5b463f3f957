"""The order of rows by `group_by_length`, found again by a run that resumes after its first epoch.

transformers draws each epoch's order from the global random stream, which a resumed run no longer has where that epoch
began: it would train on some rows twice and never see others. (LengthGrouped, which reward and dpo use, draws it from
the seed and the epoch; here that would change every model that was made so far.) So the stream's state at the
beginning of the epoch is kept in each checkpoint, and the first epoch of a resumed run is drawn from it.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_pt_utils import LengthGroupedSampler
from trl import SFTTrainer

FILE = "epoch_order.pt"  # of a checkpoint: the random stream's state where its epoch began


class RememberedOrder(LengthGroupedSampler):
    """transformers' sampler; `began` is the stream's state before its newest order, `resume_from` one to draw from."""

    began: torch.Tensor | None = None
    resume_from: torch.Tensor | None = None

    def __iter__(self) -> Iterator[int]:
        if self.resume_from is None:
            self.began = torch.get_rng_state()
            return super().__iter__()
        # What is drawn after this is restored from the checkpoint by the trainer.
        self.began, self.resume_from = self.resume_from, None
        with torch.random.fork_rng(devices=[]):
            torch.set_rng_state(self.began)
            return super().__iter__()


class KeepsOrder(SFTTrainer):
    """SFTTrainer whose checkpoints hold the order of their epoch, where rows are grouped by length."""

    order: RememberedOrder | None = None
    resumed: torch.Tensor | None = None

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        sampler = super()._get_train_sampler(train_dataset)
        if type(sampler) is not LengthGroupedSampler:
            return sampler
        self.order = RememberedOrder(sampler.batch_size, lengths=sampler.lengths)
        self.order.resume_from = self.resumed
        return self.order

    def train(self, resume_from_checkpoint: str | None = None, **keys: Any) -> Any:
        """The trainer's own, from a checkpoint with the order that its epoch had."""
        kept = Path(resume_from_checkpoint or "") / FILE
        if resume_from_checkpoint and kept.is_file():
            self.resumed = torch.load(kept, weights_only=True)
        return super().train(resume_from_checkpoint=resume_from_checkpoint, **keys)


class KeepOrder(TrainerCallback):
    """Writes the order's file into each checkpoint, before it is sealed."""

    def __init__(self, trainer: KeepsOrder) -> None:
        self.trainer = trainer

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        order = self.trainer.order
        if order is not None and order.began is not None and state.is_world_process_zero:
            torch.save(order.began, Path(args.output_dir) / f"checkpoint-{state.global_step}" / FILE)
