"""The planner: counts are those of published models, memory that which autograd keeps, speed that of published runs."""

import pytest
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModelForCausalLM

from pipeline.plan import memory
from pipeline.plan.count import build_meta, count
from pipeline.plan.measure import TensorBytes
from pipeline.pretrain.model import configure
from pipeline.stage import UserError
from tests.published import MODELS

SMALL = {
    "hidden_size": 64, "intermediate_size": 192, "num_hidden_layers": 3, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 32, "tie_word_embeddings": True,
}  # fmt: skip
SECTIONS = {
    "llama": {"model_type": "llama", **SMALL},
    "qwen3": {"model_type": "qwen3", **SMALL},
    "mixtral": {"model_type": "mixtral", **SMALL, "num_local_experts": 4, "num_experts_per_tok": 2},
    "gpt2": {
        "model_type": "gpt2", "n_embd": 64, "n_layer": 3, "n_head": 2, "resid_pdrop": 0.0, "embd_pdrop": 0.0,
        "attn_pdrop": 0.0,
    },
}  # fmt: skip
CONTEXT, ROWS, VOCABULARY = 48, 3, 300


@pytest.mark.parametrize("name", MODELS)
def test_parameters_are_those_of_the_published_model(name):
    section, context, vocabulary, total, active = MODELS[name]
    counted = count(build_meta(configure(section, context, vocabulary=vocabulary)))
    assert (counted.total, counted.active) == (total, active)


def test_experts_that_cannot_be_told_apart_are_an_error():
    model = build_meta(configure(SECTIONS["mixtral"], CONTEXT, vocabulary=VOCABULARY))
    model.config.num_local_experts = 0
    with pytest.raises(UserError, match="how many experts of a 'mixtral' a token passes"):
        count(model)


def small(kind):
    """A small model on the processor, its count, and rows whose positions begin anew halfway."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(configure(SECTIONS[kind], CONTEXT, vocabulary=VOCABULARY))
    ids = torch.randint(0, VOCABULARY, (ROWS, CONTEXT))
    places = torch.arange(CONTEXT).remainder(CONTEXT // 2).expand(ROWS, CONTEXT)
    return model.train(), count(model), ids, places


def forward(model, ids, places):
    logits = model(input_ids=ids, position_ids=places, use_cache=False).logits
    return F.cross_entropy(logits.flatten(0, 1).float(), ids.flatten(), reduction="sum")


@pytest.mark.parametrize("kind", ["llama", "qwen3", "gpt2"])
def test_operations_are_those_that_torch_counts(kind):
    """Eager attention, since its products are counted on any device: all scores, causal or not, as in the formula."""
    model, counted, ids, places = small(kind)
    model.set_attn_implementation("eager")
    with FlopCounterMode(display=False) as counter:
        forward(model, ids, places).backward()
    assert counter.get_total_flops() / ids.numel() == pytest.approx(counted.flops_per_token(CONTEXT), rel=0.01)


def test_a_sliding_window_and_experts_count_for_what_a_token_uses():
    section, context, vocabulary, *_ = MODELS["Mistral-7B"]
    counted = count(build_meta(configure(section, context, vocabulary=vocabulary)))
    assert counted.attention_flops(32768) == counted.attention_flops(4096) == 12 * 32 * 4096 * 4096
    section, context, vocabulary, _, active = MODELS["Mixtral-8x7B"]
    counted = count(build_meta(configure(section, context, vocabulary=vocabulary)))
    assert counted.matrices == pytest.approx(active, rel=0.02)


@pytest.mark.parametrize("kind", SECTIONS)
def test_activations_are_the_bytes_that_autograd_keeps(kind):
    model, counted, ids, places = small(kind)
    kept = kept_bytes(model, ids, places)
    expected = memory.activations(counted, "float32", CONTEXT, ROWS, checkpointed=False)
    # The loss keeps the logarithms beside what the layers keep.
    assert kept == pytest.approx(expected + 4 * ids.numel() * VOCABULARY, rel=0.03)


@pytest.mark.parametrize("kind", ["llama", "qwen3"])
def test_activations_under_autocast_are_too(kind):
    model, counted, ids, places = small(kind)
    with torch.autocast("cpu", torch.bfloat16):
        kept = kept_bytes(model, ids, places)
    *_, casts = memory.states(counted, "ddp", "autocast", 1, "adamw")
    expected = memory.activations(counted, "autocast", CONTEXT, ROWS, checkpointed=False)
    assert kept == pytest.approx(expected + casts + 4 * ids.numel() * VOCABULARY, rel=0.03)


def kept_bytes(model, ids, places):
    """Bytes of all storages that are saved for the backward pass, parameters left out."""
    storages = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = forward(model, ids, places)
    assert loss.requires_grad
    return sum(size for at, size in storages.items() if at not in {p.data_ptr() for p in model.parameters()})


@pytest.mark.parametrize("kind", ["llama", "qwen3"])
def test_the_peak_of_a_step_is_predicted(kind):
    model, counted, ids, places = small(kind)
    with TensorBytes(list(model.parameters())) as tracked:
        forward(model, ids, places).backward()
    predicted = memory.estimate(
        counted, engine="ddp", precision="float32", devices=1, optimizer="adamw", context=CONTEXT, rows=ROWS,
        accumulation=1,
    )  # fmt: skip
    assert tracked.peak == pytest.approx(predicted.peak - predicted.weights - predicted.optimizer, rel=0.1)
    assert tracked.live == pytest.approx(predicted.gradients, rel=0.01)
