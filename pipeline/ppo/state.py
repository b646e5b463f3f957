"""What a PPO checkpoint holds: the trained weights, the optimiser's state, and where the run stood.

Prompts, sampling and mini-batches of a step are functions of (seed, step), so that nothing else is needed for a
resumed run to end with the weights of an uninterrupted one.
"""

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from pipeline.engine import trained
from pipeline.ppo.rewards import Moments
from pipeline.training_state import MOMENTS, Tensors, check_identity, load_weights, save

NUM_HASHED = 1024


@dataclass(kw_only=True)
class Standing:
    """Where a run stands. identity: what models, data and settings it belongs to. kl: of the newest step's answers,
    nats each. over_budget: whether kl_budget ended it. seconds: of all steps."""

    identity: dict[str, Any]
    kl_coef: float
    step: int = 0
    kl: float = 0.0
    over_budget: bool = False
    seconds: float = 0.0
    rewards: Moments = field(default_factory=Moments)
    skipped: list[int] = field(default_factory=list)  # the steps that had an update whose gradient was not finite


def start(model: torch.nn.Module) -> str:
    """16 hex digits that name the weights a run starts from: of each parameter its name, shape and first numbers."""
    digest = hashlib.sha256()
    for name, parameter in model.named_parameters():
        few = parameter.detach().flatten()[:NUM_HASHED].float().cpu().numpy().tobytes()
        digest.update(f"{name}{tuple(parameter.shape)}".encode() + few)
    return digest.hexdigest()[:16]


def write(folder: Path, held: tuple[Tensors, Tensors], standing: Standing) -> None:
    """Writes a checkpoint's files from the weights and moments that were gathered."""
    save(folder, *held)
    (folder / "standing.json").write_text(json.dumps(asdict(standing), indent=1), encoding="utf-8")


def read(folder: Path, model: torch.nn.Module, identity: dict[str, Any]) -> tuple[Standing, Tensors]:
    """Puts a checkpoint's weights into the model; returns where the run stood and the optimiser's moments.

    Raises UserError where it belongs to another run.
    """
    stood = json.loads((folder / "standing.json").read_text(encoding="utf-8"))
    standing = Standing(**{**stood, "rewards": Moments(**stood["rewards"])})
    check_identity(folder, standing.identity, identity)
    load_weights(folder, trained(model))
    return standing, load_file(folder / MOMENTS)
