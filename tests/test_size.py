"""The dial: one number gives a model and how to train it; what stands beside it in the recipe counts for more."""

import json

import pytest

from pipeline.chain import CHAIN
from pipeline.plan.__main__ import main as plan
from pipeline.plan.count import build_meta, count
from pipeline.pretrain.model import configure
from pipeline.pretrain.recipe import Recipe
from pipeline.pretrain.size import derive, parse
from pipeline.recipe import load, override, validate
from pipeline.stage import UserError


def recipe(**keys):
    return validate(Recipe, keys, "pretrain.yaml")


@pytest.mark.parametrize("size", ["100k", "150k", "800k", "1M", "2.5M", "12M", "50M", "135M", "360M", "1.4B", "2B"])
def test_the_model_has_the_size(size):
    derived = recipe(size=size)
    counted = count(build_meta(configure(derived.model, derived.context, vocabulary=4096)))
    assert counted.total - counted.tables == pytest.approx(parse(size), rel=0.16)
    assert derived.tokens == 20 * parse(size)
    assert 500 < derived.num_steps < 100_000
    assert derived.batch_size & (derived.batch_size - 1) == 0


def test_larger_models_are_wider_and_deeper_take_larger_batches_and_learn_slower():
    sizes = [derive(parse(size), 256) for size in ("800k", "12M", "135M", "1B")]
    for key in ("hidden_size", "num_hidden_layers", "num_attention_heads"):
        values = [size["model"][key] for size in sizes]
        assert values == sorted(set(values))
    assert [size["batch_size"] for size in sizes] == [32, 256, 1024, 4096]
    assert [size["learning_rate"] for size in sizes] == [0.0057, 0.0029, 0.0016, 0.00096]


def test_rows_are_as_many_as_the_context_leaves():
    assert recipe(size="12M", context=1024).batch_size == recipe(size="12M", context=256).batch_size / 4


def test_what_stands_beside_the_dial_counts_for_more():
    plain = recipe(size="12M")
    changed = recipe(size="12M", learning_rate=1e-3, model={"num_hidden_layers": 2, "model_type": "llama"}, steps=5)
    assert changed.learning_rate == 1e-3
    assert changed.model == {**plain.model, "num_hidden_layers": 2, "model_type": "llama"}
    assert (changed.steps, changed.tokens) == (5, None)
    assert recipe(size="12M", tokens=10**6).tokens == 10**6


def test_the_fingerprint_holds_what_the_dial_gave_and_not_the_dial():
    dialled = recipe(size="12M")
    by_hand = recipe(
        model=dialled.model, batch_size=dialled.batch_size, learning_rate=dialled.learning_rate, tokens=dialled.tokens
    )
    assert dialled.hashed() == by_hand.hashed()
    assert "size" not in dialled.hashed()
    # As the driver hands it to the worker.
    assert recipe(**dialled.model_dump(mode="json")).hashed() == dialled.hashed()


def test_another_size_on_the_command_line_gives_everything_anew():
    small = override(recipe(size="12M", context=128, model={"num_key_value_heads": 1}), ["size=1M"], "pretrain")
    assert small.hashed() == recipe(size="1M", context=128, model={"num_key_value_heads": 1}).hashed()


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"size": "12"}, "size = '12': write a number of parameters with its unit, such as 800k, 12M or 1.4B"),
        ({"size": 12_000_000}, "size = 12000000: write a number of parameters"),
        ({"size": "12m"}, "size = '12m': write a number"),
        ({"size": "-1M"}, "size = '-1M': write a number"),
        ({"size": "10k"}, "size = '10k': the dial goes from 100k to 2B"),
        ({"size": "7B"}, "size = '7B': the dial goes from 100k to 2B"),
        ({"size": "1M", "model": {"model_type": "gpt2"}}, "the dial knows the fields of llama, mistral, qwen3, not"),
        ({"size": "1M", "model": {"hiden_size": 64}}, "no field 'hiden_size'. Did you mean 'hidden_size'?"),
        ({"size": "1M", "model": "qwen3"}, 'model = "qwen3"'),
        ({"size": "1M", "context": "long"}, 'context = "long"'),
        ({"size": "1M", "tokens": 100, "steps": 5}, "exactly one of 'tokens' and 'steps'"),
        ({"size": "1M", "batchsize": 4}, "unknown key 'batchsize'. Did you mean 'batch_size'?"),
        ({"sise": "1M"}, "Did you mean 'size'?"),
    ],
)
def test_a_size_that_is_none_is_named(keys, message):
    with pytest.raises(UserError) as error:
        recipe(**keys)
    assert message in str(error.value)


def test_the_recipe_that_turns_the_dial_can_be_planned(capsys):
    assert load("storyworld-dial", CHAIN).own["pretrain"].size == "800k"
    assert plan(["--recipe", "storyworld-dial", "--hardware", "cpu", "--json"]) == 0
    planned = json.loads(capsys.readouterr().out)
    assert planned["chosen"] is not None
    assert planned["model"]["total"] - planned["model"]["tables"] == pytest.approx(800_000, rel=0.16)
