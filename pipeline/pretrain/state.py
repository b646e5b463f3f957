"""What a pretraining checkpoint holds, in safetensors and JSON: weights, optimiser state, where the run stood.

The learning rate is a function of the step, its rows are a function of (seed, step), and its random numbers are seeded
by both, so that nothing else is needed for a resumed run to end with the weights of an uninterrupted one.
"""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from pipeline.stage import UserError


@dataclass(kw_only=True)
class Standing:
    """Where a run stands. identity: what data and recipe it belongs to. seconds: of training steps alone."""

    identity: dict[str, Any]
    step: int = 0
    seconds: float = 0.0
    loss: float = 0.0
    skipped: list[int] = field(default_factory=list)  # the steps whose gradient was not finite


def write(folder: Path, model: torch.nn.Module, optimizers: list[torch.optim.Optimizer], standing: Standing) -> None:
    """Writes a checkpoint's files. Parameters go by name, so tied ones are written once."""
    parameters = dict(model.named_parameters())
    save_file(
        {name: tensor.detach().contiguous() for name, tensor in parameters.items()}, folder / "model.safetensors"
    )
    moments = {
        f"{name}/{key}": torch.as_tensor(value).contiguous()
        for optimizer in optimizers
        for name, parameter in parameters.items()
        for key, value in optimizer.state.get(parameter, {}).items()
    }
    save_file(moments, folder / "optimizer.safetensors")
    (folder / "standing.json").write_text(json.dumps(asdict(standing), indent=1), encoding="utf-8")


def read(
    folder: Path, model: torch.nn.Module, optimizers: list[torch.optim.Optimizer], identity: dict[str, Any]
) -> Standing:
    """Puts a checkpoint's state into model and optimisers. Raises UserError where it belongs to another run."""
    standing = Standing(**json.loads((folder / "standing.json").read_text(encoding="utf-8")))
    other = [
        f"{key}: {standing.identity.get(key)} -> {identity.get(key)}"
        for key in sorted(standing.identity.keys() | identity.keys())
        if standing.identity.get(key) != identity.get(key)
    ]
    if other:
        raise UserError(f"{folder}: is a checkpoint of another run ({'; '.join(other)}). Remove {folder.parent}.")
    weights = load_file(folder / "model.safetensors")
    parameters = dict(model.named_parameters())
    if weights.keys() != parameters.keys():
        differing = sorted(weights.keys() ^ parameters.keys())
        raise UserError(f"{folder}: holds other parameters than the model: {', '.join(differing)}.")
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(weights[name])
    owners = {
        id(p): optimizer for optimizer in optimizers for group in optimizer.param_groups for p in group["params"]
    }
    for name_key, value in load_file(folder / "optimizer.safetensors").items():
        name, _, key = name_key.rpartition("/")
        parameter = parameters[name]
        owners[id(parameter)].state[parameter][key] = value.to(parameter.device)
    return standing
