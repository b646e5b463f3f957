"""What a pretraining checkpoint holds, in safetensors and JSON: weights, optimiser state, where the run stood.

The learning rate is a function of the step, its rows are a function of (seed, step), and its random numbers are seeded
by both, so that nothing else is needed for a resumed run to end with the weights of an uninterrupted one.
"""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from pipeline.training_state import check_identity, read_tensors, write_tensors


@dataclass(kw_only=True)
class Standing:
    """Where a run stands. identity: what data and recipe it belongs to. seconds: of training steps alone."""

    identity: dict[str, Any]
    step: int = 0
    seconds: float = 0.0
    loss: float = 0.0
    skipped: list[int] = field(default_factory=list)  # the steps whose gradient was not finite


def write(folder: Path, model: torch.nn.Module, optimizers: list[torch.optim.Optimizer], standing: Standing) -> None:
    """Writes a checkpoint's files."""
    write_tensors(folder, dict(model.named_parameters()), optimizers)
    (folder / "standing.json").write_text(json.dumps(asdict(standing), indent=1), encoding="utf-8")


def read(
    folder: Path, model: torch.nn.Module, optimizers: list[torch.optim.Optimizer], identity: dict[str, Any]
) -> Standing:
    """Puts a checkpoint's state into model and optimisers. Raises UserError where it belongs to another run."""
    standing = Standing(**json.loads((folder / "standing.json").read_text(encoding="utf-8")))
    check_identity(folder, standing.identity, identity)
    read_tensors(folder, dict(model.named_parameters()), optimizers)
    return standing


def tensors(optimizers: list[torch.optim.Optimizer]) -> list[torch.Tensor]:
    """What the optimisers remember."""
    entries = (entry for optimizer in optimizers for entry in optimizer.state.values())
    return [value for entry in entries for value in entry.values() if isinstance(value, torch.Tensor)]
