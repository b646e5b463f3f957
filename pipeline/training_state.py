"""Weights and optimiser state of a training loop in safetensors, by parameter name, so tied ones are written once.

What two loops of ours (pretraining and PPO) put into a checkpoint beside their own standing.json.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch.distributed.tensor import DTensor, distribute_tensor

from pipeline.stage import UserError

Parameters = Mapping[str, torch.nn.Parameter]
Tensors = dict[str, torch.Tensor]
WEIGHTS, MOMENTS = "model.safetensors", "optimizer.safetensors"


def gather(parameters: Parameters, optimizers: Sequence[torch.optim.Optimizer]) -> tuple[Tensors, Tensors]:
    """The parameters, and whatever the optimisers keep of each as "<name>/<key>": whole tensors, so that of sharded
    ones every process must ask. What is whole already is not copied."""
    weights = {name: _whole(tensor.detach()).contiguous() for name, tensor in parameters.items()}
    moments = {
        f"{name}/{key}": _whole(torch.as_tensor(value)).contiguous()
        for optimizer in optimizers
        for name, parameter in parameters.items()
        for key, value in optimizer.state.get(parameter, {}).items()
    }
    return weights, moments


def save(folder: Path, weights: Tensors, moments: Tensors) -> None:
    """Writes what was gathered."""
    save_file(weights, folder / WEIGHTS)
    save_file(moments, folder / MOMENTS)


def load_weights(folder: Path, parameters: Parameters) -> None:
    """Puts the weights back. Raises UserError where the checkpoint holds other parameters."""
    weights = load_file(folder / WEIGHTS)
    if weights.keys() != parameters.keys():
        differing = sorted(weights.keys() ^ parameters.keys())
        raise UserError(f"{folder}: holds other parameters than the model: {', '.join(differing)}.")
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(weights[name])


def restore(parameters: Parameters, optimizers: Sequence[torch.optim.Optimizer], moments: Tensors) -> None:
    """Gives the optimisers back what they kept of each parameter."""
    owners = {
        id(p): optimizer for optimizer in optimizers for group in optimizer.param_groups for p in group["params"]
    }
    for name_key, value in moments.items():
        name, _, key = name_key.rpartition("/")
        parameter = parameters[name]
        placed = value.to(parameter.device)
        if isinstance(parameter, DTensor) and placed.ndim:
            placed = distribute_tensor(placed, parameter.device_mesh, parameter.placements)
        owners[id(parameter)].state[parameter][key] = placed


def check_identity(folder: Path, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Raises UserError where a checkpoint belongs to another run than the one that would go on from it."""
    other = [
        f"{key}: {found.get(key)} -> {wanted.get(key)}"
        for key in sorted(found.keys() | wanted.keys())
        if found.get(key) != wanted.get(key)
    ]
    if other:
        raise UserError(f"{folder}: is a checkpoint of another run ({'; '.join(other)}). Remove {folder.parent}.")


def _whole(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
