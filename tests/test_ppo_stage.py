"""The stage ppo: prompts of collect, the SFT model and the reward model in; an aligned model out."""

import json

import pytest
from transformers import AutoModelForCausalLM

from pipeline.ppo.recipe import Recipe, identity
from pipeline.ppo.train import run
from pipeline.recipe import override, validate
from pipeline.stage import Job, UserError
from tests.test_ppo_trainer import ROWS, SMALL, save_reward_model
from tests.toy_pairs import save_toy_model, write_jsonl


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inputs")
    save_toy_model(folder / "sft" / "model")
    save_reward_model(folder / "reward" / "model", folder / "sft" / "model")
    long = {"prompt": [{"role": "user", "content": "a story, please " * 40}]}
    leak = {"prompt": [{"role": "user", "content": "Now who wrote the first story of the kite?"}]}
    write_jsonl(folder / "collect" / "prompts" / "rl.jsonl", [*ROWS, leak, long])
    item = {"id": "item", "text": "Who wrote the first story of the kite?"}
    write_jsonl(folder / "collect" / "evaluation" / "toy.jsonl", [item])
    return {name: folder / name for name in ("collect", "sft", "reward")}


def make_job(folder, inputs, **keys):
    folder.mkdir(parents=True, exist_ok=True)
    recipe = validate(Recipe, {"trainer": SMALL, **keys}, "ppo.yaml")
    return Job(stage="ppo", recipe=recipe, out=folder, inputs=inputs, seed=3, run_name="toy")


@pytest.mark.parametrize("value", ["head", "reward"])
def test_it_writes_a_model_that_transformers_loads_its_log_and_samples(inputs, tmp_path, value):
    job = make_job(tmp_path / value, inputs, value=value)
    metrics = run(job)
    assert (metrics["prompts"], metrics["prompts_too_long"], metrics["dropped_leak_toy"]) == (6, 1, 1)
    certificate = json.loads((job.out / "certificates" / "toy.json").read_text())
    assert (certificate["stage"], certificate["data"][0]["kept"]) == ("ppo", 7)
    assert certificate["matches"][0]["document"] == "rl.jsonl, line 7"
    assert json.loads((job.out / "dropped.jsonl").read_text())["reason"] == "leak_toy"
    assert (metrics["steps"], metrics["episodes"], metrics["stopped_by_kl_budget"]) == (4, 48, 0)
    assert metrics["first_ratio_difference"] < 1e-5
    assert {"score_first", "score_last", "kl", "length_first", "length_last", "ended_last"} <= set(metrics)
    model = AutoModelForCausalLM.from_pretrained(job.out / "model")
    assert model.generation_config.eos_token_id == [2, 0]
    assert not [name for name, _ in model.named_parameters() if "value" in name]
    assert len((job.out / "log.jsonl").read_text().splitlines()) == 4
    assert len((job.out / "samples.jsonl").read_text().splitlines()) == 8


def test_an_adapter_is_merged_and_kept_beside_the_model(inputs, tmp_path):
    job = make_job(tmp_path, inputs, lora={"r": 4}, trainer={**SMALL, "learning_rate": 1e-2})
    metrics = run(job)
    assert metrics["kl"] > 0
    assert metrics["merge_logit_difference"] < 1e-3
    assert (job.out / "adapter" / "adapter_config.json").is_file()
    merged, before = (
        AutoModelForCausalLM.from_pretrained(place) for place in (job.out / "model", inputs["sft"] / "model")
    )
    names = [name for name, one in merged.named_parameters() if not one.equal(before.get_parameter(name))]
    assert any("q_proj" in name for name in names)
    assert not [name for name in names if "norm" in name]


def test_what_it_cannot_do_without_is_named(inputs, tmp_path):
    with pytest.raises(UserError, match=r"needs the artifact of 'reward', and the recipe 'toy' has no reward.yaml"):
        run(make_job(tmp_path / "a", {name: inputs[name] for name in ("collect", "sft")}))
    with pytest.raises(UserError, match=r"rl\.jsonl is not there"):
        run(make_job(tmp_path / "b", {**inputs, "collect": tmp_path}))
    write_jsonl(tmp_path / "empty" / "prompts" / "rl.jsonl", [])
    with pytest.raises(UserError, match="holds no prompt"):
        run(make_job(tmp_path / "c", {**inputs, "collect": tmp_path / "empty"}))
    write_jsonl(tmp_path / "other" / "prompts" / "rl.jsonl", [{"question": "?"}])
    with pytest.raises(UserError, match=r"line 1: has no 'prompt'\. Its columns are: question"):
        run(make_job(tmp_path / "d", {**inputs, "collect": tmp_path / "other"}))
    with pytest.raises(UserError, match=r"none of its 7 prompts leaves room for trainer.max_completion_length = 127"):
        run(make_job(tmp_path / "e", inputs, trainer={**SMALL, "max_completion_length": 127}))


def test_prompts_of_ones_own_are_read_without_their_answers_and_broken_ones_are_counted(inputs, tmp_path):
    turns = [f"\n\nHuman: fox {i}?\n\nAssistant: owl" for i in range(38)]
    write_jsonl(tmp_path / "mine.jsonl", [{"chosen": turn} for turn in [*turns, "\n\nHuman: \n\nAssistant: owl"]])
    prompts = {"path": str(tmp_path / "mine.jsonl"), "format": "transcripts", "columns": {"transcript": "chosen"}}
    job = make_job(tmp_path / "out", {name: inputs[name] for name in ("sft", "reward")}, prompts=prompts)
    metrics = run(job)
    assert (metrics["prompts"], metrics["left_out_empty"], metrics["steps"]) == (38, 1, 4)
    asked = [json.loads(line)["prompt"] for line in (job.out / "samples.jsonl").read_text().splitlines()]
    assert all(len(prompt) == 1 and prompt[0]["content"].startswith("fox ") for prompt in asked)
    write_jsonl(tmp_path / "mine.jsonl", [{"chosen": "\n\nHuman: \n\nAssistant: owl"}, {"chosen": turns[0]}])
    with pytest.raises(
        UserError, match=r"1 of 2 prompts cannot be used \(empty 1\), more than 5 %. The first: .*mine.jsonl, line 1"
    ):
        run(make_job(tmp_path / "broken", inputs, prompts=prompts))
    write_jsonl(tmp_path / "mine.jsonl", [{"chosen": "\n\nAssistant: owl"}])
    with pytest.raises(UserError, match=r"1 of 1 prompts cannot be used \(empty 1\)"):
        run(make_job(tmp_path / "answer", inputs, prompts=prompts))


def test_the_files_of_ones_own_prompts_are_in_the_fingerprint_and_older_ones_stay(tmp_path):
    write_jsonl(tmp_path / "mine.jsonl", [{"prompt": "fox?"}])
    recipe = validate(Recipe, {"prompts": {"path": str(tmp_path / "mine.jsonl")}}, "ppo.yaml")
    (before,) = identity(recipe)
    write_jsonl(tmp_path / "mine.jsonl", [{"prompt": "owl?"}])
    assert identity(recipe) != [before] and "prompts" in recipe.hashed()
    older = validate(Recipe, {}, "ppo.yaml")
    assert identity(older) is None and "prompts" not in older.hashed()


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"klcoef": 0.1}, "unknown key 'trainer.klcoef'. Did you mean 'kl_coef'"),
        ({"kl_coef": "0.1"}, 'trainer.kl_coef = "0.1": Input should be a valid number'),
        ({"kl_horizon": 100}, "kl_horizon is without effect unless kl_target is given"),
        ({"seed": 4}, "trainer.seed cannot be set in a recipe: seeds come from `seed` in recipe.yaml"),
        ({"output_dir": "x"}, "trainer.output_dir cannot be set in a recipe: the stage writes into its own artifact"),
    ],
)
def test_trainer_keys_are_checked_before_anything_starts(keys, message):
    with pytest.raises(UserError, match=message):
        validate(Recipe, {"trainer": keys}, "ppo.yaml")


def test_intervals_do_not_change_the_fingerprint_and_settings_can_be_given_by_hand():
    recipe = validate(Recipe, {"trainer": SMALL}, "ppo.yaml")
    assert override(recipe, ["trainer.save_steps=7"], "ppo").hashed() == recipe.hashed()
    changed = override(recipe, ["trainer.kl_coef=0.3"], "ppo")
    assert changed.trainer.kl_coef == 0.3
    assert changed.trainer.batch_size == 12
    assert changed.hashed() != recipe.hashed()
    assert json.dumps(changed.hashed())
