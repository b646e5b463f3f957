"""What leaves a device in pretraining, by formula: bytes sent to the others in a step, and those of a checkpoint.

Whether the network is waited for depends on how much of it the backward pass hides; so seconds here are those that a
link of a given speed is busy, and no part of the planned time.
"""

from pipeline.plan.count import Count
from pipeline.plan.memory import Engine, Precision, moments


def sent(model: Count, engine: Engine, precision: Precision, devices: int, accumulation: int) -> float:
    """Bytes that one device sends in a step.

    In a ring of n devices a reduce-scatter or an all-gather of X bytes sends X (n - 1) / n from each, an all-reduce,
    which is both, 2 X (n - 1) / n (Patarasuk and Yuan 2009, Bandwidth optimal all-reduce algorithms).
    DDP all-reduces the gradients once a step; ZeRO-1 scatters them and gathers the weights, the same volume; ZeRO-2
    scatters the gradients of every micro-batch, as it keeps only a share of them; ZeRO-3 scatters them too and gathers
    the weights for the forward and again for the backward pass of every micro-batch (Rajbhandari et al. 2020,
    1910.02054, section 7). Gradients are sent in the weights' number format: 2 bytes in bfloat16, else 4. Activation
    checkpointing sends no more: a layer's weights are gathered once for its second forward and its backward pass.
    """
    width = 2 if precision == "bfloat16" else 4
    once = width * model.total * (devices - 1) / devices
    if engine in ("ddp", "zero1"):
        return 2 * once
    return (accumulation + 1) * once if engine == "zero2" else 3 * accumulation * once


def checkpoint(model: Count, optimizer: str) -> int:
    """Bytes of a checkpoint's tensors: the weights and what the optimiser remembers of them, whole and in float32
    whatever the engine and its precision (pipeline/training_state.py)."""
    return 4 * model.total + moments(model, optimizer)
