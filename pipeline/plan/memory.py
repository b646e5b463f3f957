"""Memory of one device in pretraining, by formula: what stays (weights, gradients, optimiser) and what a step adds.

Follows this project's loop: attention in blocks (sdpa, so no scores are kept), eager operations, rows that hold
several documents and therefore need a mask. tests/test_plan.py compares it with the bytes that autograd keeps.
"""

from dataclasses import dataclass
from typing import Literal

from pipeline.plan.count import Count

# float32: everything in four bytes. autocast: float32 weights, bfloat16 copies of them for matrix products (what
# accelerate does under DDP). bfloat16: weights and gradients in bfloat16, a float32 master copy in the optimiser
# (what DeepSpeed does).
Precision = Literal["float32", "autocast", "bfloat16"]
Engine = Literal["ddp", "zero1", "zero2", "zero3"]
ENGINES: tuple[Engine, ...] = ("ddp", "zero1", "zero2", "zero3")


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Bytes on one device. copies: bfloat16 weights under autocast and DDP's buckets of gradients. activations: what
    the forward pass keeps for the backward pass. logits: they, their float32 copy, its logarithms and gradients."""

    weights: int
    gradients: int
    optimizer: int
    copies: int
    activations: int
    logits: int
    accumulates: bool

    @property
    def peak(self) -> int:
        """The most at any moment: at the beginning of the backward pass, when all activations are there and gradients
        only of earlier micro-batches, or at its end, when it is the other way round."""
        step = self.activations + self.logits
        there = self.gradients if self.accumulates else 0
        return self.weights + self.optimizer + self.copies + max(self.gradients, step + there)


@dataclass(frozen=True, kw_only=True)
class Sharding:
    """Who keeps what: the engine, its number formats, over how many devices, with which optimiser."""

    engine: Engine
    precision: Precision
    devices: int
    optimizer: str


def moments(counted: Count, optimizer: str) -> int:
    """Bytes that an optimiser remembers, in float32, whoever keeps them: AdamW two numbers a parameter (Kingma and Ba
    2015, algorithm 1), SGD with momentum one, Muon one for each that it updates and AdamW's two for the rest."""
    if optimizer == "sgd":
        return 4 * counted.total
    return 8 * counted.total - (4 * counted.inner if optimizer == "muon" else 0)


def states(counted: Count, sharding: Sharding) -> tuple[int, int, int, int]:
    """Bytes of (weights, gradients, optimiser, copies) on one device.

    In mixed precision weights, gradients and AdamW are 16
    bytes a parameter in all; ZeRO-1 shards the optimiser's part over the devices, ZeRO-2 the gradients too, ZeRO-3 the
    weights too (Rajbhandari et al. 2020, 1910.02054, figure 1). DeepSpeed's communication buffers, up to 2 GB at its
    defaults, are not counted.
    """
    precision, devices = sharding.precision, sharding.devices
    width = 2 if precision == "bfloat16" else 4
    master = 4 * counted.total if precision == "bfloat16" else 0
    shards = {"ddp": (1, 1, 1), "zero1": (1, 1, devices), "zero2": (1, devices, devices), "zero3": (devices,) * 3}
    of_weights, of_gradients, of_optimizer = shards[sharding.engine]
    # autocast keeps a matrix's copy until the backward pass has used it; DDP exchanges gradients from its own buckets.
    casts = 2 * (counted.matrices + counted.total - counted.active) if precision == "autocast" else 0
    buckets = width * counted.total if sharding.engine == "ddp" and devices > 1 else 0
    return (
        width * counted.total // of_weights,
        width * counted.total // of_gradients,
        (moments(counted, sharding.optimizer) + master) // of_optimizer,
        casts + buckets,
    )


def layer_activations(counted: Count, precision: Precision, context: int) -> int:
    """Bytes a token that one layer keeps for its backward pass.

    The count of Korthikanti et al. 2022 (2205.05198, section 4.1), with what has changed since: no dropout and no
    scores (attention recomputes them: of 11 h + 5 a s, queries, keys, values and the result are left), RMSNorm in
    separate operations, gated MLPs, fewer keys than queries; and transformers' classes as they are, which repeat the
    keys under a mask and let autocast copy an input once for every product that reads it.
    """
    c = counted
    low = 4 if precision == "float32" else 2  # what matrix products read
    stream = 2 if precision == "bfloat16" else 4  # the residual stream
    # LayerNorm keeps its input; RMSNorm a float32 input and the normalised one, and is taken twice a layer.
    kept_by_norm = {"float32": 8, "autocast": 8, "bfloat16": 6}[precision] if c.rms_norm else stream
    norms = 2 * kept_by_norm * c.hidden
    readers = (1 if c.fused_projection else 3) + (2 if c.gated else 1) if precision == "autocast" else 2
    inputs = readers * low * c.hidden
    attention = low * 4 * c.query + 4 * c.heads + low * context  # queries, keys, values, result; their sums; mask
    if c.query_key_norm:
        attention += {"float32": 8, "autocast": 6, "bfloat16": 6}[precision] * (c.query + c.key_value)
    if c.gated:
        inside = 4 * low  # gate, its activation, up, their product
    elif c.python_gelu:
        inside = {"float32": 20, "autocast": 16, "bfloat16": 10}[precision]  # autocast takes powers in float32
    else:
        inside = 2 * low
    experts = 2 * low * c.experts_per_token * c.hidden  # a token's copy for each of its experts, and each one's answer
    return norms + inputs + attention + inside * c.intermediate + experts


def activations(counted: Count, precision: Precision, context: int, rows: int, checkpointed: bool) -> int:
    """Bytes kept by all layers for `rows` rows of `context` tokens. Checkpointed: every layer's input alone, and one
    layer's activations while they are computed again (Korthikanti et al. 2022, section 5)."""
    stream = 2 if precision == "bfloat16" else 4
    a_layer = layer_activations(counted, precision, context)
    layers = counted.layers * stream * counted.hidden + a_layer if checkpointed else counted.layers * a_layer
    last_norm = 10 * counted.hidden
    return rows * context * (layers + last_norm)


def logits(counted: Count, precision: Precision, context: int, rows: int) -> int:
    """Bytes of the loss: logits, their logarithms in float32, and two gradients of those at once. For a vocabulary as
    large as a small model's layers this is most of the memory."""
    return rows * context * counted.vocabulary * ((4 if precision == "float32" else 2) + 4 + 4 + 4)


def estimate(
    counted: Count, sharding: Sharding, *, context: int, rows: int, accumulation: int, checkpointed: bool = False
) -> Memory:
    """Memory of one device that takes `rows` rows of `context` tokens at once, `accumulation` times a step."""
    weights, gradients, optimizer, copies = states(counted, sharding)
    return Memory(
        weights=weights,
        gradients=gradients,
        optimizer=optimizer,
        copies=copies,
        activations=activations(counted, sharding.precision, context, rows, checkpointed),
        logits=logits(counted, sharding.precision, context, rows),
        accumulates=accumulation > 1,
    )
