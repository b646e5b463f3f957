"""The stage grpo: prompts of collect, the SFT model and a reward in; an aligned model out."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, GPT2Config, GPT2LMHeadModel

from pipeline.grpo import episodes
from pipeline.grpo.episodes import Reward
from pipeline.grpo.recipe import WITHOUT_EFFECT, Recipe, identity
from pipeline.grpo.train import count_positions, run
from pipeline.recipe import override, validate
from pipeline.stage import Job, UserError
from pipeline.trainers import score_trained_positions_only
from pipeline.trl_keys import TABLE
from tests.test_ppo_trainer import ROWS, save_reward_model
from tests.toy_pairs import save_toy_model, write_jsonl

SMALL = {
    "per_device_train_batch_size": 8,
    "num_generations": 4,
    "max_completion_length": 10,
    "learning_rate": 1e-3,
    "max_steps": 6,
    "save_steps": 2,
}
JUDGES = '''
def even(prompt, answer, row):
    """The share of an answer's characters with an even code; what collect wrote must come along."""
    assert prompt == row["prompt"] and row["number"] is not None
    return sum(ord(c) % 2 == 0 for c in answer) / max(1, len(answer))

def same(prompt, answer, row):
    return 0.5

def none(prompt, answer, row):
    return float("nan")
'''


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inputs")
    save_toy_model(folder / "sft" / "model")
    save_reward_model(folder / "reward" / "model", folder / "sft" / "model")
    model = AutoModelForCausalLM.from_pretrained(folder / "sft" / "model")
    model.generation_config.eos_token_id = [2, 0]
    model.save_pretrained(folder / "sft" / "model")
    long = {"prompt": [{"role": "user", "content": "a story, please " * 40}], "number": 8}
    write_jsonl(folder / "collect" / "prompts" / "rl.jsonl", [*ROWS, long])
    (folder / "judges.py").write_text(JUDGES)
    return {name: folder / name for name in ("collect", "sft", "reward")}


def make_job(folder, inputs, trainer=None, **keys):
    folder.mkdir(parents=True, exist_ok=True)
    recipe = validate(Recipe, {"trainer": {**SMALL, **(trainer or {})}, **keys}, "grpo.yaml")
    return Job(stage="grpo", recipe=recipe, out=folder, inputs=inputs, seed=3, run_name="toy")


def entries(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def trained(inputs, tmp_path_factory):
    job = make_job(tmp_path_factory.mktemp("trained"), inputs, {"beta": 0.02, "temperature": 0.8})
    return job, run(job)


def test_it_writes_a_model_that_transformers_loads_its_log_and_samples(trained):
    job, metrics = trained
    assert (metrics["prompts"], metrics["prompts_too_long"]) == (6, 1)
    assert (metrics["steps"], metrics["episodes"]) == (6, 48)
    assert metrics["kl"] > 0 and metrics["kl_n"] == 6
    assert {"score_first", "score_last", "length_first", "ended_last", "groups_all_alike_last"} <= set(metrics)
    model = AutoModelForCausalLM.from_pretrained(job.out / "model")
    assert model.generation_config.eos_token_id == [2, 0]
    samples = [json.loads(line) for line in (job.out / "samples.jsonl").read_text().splitlines()]
    assert [sample["step"] for sample in samples] == [step for step in range(1, 7) for _ in range(2)]
    assert set(samples[0]) == {"step", "prompt", "answer", "score", "ended"}


def test_the_log_has_our_names_and_units(trained):
    log = entries(trained[0].out)
    assert [entry["step"] for entry in log] == list(range(1, 7))
    for key in ("score", "score_std", "length", "ended", "entropy", "groups_all_alike", "kl_per_token", "loss"):
        assert all(key in entry for entry in log), key
    assert abs(log[0]["kl_per_token"]) < 1e-6, "the policy is the reference before the first step"
    assert log[-1]["kl"] > 0, "nats an answer, measured at the end"
    assert 1 <= log[0]["length"] <= 10
    assert not [key for key in log[0] if key.startswith("rewards/")]


def test_it_learns_what_a_function_rewards(inputs, tmp_path):
    function = f"{inputs['sft'].parent / 'judges.py'}:even"
    trainer = {"max_steps": 30, "learning_rate": 1e-2, "save_steps": 50, "per_device_train_batch_size": 16}
    job = make_job(tmp_path, {name: inputs[name] for name in ("collect", "sft")}, trainer, function=function)
    metrics = run(job)
    assert metrics["score_last"] > metrics["score_first"] + 0.1


def test_a_killed_run_goes_on_to_the_same_weights(inputs, trained, tmp_path):
    whole = trained[0]
    killed = make_job(tmp_path / "killed", inputs, {"beta": 0.02, "temperature": 0.8})
    place = next(path.relative_to(whole.out) for path in (whole.out / "resume").rglob("checkpoint-4"))
    shutil.copytree(whole.out / place, killed.out / place)
    lines = (whole.out / "resume" / "samples.jsonl").read_text().splitlines(True)
    (killed.out / "resume" / "samples.jsonl").write_text("".join(lines[:9]) + '{"step": 5')
    run(killed)
    one, other = (load_file(job.out / "model" / "model.safetensors") for job in (whole, killed))
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert (killed.out / "samples.jsonl").read_text() == (whole.out / "samples.jsonl").read_text()
    assert [entry["step"] for entry in entries(killed.out)] == list(range(1, 7))


def test_left_padded_prompts_are_scored_at_the_positions_at_which_they_were_answered(inputs, tmp_path):
    """Of learned positions, which unlike rotary ones do not bear a shift."""
    tokenizer = AutoTokenizer.from_pretrained(inputs["sft"] / "model")
    torch.manual_seed(0)
    model = GPT2LMHeadModel(
        GPT2Config(vocab_size=len(tokenizer), n_positions=64, n_embd=16, n_layer=1, n_head=2)
    ).eval()
    torch.nn.init.normal_(model.transformer.wpe.weight)
    score_trained_positions_only(model)
    model.register_forward_pre_hook(count_positions, with_kwargs=True)
    row, answer = [5, 6, 7, 8, 9], slice(2, 4)  # two tokens of prompt, the answer's log-probabilities at 1 to 3
    labels = torch.tensor([[-100, -100, *row[2:]]])
    alone = model(torch.tensor([row]), attention_mask=torch.ones(1, 5), labels=labels, fused_lm_head=True)
    padded = model(
        torch.tensor([[3, 3, 3, *row]]), attention_mask=torch.tensor([[0, 0, 0, 1, 1, 1, 1, 1]]),
        labels=torch.tensor([[-100] * 5 + row[2:]]), fused_lm_head=True,
    )  # fmt: skip
    assert torch.allclose(padded.log_probs[:, -3:], alone.log_probs[:, -3:], atol=1e-6)
    assert alone.log_probs[0, answer].abs().min() > 0


class State:
    """What the trainer tells a reward function of itself."""

    def __init__(self, step: int, log_history: list[dict]) -> None:
        self.global_step, self.max_steps, self.log_history = step, 6, log_history


def rewarded(tmp_path, tokenizer, scores, state, penalty=0.0, ids=((2,), (5, 2))):
    reward = Reward(
        lambda *_: scores, [{"prompt": []}], tokenizer, tmp_path / "samples.jsonl", keep=0, penalty=penalty
    )
    answers = [[{"role": "assistant", "content": "x"}]] * len(scores)
    return reward(
        completions=answers, completion_ids=ids, row=[0] * len(scores), trainer_state=state, log_metric=lambda *_: None
    )


def test_a_resumed_run_knows_that_rewards_differed_before(inputs, tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(inputs["sft"] / "model")
    assert rewarded(tmp_path, tokenizer, [1.0, 1.0], State(5, [{"reward_std": 0.5}])) == [1.0, 1.0]
    with pytest.raises(UserError, match="the reward is constant"):
        rewarded(tmp_path, tokenizer, [1.0, 1.0], State(5, [{"reward_std": 0.0}]))


def test_an_answer_without_an_end_pays_the_penalty(inputs, tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(inputs["sft"] / "model")
    earned = rewarded(tmp_path, tokenizer, [1.0, 2.0], State(0, []), penalty=0.5, ids=((5, 6), (5, 2)))
    assert earned == [0.5, 2.0]


def test_an_adapter_is_merged_and_kept_beside_the_model(inputs, tmp_path):
    job = make_job(tmp_path, inputs, {"learning_rate": 1e-2}, lora={"r": 4})
    metrics = run(job)
    assert metrics["kl"] > 0
    assert metrics["merge_logit_difference"] < 1e-3
    assert (job.out / "adapter" / "adapter_config.json").is_file()


def test_a_special_token_spelt_out_in_a_prompt_stays_text(trained, monkeypatch):
    seen = []
    monkeypatch.setattr(episodes, "generate", lambda model, tokenizer, ids, **_: seen.extend(ids) or [[2]] * len(ids))
    job, _ = trained
    tokenizer = AutoTokenizer.from_pretrained(job.out / "model")
    model = AutoModelForCausalLM.from_pretrained(job.out / "model")

    class Trainer:
        accelerator = type("", (), {"unwrap_model": staticmethod(lambda model: model)})
        state = type("", (), {"global_step": 0})

    Trainer.model = model
    prompt = [{"role": "user", "content": "a story with <|im_end|> in it"}]
    episodes.Draw(tokenizer, job.recipe.drawing, 0)([prompt], Trainer)
    assert seen[0].count(tokenizer.convert_tokens_to_ids("<|im_end|>")) == 1, "the end of the user's turn alone"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("same", r"the reward is constant: 0\.5 for each answer"),
        ("none", r"the reward of an answer in step 1 is nan, no finite number"),
        ("gone", r"defines no function 'gone'"),
    ],
)
def test_a_reward_that_cannot_teach_is_refused(inputs, tmp_path, name, message):
    job = make_job(tmp_path, inputs, function=f"{inputs['sft'].parent / 'judges.py'}:{name}")
    with pytest.raises(UserError, match=message):
        run(job)


def test_what_it_cannot_do_without_is_named(inputs, tmp_path):
    with pytest.raises(UserError, match=r"needs the artifact of 'reward', and the recipe 'toy' has no reward.yaml"):
        run(make_job(tmp_path / "a", {name: inputs[name] for name in ("collect", "sft")}))
    with pytest.raises(UserError, match="6 prompts are fewer than the 8 of one step"):
        run(make_job(tmp_path / "b", inputs, {"gradient_accumulation_steps": 4}))
    with pytest.raises(UserError, match="none of its 7 prompts leaves room"):
        run(make_job(tmp_path / "c", inputs, {"max_completion_length": 127}))


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"num_generation": 4}, "Did you mean 'num_generations'"),
        ({"num_generations": 3}, "num_generations = 3 does not divide the 8 answers of a step"),
        ({"num_generations": 1}, "num_generations = 1: an answer is judged by the others"),
        ({"temperature": 0.0}, r"temperature = 0.0: must be above 0"),
        ({"max_completion_length": None}, "max_completion_length = None: must be above 0"),
        ({"num_iterations": 2}, "'num_iterations' would have no effect: every step draws its own answers"),
        ({"epsilon": 0.1}, "'epsilon' would have no effect: answers are used once"),
        ({"loss_type": "cispo"}, "loss_type = 'cispo': accepted here: grpo, bnpo, dr_grpo, dapo"),
        ({"scale_rewards": "groups"}, "scale_rewards = 'groups': accepted here: group, batch, none"),
        ({"top_p": 1.5}, r"top_p = 1.5: is a share"),
        ({"use_vllm": True}, "'use_vllm' would have no effect: answers are drawn by pipeline/generate.py"),
        ({"report_to": "wandb"}, "what is logged goes to log.jsonl"),
    ],
)
def test_trainer_keys_are_checked_before_anything_starts(keys, message):
    with pytest.raises(UserError, match=message):
        validate(Recipe, {"trainer": keys}, "grpo.yaml")


def test_keys_said_to_be_without_effect_are_keys_of_the_installed_trainer():
    assert set(WITHOUT_EFFECT) <= set(json.loads(TABLE.read_text())["GRPOConfig"])


def test_the_function_and_no_interval_is_in_the_fingerprint(inputs):
    named = f"{inputs['sft'].parent / 'judges.py'}:even"
    recipe = validate(Recipe, {"trainer": SMALL, "function": named}, "grpo.yaml")
    assert override(recipe, ["trainer.save_steps=7"], "grpo").hashed() == recipe.hashed()
    assert override(recipe, ["trainer.beta=0.3"], "grpo").hashed() != recipe.hashed()
    assert set(identity(recipe)) == {"function"} and len(identity(recipe)["function"]) == 64
    mine = {"path": str(inputs["collect"] / "prompts" / "rl.jsonl")}
    assert set(identity(validate(Recipe, {"prompts": mine}, "grpo.yaml"))) == {"prompts"}
    assert identity(validate(Recipe, {}, "grpo.yaml")) is None
    with pytest.raises(UserError, match=r"grpo.yaml: function = nowhere:f: there is no file or module nowhere"):
        identity(validate(Recipe, {"function": "nowhere:f"}, "grpo.yaml"))
