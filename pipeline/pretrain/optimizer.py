"""The optimisers: AdamW, Muon for the matrices inside the model with AdamW for the rest, SGD with momentum.

Each parameter group carries its own weight decay, none on gains and biases; the loop sets the learning rate of every
group at every step.
"""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import torch
from accelerate.utils import DistributedType

from pipeline.pretrain.recipe import Recipe
from pipeline.stage import UserError

BETAS = (0.9, 0.95)  # GPT-3's (Brown et al. 2020, appendix B): 0.999 forgets too slowly for runs this short
MOMENTUM = 0.95
SGD_MOMENTUM = 0.9
ITERATIONS = 5
IN_SHARES = {DistributedType.DEEPSPEED: "ZeRO", DistributedType.FSDP: "FSDP2"}
# Of the quintic whose iteration drives singular values towards 1, tuned for speed rather than exactness (Jordan 2024).
A, B, C = 3.4445, -4.7750, 2.0315


class Muon(torch.optim.Optimizer):
    """Momentum whose updates of matrices are orthogonalised, so that all directions of a matrix learn at one speed
    (Jordan et al. 2024, kellerjordan.github.io/posts/muon), scaled to the size of AdamW's updates, so that one
    learning rate serves both (Liu et al. 2025, 2502.16982, eq. 4).

    Unlike torch.optim.Muon it works in float32 on CPU, where bfloat16 is emulated, and takes all matrices of one shape
    in one product: for small models that is most of its cost.
    """

    def __init__(self, parameters: Iterable[torch.nn.Parameter], weight_decay: float) -> None:
        super().__init__(parameters, {"lr": 0.0, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        """One update of every matrix that has a gradient."""
        for group in self.param_groups:
            shapes: dict[torch.Size, list[torch.nn.Parameter]] = defaultdict(list)
            for parameter in group["params"]:
                if parameter.grad is not None:
                    shapes[parameter.shape].append(parameter)
            for shape, parameters in shapes.items():
                directions = orthogonalise(torch.stack([self._momentum(parameter) for parameter in parameters]))
                rate = group["lr"] * 0.2 * max(shape[-2:]) ** 0.5
                for parameter, direction in zip(parameters, directions, strict=True):
                    parameter.mul_(1 - group["lr"] * group["weight_decay"]).add_(direction, alpha=-rate)

    def _momentum(self, parameter: torch.nn.Parameter) -> torch.Tensor:
        """Nesterov's momentum of a parameter's gradient."""
        assert parameter.grad is not None
        state = self.state[parameter]
        if not state:
            state["momentum"] = torch.zeros_like(parameter)
        state["momentum"].lerp_(parameter.grad, 1 - MOMENTUM)
        return parameter.grad.lerp(state["momentum"], MOMENTUM)


def orthogonalise(matrices: torch.Tensor) -> torch.Tensor:
    """U V^T, nearly, of each matrix U S V^T in (.., rows, columns): singular values end between 0.7 and 1.2.

    Every iterate is a polynomial Q of the small Gram matrix X X^T times X. So in float32 Q alone is iterated, which
    takes half the time for matrices four times as wide as high; in bfloat16 it would lose small singular values.
    """
    x = matrices.reshape(-1, *matrices.shape[-2:])  # experts come as one tensor of several matrices
    x = x.bfloat16() if x.is_cuda else x.float()
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    wide = x.size(-2) <= x.size(-1)
    x = x if wide else x.mT
    if x.dtype == torch.float32 and x.size(-1) >= 2 * x.size(-2):
        x = _polynomial(x @ x.mT) @ x
    else:
        for _ in range(ITERATIONS):
            x = _factor(x @ x.mT) @ x
    return (x if wide else x.mT).reshape(matrices.shape).to(matrices.dtype)


def _polynomial(gram: torch.Tensor) -> torch.Tensor:
    """The product Q of all iterations' factors for X X^T = gram: (N, n, n), symmetric like everything here."""
    product = _factor(gram)
    factor = product
    for _ in range(ITERATIONS - 1):
        gram = factor @ gram @ factor
        factor = _factor(gram)
        product = factor @ product
    return product


def _factor(gram: torch.Tensor) -> torch.Tensor:
    """A + B G + C G^2: what one iteration multiplies X with, where G = X X^T; (N, n, n)."""
    factor = torch.baddbmm(gram, gram, gram, beta=B, alpha=C)
    factor.diagonal(dim1=-2, dim2=-1).add_(A)
    return factor


def build_optimizers(model: torch.nn.Module, kind: str, weight_decay: float) -> list[torch.optim.Optimizer]:
    """AdamW over all parameters ("adamw"), Muon over the inner matrices and AdamW over the rest ("muon"), or SGD with
    momentum over all ("sgd")."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    inner = inner_matrices(model) if kind == "muon" else []
    taken = {id(p) for p in inner}
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2 and id(p) not in taken], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if kind == "sgd":
        return [torch.optim.SGD(groups, lr=0.0, momentum=SGD_MOMENTUM)]
    adamw = torch.optim.AdamW(groups, lr=0.0, betas=BETAS, fused=True)
    return [Muon(inner, weight_decay), adamw] if inner else [adamw]


def inner_matrices(model: torch.nn.Module) -> list[torch.nn.Parameter]:
    """The parameters that Muon is for. Embeddings and the output layer are tables of vectors rather than maps."""
    tables = {id(table.weight) for table in (model.get_input_embeddings(), model.get_output_embeddings()) if table}
    return [p for p in model.parameters() if p.requires_grad and p.ndim >= 2 and id(p) not in tables]


def check_shares(recipe: Recipe, engine: DistributedType) -> None:
    """Raises UserError for what does not go with weights or moments in shares."""
    if engine not in IN_SHARES:
        return
    if recipe.optimizer == "muon":
        raise UserError(
            f"pretrain.yaml: optimizer = muon needs whole matrices, and {IN_SHARES[engine]} gives every process a "
            f"share of them. Say optimizer: adamw, or train with ACCEL=ddp."
        )
    if recipe.keep_best:
        raise UserError(
            f"pretrain.yaml: keep_best takes the best weights back at the end, and {IN_SHARES[engine]} has them in "
            f"shares. Remove it, or train with ACCEL=ddp."
        )
