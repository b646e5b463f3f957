"""PPOTrainer: starts at the reference, solves a bandit, repeats itself, survives a kill, refuses what cannot be."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from peft import LoraConfig
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from pipeline.checkpoint import numbered
from pipeline.ppo.trainer import PPOConfig, PPOTrainer
from pipeline.stage import UserError
from tests.toy_pairs import WORDS, save_toy_model

REPOSITORY = Path(__file__).resolve().parent.parent
ROWS = [
    {"prompt": [{"role": "user", "content": f"a story with {word}" + " and more" * i}], "number": i}
    for i, word in enumerate(WORDS[:6])
]
SMALL = {
    "total_episodes": 48,
    "batch_size": 12,
    "num_mini_batches": 2,
    "num_ppo_epochs": 2,
    "max_completion_length": 10,
    "learning_rate": 1e-3,
    "save_steps": 1,
}


def word_share(completion_ids, **columns) -> list[float]:
    """The share of an answer's tokens that have an even id."""
    return [sum(token % 2 == 0 for token in ids) / len(ids) for ids in completion_ids]


def save_reward_model(folder: Path, base: Path, seed: int = 0) -> Path:
    """A sequence classifier with one output, whose head is not 0, with its tokenizer."""
    torch.manual_seed(seed)
    tokenizer = AutoTokenizer.from_pretrained(base)
    model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=1)
    torch.nn.init.normal_(model.score.weight)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("models")
    policy = save_toy_model(folder / "policy")
    return policy, save_reward_model(folder / "reward", policy)


def make(models, out: Path, reward=None, rows=ROWS, *, ref_model=None, value_model=None, peft_config=None, **keys):
    args = PPOConfig(output_dir=str(out), **{**SMALL, **keys})
    return PPOTrainer(
        model=models[0], reward_model=reward or models[1], args=args, train_dataset=rows,
        ref_model=ref_model, value_model=value_model, peft_config=peft_config,
    )  # fmt: skip


def entries(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def weights(trainer: PPOTrainer) -> dict[str, torch.Tensor]:
    return {name: parameter.detach().clone() for name, parameter in trainer.model.named_parameters()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_the_first_ratio_is_1_and_the_first_kl_0(models, tmp_path, temperature):
    trainer = make(models, tmp_path, temperature=temperature, micro_batch_size=3)
    rollout, entry = trainer.step()
    assert len({len(prompt.ids) for prompt in rollout.prompts}) > 1, "generation pads on the left"
    assert (rollout.log_probs - rollout.ref_log_probs).abs().max() < 1e-5
    assert abs(entry["kl"]) < 1e-5
    assert entry["first_ratio_difference"] < 1e-5
    assert trainer.step()[1]["kl"] != 0.0, "the policy has moved, the reference has not"


def test_a_policy_that_is_not_the_one_that_answered_shows_in_the_first_ratio(models, tmp_path):
    trainer = make(models, tmp_path)
    rollout = trainer.rollout(0)
    with torch.no_grad():
        for parameter in trainer.model.policy.parameters():
            parameter.mul_(1.01)
    updated = trainer.learner.update(rollout, torch.zeros_like(rollout.values), 0)
    assert updated["first_ratio_difference"] > 1e-3


def test_a_bandit_is_solved(models, tmp_path):
    """One token is the answer; it earns by its last digit, so a 9 is best. At first 1 of 10 answers ends so."""

    def by_digit(completion_ids, **columns) -> list[float]:
        return [(ids[0] % 10) / 9 for ids in completion_ids]

    trainer = make(
        models, tmp_path, by_digit, ROWS[:1], total_episodes=1280, batch_size=64, num_ppo_epochs=4,
        max_completion_length=1, learning_rate=1e-2, kl_coef=0.0, save_steps=1000,
    )  # fmt: skip
    trainer.train()
    log = entries(tmp_path)
    assert log[0]["score"] == pytest.approx(0.5, abs=0.1)
    assert log[-1]["score"] > 0.95


def test_long_answers_learn_too_and_the_kl_is_what_they_pay(models, tmp_path):
    finals = []
    for kl_coef in (0.0, 0.5):
        trainer = make(models, tmp_path / str(kl_coef), word_share, total_episodes=288, batch_size=24,
                       num_ppo_epochs=4, learning_rate=5e-3, kl_coef=kl_coef, save_steps=100)  # fmt: skip
        trainer.train()
        finals.append(entries(tmp_path / str(kl_coef))[-1])
    free, held = finals
    assert free["score"] > 0.65, "half of the tokens are even at first"
    assert 0 < held["kl"] < 0.5 * free["kl"]


def test_a_reward_models_scores_are_those_of_each_answer_alone(models, tmp_path):
    trainer = make(models, tmp_path, local_rollout_forward_batch_size=5)
    rollout = trainer.rollout(0)
    classifier = AutoModelForSequenceClassification.from_pretrained(models[1], num_labels=1).eval()
    for prompt, answer, score in zip(rollout.prompts, rollout.answers, rollout.scores, strict=True):
        alone = classifier(input_ids=torch.tensor([[*prompt.ids, *answer]])).logits
        assert score == pytest.approx(float(alone.detach()), abs=1e-5)


def test_every_step_is_logged_with_samples_and_equal_seeds_give_equal_runs(models, tmp_path):
    runs = []
    for name in ("one", "two"):
        trainer = make(models, tmp_path / name, entropy_coef=0.01, missing_eos_penalty=0.3, reward_clip=2.0)
        trainer.train()
        runs.append(weights(trainer))
    assert same(*runs)
    other = make(models, tmp_path / "three", entropy_coef=0.01, missing_eos_penalty=0.3, reward_clip=2.0, seed=1)
    other.train()
    assert not same(runs[0], weights(other))
    log = entries(tmp_path / "one")
    assert [entry["step"] for entry in log] == [1, 2, 3, 4]
    wanted = {
        "score", "reward", "reward_with_kl", "kl", "kl_coef", "entropy", "clip_fraction", "explained_variance",
        "approx_kl", "ratio", "length", "ended", "seconds_generation", "seconds_scoring", "seconds_update",
    }  # fmt: skip
    assert wanted <= set(log[0])
    untimed = [
        [{key: value for key, value in entry.items() if "second" not in key} for entry in entries(tmp_path / name)]
        for name in ("one", "two")
    ]
    assert untimed[0] == untimed[1]
    samples = [json.loads(line) for line in (tmp_path / "one" / "samples.jsonl").read_text().splitlines()]
    assert [sample["step"] for sample in samples] == [1, 1, 2, 2, 3, 3, 4, 4]
    assert samples[0]["prompt"] in [row["prompt"] for row in ROWS]


@pytest.mark.parametrize("keys", [{}, {"kl_target": 2.0, "scale_rewards": True}], ids=["plain", "adaptive"])
def test_a_killed_run_goes_on_to_the_same_bits(models, tmp_path, keys):
    whole = make(models, tmp_path / "whole", **keys)
    whole.train()
    assert [path.name for path in numbered(tmp_path / "whole")] == ["step-3", "step-2"]
    killed = tmp_path / "killed"
    shutil.copytree(tmp_path / "whole" / "step-2", killed / "step-2")
    # What the killed run wrote after its checkpoint, down to half a line.
    (killed / "log.jsonl").write_text((tmp_path / "whole" / "log.jsonl").read_text()[:-40])
    resumed = make(models, killed, **keys)
    standing = resumed.train(resume_from_checkpoint=True)
    assert same(weights(whole), weights(resumed))
    assert (standing.kl_coef, standing.rewards) == (whole.standing.kl_coef, whole.standing.rewards)
    assert [entry["step"] for entry in entries(killed)] == [1, 2, 3, 4]


def test_sigterm_makes_a_checkpoint_at_the_steps_end_and_exits_143(models, tmp_path):
    calls = []

    def killed_in_its_second_step(completion_ids, **columns) -> list[float]:
        calls.append(1)
        if len(calls) == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return word_share(completion_ids)

    trainer = make(models, tmp_path / "killed", killed_in_its_second_step, save_steps=100)
    with pytest.raises(SystemExit) as ended:
        trainer.train()
    assert ended.value.code == 143
    assert [path.name for path in numbered(tmp_path / "killed")] == ["step-2"]
    resumed = make(models, tmp_path / "killed", word_share, save_steps=100)
    resumed.train(resume_from_checkpoint=True)
    whole = make(models, tmp_path / "whole", word_share, save_steps=100)
    whole.train()
    assert same(weights(whole), weights(resumed))


def test_a_checkpoint_of_another_run_is_refused(models, tmp_path):
    make(models, tmp_path, word_share).train()
    with pytest.raises(UserError, match=r"checkpoint of another run \(kl_coef: 0.05 -> 0.1\)"):
        make(models, tmp_path, word_share, kl_coef=0.1).train(resume_from_checkpoint=True)
    other = save_toy_model(tmp_path / "other", seed=1)
    with pytest.raises(UserError, match=r"checkpoint of another run \(start: \w+ -> \w+\)"):
        make((other, None), tmp_path, word_share).train(resume_from_checkpoint=True)
    with pytest.raises(UserError, match="holds checkpoints of an earlier run"):
        make(models, tmp_path, word_share).train()


def test_the_run_stops_where_the_kl_budget_is_spent(models, tmp_path):
    trainer = make(models, tmp_path, word_share, kl_budget=1e-4, kl_estimator="k3", learning_rate=1e-2)
    standing = trainer.train()
    log = entries(tmp_path)
    assert standing.over_budget
    assert (len(log), standing.step) == (2, 2), "at the first step nothing has moved, after it the KL is over budget"
    assert "policy_loss" not in log[-1]


def test_an_adapter_is_trained_against_the_policy_without_it(models, tmp_path):
    config = LoraConfig(task_type="CAUSAL_LM", r=4, target_modules="all-linear")
    trainer = make(models, tmp_path / "run", word_share, peft_config=config, learning_rate=1e-2)
    assert trainer.reference is None
    before = {n: p.detach().clone() for n, p in trainer.model.named_parameters() if not p.requires_grad}
    _, entry = trainer.step()
    assert abs(entry["kl"]) < 1e-5
    assert entry["first_ratio_difference"] < 1e-5
    second, _ = trainer.step()
    original = AutoModelForCausalLM.from_pretrained(models[0], dtype=torch.float32).eval()
    ids = torch.tensor([[*second.prompts[0].ids, *second.answers[0]]])
    log_probs = original(ids).logits[0, :-1].log_softmax(-1).gather(-1, ids[0, 1:, None])[:, 0]
    expected = log_probs[len(second.prompts[0].ids) - 1 :]
    torch.testing.assert_close(second.ref_log_probs[0, : len(expected)], expected, atol=1e-5, rtol=0)
    assert not torch.equal(second.log_probs, second.ref_log_probs)
    after = dict(trainer.model.named_parameters())
    assert all(torch.equal(before[name], after[name]) for name in before), "the base stays as it is"
    trainer.save_model(tmp_path / "adapter")
    again = make(models, tmp_path / "again", word_share, peft_config=tmp_path / "adapter")
    assert any("lora" in name for name, p in again.model.named_parameters() if p.requires_grad)


def test_a_resumed_adapter_ends_with_the_same_bits(models, tmp_path):
    config = LoraConfig(task_type="CAUSAL_LM", r=4, target_modules="all-linear")
    whole = make(models, tmp_path / "whole", word_share, peft_config=config)
    whole.train()
    shutil.copytree(tmp_path / "whole" / "step-2", tmp_path / "killed" / "step-2")
    resumed = make(models, tmp_path / "killed", word_share, peft_config=config)
    resumed.train(resume_from_checkpoint=True)
    assert same(weights(whole), weights(resumed))


def test_a_critic_of_its_own_starts_as_the_reward_model(models, tmp_path):
    trainer = make(models, tmp_path, value_model=models[1])
    rollout, _ = trainer.step()
    classifier = AutoModelForSequenceClassification.from_pretrained(models[1], num_labels=1).eval()
    ids = torch.tensor([[*rollout.prompts[0].ids, *rollout.answers[0][:-1]]])
    # What stands before the last token is worth what the reward model says of it.
    value = float(rollout.values[0, int(rollout.lengths[0]) - 1])
    assert value == pytest.approx(float(classifier(input_ids=ids).logits.detach()), abs=1e-5)
    assert trainer.model.value_head is None


def test_a_reward_function_gets_the_columns_and_the_messages(models, tmp_path):
    seen = {}

    def reward(prompts, completions, completion_ids, number) -> list[float]:
        seen.update(prompts=prompts, completions=completions, number=number)
        return [float(len(ids)) + i for i, ids in enumerate(completion_ids)]

    make(models, tmp_path, reward).step()
    assert [ROWS[number]["prompt"] for number in seen["number"]] == seen["prompts"]
    assert set(seen["completions"][0][0]) == {"role", "content"}


def other_reward(kind: str, models, folder: Path):
    """A reward model that cannot be used, of one kind or another."""
    if kind == "none":
        return models[0]
    model = AutoModelForSequenceClassification.from_pretrained(models[1])
    tokenizer = AutoTokenizer.from_pretrained(models[1])
    if kind == "tokenizer":
        tokenizer.add_tokens(["elsewhere"])
    elif kind == "labels":
        model = AutoModelForSequenceClassification.from_pretrained(models[0], num_labels=2)
    elif kind == "pad":
        model.config.pad_token_id = 5
    elif kind == "window":
        model.config.max_position_embeddings = 20
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return AutoModelForSequenceClassification.from_pretrained(folder)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("none", "is LlamaForCausalLM, which has no trained head to score with"),
        ("tokenizer", r"has another tokenizer \(305 tokens\) than the policy \(304\)"),
        ("labels", "gives 2 numbers an answer. Load it with num_labels=1"),
        ("pad", "its config says pad_token_id = 5, the tokenizer 3"),
        ("window", "its window of 20 tokens is less than the"),
    ],
)
def test_a_reward_model_that_cannot_score_the_answers_is_refused(models, tmp_path, kind, message):
    reward = other_reward(kind, models, tmp_path / "reward")
    with pytest.raises(UserError, match=message):
        make(models, tmp_path / "out", reward)


@pytest.mark.parametrize(
    ("reward", "message"),
    [
        (lambda completion_ids, **columns: [0.5] * len(completion_ids), "the reward is constant: 0.5 for each of 36"),
        (lambda completion_ids, **columns: [float("nan"), *[0.5] * 11], "1 of 12 rewards of step 1 are not finite"),
        (lambda completion_ids, **columns: [None, *[0.5] * 11], r"the first \(nan\) for an answer to"),
        (lambda completion_ids, **columns: [0.5], "returned 1 numbers for 12 answers"),
    ],
)
def test_a_reward_that_teaches_nothing_stops_the_run(models, tmp_path, reward, message):
    with pytest.raises(UserError, match=message):
        make(models, tmp_path, reward).train()


@pytest.mark.parametrize(
    ("rows", "keys", "message"),
    [
        ([], {}, "holds no row"),
        ([{"question": "?", "id": 1}], {}, "row 0: has no 'prompt'.*Its columns are: question, id"),
        (
            ROWS,
            {"max_completion_length": 120},
            r"6 of 6 prompts are too long: .* of 128 less .* = 120 leaves 8",
        ),
        (ROWS, {"micro_batch_size": 4}, "must be a multiple of num_mini_batches = 2 x 1 process"),
    ],
)
def test_prompts_and_sizes_that_do_not_fit_are_refused(models, tmp_path, rows, keys, message):
    with pytest.raises(UserError, match=message):
        make(models, tmp_path, word_share, rows, **keys)


def test_an_adapter_for_another_base_is_refused(models, tmp_path):
    config = LoraConfig(task_type="CAUSAL_LM", r=4, target_modules="all-linear")
    make(models, tmp_path / "out", word_share, peft_config=config).save_model(tmp_path / "adapter")
    other = save_toy_model(tmp_path / "other", seed=1)
    with pytest.raises(UserError, match=f"was made for {models[0]}, not for {other}"):
        make((other, None), tmp_path / "out", word_share, peft_config=tmp_path / "adapter")
    described = tmp_path / "adapter" / "adapter_config.json"
    described.write_text(json.dumps({**json.loads(described.read_text()), "r": 8, "base_model_name_or_path": None}))
    with pytest.raises(UserError, match=r"does not fit .*, so it was made for another model"):
        make(models, tmp_path / "out", word_share, peft_config=tmp_path / "adapter")
    with pytest.raises(UserError, match="holds no adapter"):
        make(models, tmp_path / "out", word_share, peft_config=models[0])


def test_a_reference_that_is_the_policy_itself_or_another_size_is_refused(models, tmp_path):
    policy = AutoModelForCausalLM.from_pretrained(models[0], dtype=torch.float32)
    with pytest.raises(UserError, match="is the model that is trained"):
        make((policy, None), tmp_path, word_share, ref_model=policy)
    smaller = AutoModelForCausalLM.from_pretrained(models[0], dtype=torch.float32)
    smaller.resize_token_embeddings(300)
    with pytest.raises(UserError, match="has 300 tokens, the policy 304"):
        make(models, tmp_path, word_share, ref_model=smaller)


def test_a_critic_of_its_own_learns_the_same_beside_the_policy_and_after_it(models, tmp_path):
    trained = []
    for one_by_one in (True, False):
        keys = {"value_model": models[1], "entropy_coef": 0.01, "micro_batch_size": 3}
        trainer = make(models, tmp_path / str(one_by_one), word_share, **keys)
        assert trainer.learner.one_by_one
        trainer.learner.one_by_one = one_by_one
        before = weights(trainer)
        trainer.step()
        trainer.step()
        trained.append(weights(trainer))
        assert not same(before, trained[-1])
    assert same(*trained)
    assert not make(models, tmp_path / "head", word_share).learner.one_by_one


def test_gradients_that_are_not_finite_change_nothing_and_soon_stop_the_run(models, tmp_path):
    trainer = make(models, tmp_path, word_share)
    before = weights(trainer)
    rollout = trainer.rollout(0)
    updated = trainer.learner.update(rollout, torch.full_like(rollout.values, float("inf")), 0)
    assert updated["skipped_updates"] == 4
    assert same(before, weights(trainer))
    trainer.standing.skipped = [0, 1]
    trainer.standing.step = 2
    with pytest.raises(UserError, match="3 steps in a row had a gradient that is not finite"):
        trainer._skip()


DISTRIBUTED = """
import sys
from pathlib import Path
from safetensors.torch import save_file
from tests.test_ppo_trainer import make, weights, word_share
trainer = make((Path(sys.argv[1]), None), Path(sys.argv[2]), word_share, micro_batch_size=3)
trainer.train(resume_from_checkpoint=True)
save_file(weights(trainer), f"{sys.argv[2]}/rank{trainer.accelerator.process_index}.safetensors")
"""


@pytest.mark.real
def test_two_processes_keep_equal_weights_and_go_on_to_the_same_bits(models, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(DISTRIBUTED)
    environment = {
        **os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY),
    }  # fmt: skip
    for name in ("whole", "killed"):
        if name == "killed":
            shutil.copytree(tmp_path / "whole" / "step-2", tmp_path / "killed" / "step-2")
        subprocess.run(
            [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2",
             script, models[0], tmp_path / name],
            env=environment, cwd=REPOSITORY, check=True, timeout=110,
        )  # fmt: skip
    ranks = [load_file(tmp_path / name / f"rank{rank}.safetensors") for name in ("whole", "killed") for rank in (0, 1)]
    assert all(same(ranks[0], other) for other in ranks[1:])
    log = entries(tmp_path / "whole")
    assert len(log) == 4
    assert all(entry["first_ratio_difference"] < 1e-5 for entry in log)
