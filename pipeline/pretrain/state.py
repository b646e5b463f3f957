"""What a pretraining checkpoint holds, in safetensors and JSON: weights, optimiser state, where the run stood.

The learning rate is a function of the step, its rows are a function of (seed, step), and its random numbers are seeded
by both, so that nothing else is needed for a resumed run to end with the weights of an uninterrupted one.
"""

import json
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from pipeline.engine import trained
from pipeline.training_state import MOMENTS, Tensors, check_identity, load_weights, save


@dataclass(kw_only=True)
class Standing:
    """Where a run stands. identity: what data, tokenizer and recipe it belongs to. seconds: of training steps alone.

    skipped, spikes: the steps that were left out, for a loss or gradient that is no number, and for a loss out of
    all proportion. losses: of the last steps, what the guard holds a new one against. best: the lowest held-out bits
    per byte of an evaluation so far.
    """

    identity: dict[str, Any]
    step: int = 0
    seconds: float = 0.0
    loss: float = 0.0
    skipped: list[int] = field(default_factory=list)
    spikes: list[int] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    best: float = math.inf


def write(folder: Path, held: tuple[Tensors, Tensors], standing: Standing) -> None:
    """Writes a checkpoint's files from the weights and moments that were gathered."""
    save(folder, *held)
    (folder / "standing.json").write_text(json.dumps(asdict(standing), indent=1), encoding="utf-8")


def read(folder: Path, model: torch.nn.Module, identity: dict[str, Any]) -> tuple[Standing, Tensors]:
    """Puts a checkpoint's weights into the model; returns where the run stood and the optimisers' moments.

    Raises UserError where it belongs to another run.
    """
    standing = Standing(**json.loads((folder / "standing.json").read_text(encoding="utf-8")))
    check_identity(folder, standing.identity, identity)
    load_weights(folder, trained(model))
    return standing, load_file(folder / MOMENTS)


def tensors(optimizers: list[torch.optim.Optimizer]) -> list[torch.Tensor]:
    """What the optimisers remember."""
    entries = (entry for optimizer in optimizers for entry in optimizer.state.values())
    return [value for entry in entries for value in entry.values() if isinstance(value, torch.Tensor)]
