"""Weights and optimiser state of a training loop in safetensors, by parameter name, so tied ones are written once.

What two loops of ours (pretraining and PPO) put into a checkpoint beside their own standing.json.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from pipeline.stage import UserError

Parameters = Mapping[str, torch.nn.Parameter]
WEIGHTS, MOMENTS = "model.safetensors", "optimizer.safetensors"


def write_tensors(folder: Path, parameters: Parameters, optimizers: Sequence[torch.optim.Optimizer]) -> None:
    """Writes the parameters and whatever the optimisers keep of each."""
    save_file({name: tensor.detach().contiguous() for name, tensor in parameters.items()}, folder / WEIGHTS)
    moments = {
        f"{name}/{key}": torch.as_tensor(value).contiguous()
        for optimizer in optimizers
        for name, parameter in parameters.items()
        for key, value in optimizer.state.get(parameter, {}).items()
    }
    save_file(moments, folder / MOMENTS)


def read_tensors(folder: Path, parameters: Parameters, optimizers: Sequence[torch.optim.Optimizer]) -> None:
    """Puts what was written back. Raises UserError where the checkpoint holds other parameters."""
    weights = load_file(folder / WEIGHTS)
    if weights.keys() != parameters.keys():
        differing = sorted(weights.keys() ^ parameters.keys())
        raise UserError(f"{folder}: holds other parameters than the model: {', '.join(differing)}.")
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(weights[name])
    owners = {
        id(p): optimizer for optimizer in optimizers for group in optimizer.param_groups for p in group["params"]
    }
    for name_key, value in load_file(folder / MOMENTS).items():
        name, _, key = name_key.rpartition("/")
        parameter = parameters[name]
        owners[id(parameter)].state[parameter][key] = value.to(parameter.device)


def check_identity(folder: Path, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Raises UserError where a checkpoint belongs to another run than the one that would go on from it."""
    other = [
        f"{key}: {found.get(key)} -> {wanted.get(key)}"
        for key in sorted(found.keys() | wanted.keys())
        if found.get(key) != wanted.get(key)
    ]
    if other:
        raise UserError(f"{folder}: is a checkpoint of another run ({'; '.join(other)}). Remove {folder.parent}.")
