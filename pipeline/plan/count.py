"""A model in numbers: parameters, floating-point operations a token, and the sizes that its activations depend on.

The model is built on torch's meta device, where tensors have shapes and no bytes: counts are those of transformers'
own classes, exact, for any model type, and a model of a trillion parameters takes a second.
"""

from dataclasses import dataclass
from typing import Any

import torch
from transformers import AutoModelForCausalLM, PretrainedConfig, PreTrainedModel

from pipeline.pretrain.optimizer import ITERATIONS, inner_matrices
from pipeline.stage import UserError


@dataclass(frozen=True, kw_only=True)
class Count:
    """What the other modules of the planner need to know of a model.

    total: parameters, a tied table once. active: those that one token passes (of the experts only the chosen ones).
    tables: input embeddings and learned positions, which are looked up. matrices: weights that a token is multiplied
    with: every active matrix, and the output layer, tied or not. inner: parameters that Muon would update, and
    muon_flops: the operations of one such update. query, key_value: width of all their heads. intermediate: width
    inside the MLP, of all chosen experts. experts_per_token: 0 for a dense model. attended: tokens that each layer's
    attention reaches back at most, None for all.
    """

    total: int
    active: int
    tables: int
    matrices: int
    inner: int
    muon_flops: int
    vocabulary: int
    layers: int
    hidden: int
    heads: int
    query: int
    key_value: int
    intermediate: int
    experts_per_token: int
    gated: bool  # gate, up and down projections (SwiGLU), rather than up and down
    rms_norm: bool
    query_key_norm: bool
    fused_projection: bool  # queries, keys and values from one matrix
    python_gelu: bool  # tanh's approximation as six operations, each of which keeps its operands
    attended: tuple[int | None, ...]

    def attention_flops(self, context: int) -> int:
        """Of scores and weighted values, forward and backward, a token."""
        return 12 * self.query * sum(min(context, reach or context) for reach in self.attended)

    def flops_per_token(self, context: int) -> int:
        """Operations of forward and backward a token: 6 N + 12 L H Q T.

        N: matrices, each weight multiplied and added once forward and twice backward; L layers of H heads of size Q
        over T tokens (Chowdhery et al. 2022, 2204.02311, appendix B). As there, attention is counted as if it were not
        causal, and what is computed again under activation checkpointing is not counted. A sliding window shortens T.
        """
        return 6 * self.matrices + self.attention_flops(context)


def build_meta(config: PretrainedConfig) -> PreTrainedModel:
    """The model without its bytes."""
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config, dtype=torch.float32)


def count(model: PreTrainedModel) -> Count:
    """Counts a model, on the meta device or any other. Raises UserError for a model without attention, and where it
    cannot be told how many experts a token passes."""
    config = model.config
    parameters = dict(model.named_parameters())
    tables = {id(m.weight) for m in model.modules() if isinstance(m, torch.nn.Embedding)}
    chosen, experts = _experts(config)
    share = {name: chosen / experts if ".experts." in name else 1.0 for name in parameters} if experts else {}
    if not experts and any(".experts." in name for name in parameters):
        raise UserError(
            f"the planner does not know how many experts of a '{config.model_type}' a token passes: its config has "
            f"none of {', '.join(EXPERTS)} beside num_experts_per_tok. Plan a dense model of the same width."
        )
    active = {name: round(p.numel() * share.get(name, 1.0)) for name, p in parameters.items()}
    output = model.get_output_embeddings().weight
    inner = inner_matrices(model)
    heads = _field(config, "num_attention_heads")
    if not heads:
        raise UserError(f"the planner knows models with attention in every layer; '{config.model_type}' has none.")
    head_dim = _field(config, "head_dim") or config.hidden_size // heads
    return Count(
        total=sum(p.numel() for p in parameters.values()),
        active=sum(active.values()),
        tables=sum(p.numel() for p in parameters.values() if id(p) in tables),
        matrices=sum(
            n for name, n in active.items() if parameters[name].ndim >= 2 and id(parameters[name]) not in tables
        )
        + (output.numel() if id(output) in tables else 0),
        inner=sum(p.numel() for p in inner),
        muon_flops=sum(_orthogonalise_flops(p.shape) for p in inner),
        vocabulary=output.shape[0],
        layers=config.num_hidden_layers,
        hidden=config.hidden_size,
        heads=heads,
        query=heads * head_dim,
        key_value=(_field(config, "num_key_value_heads") or heads) * head_dim,
        intermediate=_intermediate(config) * max(chosen, 1),
        experts_per_token=chosen,
        gated=any("gate_proj" in name or "gate_up_proj" in name for name in parameters),
        rms_norm=not any(isinstance(m, torch.nn.LayerNorm) for m in model.modules()),
        query_key_norm=any("q_norm" in name for name in parameters),
        fused_projection=any("c_attn" in name or "qkv" in name for name in parameters),
        python_gelu=_field(config, "activation_function") == "gelu_new",
        attended=_attended(config),
    )


EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts")


def _experts(config: PretrainedConfig) -> tuple[int, int]:
    """(experts that a token passes, experts of a layer); zeros for a dense model."""
    experts = next((n for name in EXPERTS if (n := _field(config, name))), 0)
    chosen = _field(config, "num_experts_per_tok") or 0
    return (chosen, experts) if chosen and experts else (0, 0)


def _intermediate(config: PretrainedConfig) -> int:
    """Width inside one MLP or expert; GPT-2's and GPT-Neo's default is four times the model's."""
    names = ("moe_intermediate_size", "intermediate_size", "n_inner")
    return next((n for name in names if (n := _field(config, name))), 4 * config.hidden_size)


def _attended(config: PretrainedConfig) -> tuple[int | None, ...]:
    window = _field(config, "sliding_window") or _field(config, "window_size")
    kinds = _field(config, "layer_types") or _field(config, "attention_layers")
    if kinds is None:
        return (window,) * config.num_hidden_layers
    return tuple(window if kind in ("sliding_attention", "local") else None for kind in kinds)


def _field(config: PretrainedConfig, name: str) -> Any:
    """A field that only some of transformers' configs have."""
    return getattr(config, name, None)


def _orthogonalise_flops(shape: torch.Size) -> int:
    """Of Newton-Schulz iterations on an (n, m) matrix, n <= m: X X^T, its square, and their product with X, five
    times, 5 (4 n^2 m + 2 n^3) operations (Jordan 2024, kellerjordan.github.io/posts/muon)."""
    short, long = sorted(shape[-2:])
    matrices = shape.numel() // (short * long)
    return ITERATIONS * matrices * (4 * short**2 * long + 2 * short**3)
