"""Models by recipe: each one that comes with the project loads, has its published size, and a two-layer shrink trains.
What the loop can do to any of them changes what it should and nothing else."""

import json

import pytest
import torch
from transformers import AutoTokenizer

from pipeline.chain import CHAIN
from pipeline.engine import Engine, start
from pipeline.plan.count import build_meta, count
from pipeline.pretrain import train as loop
from pipeline.pretrain.model import build, configure
from pipeline.pretrain.optimizer import build_optimizers
from pipeline.pretrain.recipe import Recipe
from pipeline.recipe import load, validate
from pipeline.rows import positions
from tests.test_pretrain import DEFAULTS, TINY, job, source  # noqa: F401  (a fixture)

# Parameters at the vocabulary of the recipe's tokenizer.
SIZES = {
    "moe-tiny": 1_379_968,  # per layer 4 experts of 3 matrices, 4 of attention, the router and norms
    "sliding-tiny": 1_115_264,
    "distilgpt2-82m": 81_912_576,  # distilgpt2's own
    "gpt-neo-125m": 125_198_592,  # EleutherAI/gpt-neo-125m's own
    "smollm-135m": 134_515_008,  # HuggingFaceTB/SmolLM2-135M's own
    "llama-1b-zero3": 1_107_363_840,
    "tinystories-3m": 2_928_896,
}
# What makes a model small, whichever of these its config has.
SHRUNK = {
    "hidden_size": 32, "n_embd": 32, "intermediate_size": 48, "moe_intermediate_size": 16, "num_hidden_layers": 2,
    "num_layers": 2, "n_layer": 2, "num_attention_heads": 4, "num_heads": 4, "n_head": 4, "num_key_value_heads": 2,
    "head_dim": 8, "sliding_window": 8, "window_size": 8, "attention_types": [[["global", "local"], 1]],
}  # fmt: skip


def shrink(recipe: Recipe) -> dict:
    """The recipe's keys with its model cut down, its kind of layers left as they are."""
    given = recipe.given()
    model = {name: SHRUNK.get(name, value) for name, value in given["model"].items()}
    for name in ("tokens", "short_first", "compile", "micro_batch_size"):
        given.pop(name, None)
    short = {"context": 32, "batch_size": 4, "steps": 4, "log_every": 2, "evaluate_every": 4, "checkpoint_every": 4}
    return {**given, "model": model, **short}


@pytest.mark.parametrize("name", SIZES)
def test_a_recipe_loads_has_its_size_and_its_shrink_trains(name, source, tmp_path):  # noqa: F811
    run = load(name, CHAIN)
    recipe, vocabulary = run.own["pretrain"], run.owner("tokenizer").own["tokenizer"].vocab_size
    assert count(build_meta(configure(recipe.model, recipe.context, vocabulary=vocabulary))).total == SIZES[name]
    small = shrink(recipe)
    metrics = loop.run(job(tmp_path, source, **small))
    assert metrics["tokens"] == 4 * 4 * 32
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").open()]
    assert [line["step"] for line in lines if "loss" in line] == [2, 4]
    balances = [line["balance_loss"] for line in lines if "balance_loss" in line]
    if name == "moe-tiny":
        assert balances == pytest.approx([2, 2], abs=0.2), "two experts a token, about even at the beginning"
    else:
        assert balances == []


def model_of(name, source):  # noqa: F811
    """The two-layer shrink of a recipe's model."""
    tokenizer = AutoTokenizer.from_pretrained(source / "tokenizer")
    return build(shrink(load(name, CHAIN).own["pretrain"])["model"], tokenizer, 32, seed=0).eval()


@pytest.mark.parametrize("name", ["moe-tiny", "sliding-tiny", "distilgpt2-82m", "gpt-neo-125m", "smollm-135m"])
def test_documents_packed_into_a_row_are_read_as_if_each_stood_alone(name, source):  # noqa: F811
    model = model_of(name, source)
    documents = [[0, 40, 41, 42, 43, 44, 45, 46, 47, 48, 49], [0, 50, 51, 52, 50, 51]]
    row = torch.tensor([documents[0] + documents[1]])
    places = torch.from_numpy(positions(row.numpy(), end_id=0))
    with torch.inference_mode():
        packed = model(input_ids=row, position_ids=places, use_cache=False).logits[0]
        alone = torch.cat([model(input_ids=torch.tensor([d]), use_cache=False).logits[0] for d in documents])
    torch.testing.assert_close(packed, alone, atol=1e-5, rtol=0)


def test_a_token_beyond_the_window_is_out_of_sight(source):  # noqa: F811
    """Two layers that look back 8 tokens each reach 14 back."""
    model = model_of("sliding-tiny", source)
    ids = torch.arange(40, 72).unsqueeze(0)
    changed = ids.clone()
    changed[0, 4] = 100
    with torch.inference_mode():
        difference = (model(input_ids=ids).logits - model(input_ids=changed).logits).abs().amax(dim=-1)[0]
    assert difference[:4].max() == 0 and difference[18] > 1e-6
    assert difference[19:].max() == 0


def first_batch():
    """Inputs and targets of four rows, (4, 32)."""
    ids = torch.randint(4, 260, (4, 33), generator=torch.Generator().manual_seed(1)).numpy()
    return ids[:, :-1], ids[:, 1:]


def engine_of(accelerator, made, recipe):
    """The engine of a run of four rows."""
    optimizers = build_optimizers(made, recipe.optimizer, recipe.weight_decay)
    return Engine(accelerator, made, optimizers, 4, recipe.max_grad_norm)


def gradients(source, model=TINY, **keys):  # noqa: F811
    """Losses and gradients of the first batch, and the model."""
    recipe = validate(Recipe, {**DEFAULTS, "model": model, "optimizer": "adamw", **keys}, "pretrain.yaml")
    made = loop.prepare_model(recipe, AutoTokenizer.from_pretrained(source / "tokenizer"), seed=0)
    accelerator = start(recipe.precision)
    engine = engine_of(accelerator, made, recipe)
    shares = loop.shares(recipe, accelerator)
    losses = loop.forward_backward(engine.model, first_batch(), 0, shares, recipe, engine)
    return losses, {name: p.grad.clone() for name, p in made.named_parameters()}, made


def test_layers_computed_twice_give_the_same_gradients(source):  # noqa: F811
    losses, expected, _ = gradients(source)
    again, found, model = gradients(source, activation_checkpointing=True)
    assert model.is_gradient_checkpointing
    assert torch.equal(losses, again)
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], atol=1e-6, rtol=1e-5, msg=name)


def test_z_loss_is_the_squared_logarithm_of_the_denominator(source):  # noqa: F811
    """Over two micro-batches, and its gradient is that of torch for the weighted sum."""
    losses, _, _ = gradients(source)
    with_z, found, model = gradients(source, z_loss=0.5, micro_batch_size=2)
    model.zero_grad()
    ids, targets = map(torch.from_numpy, first_batch())
    logits = model(input_ids=ids, use_cache=False).logits.flatten(0, 1)
    z = (torch.logsumexp(logits, dim=-1) ** 2).mean()
    (torch.nn.functional.cross_entropy(logits, targets.flatten()) + 0.5 * z).backward()
    assert losses[1] == 0
    torch.testing.assert_close(with_z[:2], torch.stack([losses[0], z.detach()]), atol=1e-5, rtol=1e-5)
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(found[name], parameter.grad, atol=1e-5, rtol=1e-4, msg=name)


def test_the_experts_balance_is_part_of_the_gradient(source):  # noqa: F811
    mixture = {**TINY, "model_type": "mixtral", "num_local_experts": 4, "num_experts_per_tok": 2}
    _, with_balance, _ = gradients(source, model={**mixture, "router_aux_loss_coef": 1.0})
    losses, without, _ = gradients(source, model={**mixture, "router_aux_loss_coef": 0.0})
    (router,) = (name for name in without if name.endswith("layers.0.mlp.gate.weight"))
    assert losses[2].item() == pytest.approx(2, abs=0.3)
    assert not torch.allclose(with_balance[router], without[router])


@pytest.mark.parametrize("apart", [True, False])
def test_documents_apart_by_choice(source, apart):  # noqa: F811
    seen = {}
    recipe = validate(Recipe, {**DEFAULTS, "documents_apart": apart, "optimizer": "adamw"}, "pretrain.yaml")
    made = loop.prepare_model(recipe, AutoTokenizer.from_pretrained(source / "tokenizer"), seed=0)
    made.register_forward_pre_hook(lambda _, args, kwargs: seen.update(kwargs), with_kwargs=True)
    accelerator = start("auto")
    ids = torch.tensor([[40, 41, 0, 42, 43, 44, 45, 46]] * 4).numpy()
    loop.forward_backward(
        made, (ids, ids), 0, loop.shares(recipe, accelerator), recipe, engine_of(accelerator, made, recipe)
    )
    places = seen["position_ids"][0].tolist() if apart else seen.get("position_ids")
    assert places == ([0, 1, 0, 1, 2, 3, 4, 5] if apart else None), "without positions all of the row is one document"


def test_attention_by_name(source):  # noqa: F811
    losses, expected, model = gradients(source, attention="eager")
    assert model.config._attn_implementation == "eager"
    other, found, model = gradients(source)
    assert model.config._attn_implementation == "sdpa"
    torch.testing.assert_close(losses, other)
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], atol=1e-5, rtol=1e-4, msg=name)


def test_the_best_model_is_kept_where_a_later_one_is_worse(source, tmp_path, monkeypatch):  # noqa: F811
    """The held-out score is made to rise after the second evaluation."""
    scores = iter([5.0, 3.0, 4.0, 4.5])
    monkeypatch.setattr(loop.Watch, "evaluate", lambda *_: {"heldout_bits_per_byte": next(scores)})
    keys = {"steps": 8, "evaluate_every": 2, "keep_best": True}
    kept = {}
    real = loop.state.read
    monkeypatch.setattr(loop.state, "read", lambda folder, *a: kept.update(folder=folder) or real(folder, *a))
    loop.run(job(tmp_path, source, **keys))
    assert kept["folder"].name == "step-4"
    assert [path.name for path in (tmp_path / "resume" / "best").iterdir()] == ["step-4"]
