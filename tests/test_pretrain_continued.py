"""Going on from a checkpoint: its weights and ids, a longer context that is used, mistakes told before training."""

import json
import shutil

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from pipeline.pretrain import continued, outside
from pipeline.pretrain import train as loop
from pipeline.pretrain.recipe import Recipe
from pipeline.recipe import validate
from pipeline.stage import Job, UserError
from tests.test_pretrain import TINY_GPT2, job, source, whole  # noqa: F401  (fixtures)

FEW = {"steps": 4, "batch_size": 4, "evaluate_every": 1000, "optimizer": "adamw", "learning_rate": 1e-3}


def go_on(out, source, model, rope=None, **keys):  # noqa: F811
    out.mkdir(exist_ok=True)
    start = {"id": str(model), **({"rope": rope} if rope else {})}
    recipe = validate(Recipe, {**FEW, "context": 32, "continue_from": start, **keys}, "pretrain.yaml")
    return Job(stage="pretrain", recipe=recipe, out=out, inputs={"tokenizer": source}, seed=0, run_name="toy")


def test_it_begins_where_the_checkpoint_ended(source, whole, tmp_path):  # noqa: F811
    base, metrics = whole
    again = loop.run(go_on(tmp_path / "on", source, base / "model", learning_rate=1e-9))
    assert again["heldout_bits_per_byte"] == pytest.approx(metrics["heldout_bits_per_byte"], rel=1e-4)
    better = loop.run(go_on(tmp_path / "better", source, base / "model", steps=30, learning_rate=1e-2))
    assert better["heldout_bits_per_byte"] < 0.98 * metrics["heldout_bits_per_byte"]


@pytest.mark.parametrize("rope_type", ["linear", "yarn"])
def test_a_longer_context_is_trained_on_saved_and_used(rope_type, source, whole, tmp_path):  # noqa: F811
    """Beyond the old window of 32 tokens the last token still sees the first, at positions that the model knows."""
    base, _ = whole
    rope = {"rope_type": rope_type, "factor": 2.0}
    loop.run(go_on(tmp_path, source, base / "model", rope, context=64))
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "model").eval()
    old = AutoModelForCausalLM.from_pretrained(base / "model")
    assert model.config.max_position_embeddings == 64
    assert AutoTokenizer.from_pretrained(tmp_path / "model").model_max_length == 64
    ids = torch.arange(40, 104).unsqueeze(0)
    changed = ids.clone()
    changed[0, 0] = 200
    with torch.inference_mode():
        assert not torch.allclose(model(ids).logits[0, 63], model(changed).logits[0, 63])
    frequencies, before = (one.model.rotary_emb.inv_freq for one in (model, old))
    if rope_type == "linear":
        torch.testing.assert_close(frequencies, before / 2)
    else:
        assert frequencies[0] == before[0] and frequencies[-1] == pytest.approx(before[-1] / 2)
        assert model.config.rope_parameters["original_max_position_embeddings"] == 32


def test_a_context_beyond_the_models_is_an_error_that_says_how_to_lengthen_it(source, whole, tmp_path):  # noqa: F811
    with pytest.raises(UserError, match=r"context = 64 is longer than the model's 32 positions.*factor: 2"):
        loop.run(go_on(tmp_path, source, whole[0] / "model", context=64))


def test_learned_positions_cannot_be_scaled(source, tmp_path):  # noqa: F811
    loop.run(job(tmp_path / "gpt2", source, model=TINY_GPT2, steps=1, evaluate_every=1000))
    rope = {"rope_type": "linear", "factor": 2.0}
    with pytest.raises(UserError, match="a 'gpt2' has no rotary positions to scale"):
        loop.run(go_on(tmp_path / "on", source, tmp_path / "gpt2" / "model", rope))


def test_positions_are_not_scaled_twice(source, whole, tmp_path):  # noqa: F811
    config = AutoModelForCausalLM.from_pretrained(whole[0] / "model").config
    rope = continued.Rope(rope_type="yarn", factor=2.0)
    continued.lengthen(config, rope)
    with pytest.raises(UserError, match=r"scaled already \(yarn\)"):
        continued.lengthen(config, rope)


def test_other_ids_for_the_same_tokens_are_refused(source, whole, tmp_path):  # noqa: F811
    model = tmp_path / "model"
    shutil.copytree(whole[0] / "model", model)
    tokenizer = json.loads((model / "tokenizer.json").read_text())
    vocabulary = tokenizer["model"]["vocab"]
    one, other = list(vocabulary)[-2:]
    vocabulary[one], vocabulary[other] = vocabulary[other], vocabulary[one]
    (model / "tokenizer.json").write_text(json.dumps(tokenizer))
    with pytest.raises(UserError, match="2 tokens of its vocabulary have other ids in this run's tokenizer"):
        loop.run(go_on(tmp_path / "on", source, model))


def test_the_folders_files_are_part_of_the_fingerprint(whole, source, tmp_path):  # noqa: F811
    recipe = go_on(tmp_path, source, whole[0] / "model").recipe
    found = outside.identity(recipe)
    assert found["model.safetensors"] and found["config.json"]
    assert "model" not in recipe.hashed() and recipe.hashed()["continue_from"]["id"] == str(whole[0] / "model")
    assert outside.identity(job(tmp_path, source).recipe) is None
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no folder with"):
        outside.identity(go_on(tmp_path, source, tmp_path / "empty").recipe)
