"""dpo: learns from pairs by path-loaded weights, and refuses to start from a wrong reference."""

import inspect
import json
import math
import re
import shutil
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import DPOTrainer

from pipeline.chat import stop_ids
from pipeline.dpo.recipe import LOSSES, Recipe
from pipeline.dpo.train import (
    check_start,
    expected_loss,
    heldout_figures,
    log_probabilities,
    make_trainer,
    run,
)
from pipeline.drift import Drift
from pipeline.generate import generate
from pipeline.length_grouped import LengthGroupedSampler
from pipeline.pairs import encode_pairs, read_pairs
from pipeline.recipe import validate
from pipeline.stage import Job, UserError
from tests.toy_pairs import save_toy_model, save_toy_preferences

TRAINER = {
    "num_train_epochs": 4,
    "per_device_train_batch_size": 16,
    "learning_rate": 2e-3,
    "beta": 0.5,
    "logging_steps": 1,
}


def make_job(folder, sft, preferences, trainer=TRAINER, **keys):
    folder.mkdir(parents=True, exist_ok=True)
    recipe = validate(Recipe, {"trainer": trainer, **keys}, "dpo.yaml")
    inputs = {"sft": sft, "preferences": preferences}
    return Job(stage="dpo", recipe=recipe, out=folder, inputs=inputs, seed=0, run_name="toy")


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inputs")
    save_toy_model(folder / "sft" / "model")
    return folder / "sft", save_toy_preferences(folder / "preferences", num_pairs=64, num_heldout=32)


@pytest.fixture(scope="module")
def trained(inputs, tmp_path_factory):
    job = make_job(tmp_path_factory.mktemp("dpo"), *inputs)
    return job, run(job)


@pytest.fixture
def trainer_and_pairs(inputs, tmp_path):
    sft, preferences = inputs
    job = make_job(tmp_path / "out", sft, preferences)
    tokenizer = AutoTokenizer.from_pretrained(sft / "model")
    pairs, _ = encode_pairs(tokenizer, read_pairs(preferences / "train.jsonl"), 128, "train.jsonl")
    return make_trainer(job, sft / "model", tokenizer, pairs[:16], 128), pairs[:16]


def test_starts_at_ln_2_and_learns_the_order_of_unseen_pairs(trained):
    job, metrics = trained
    assert metrics["first_loss"] == pytest.approx(math.log(2), abs=1e-3)
    assert metrics["rewards_accuracies"] > 0.8
    assert metrics["rewards_margins_low"] > 0
    assert (
        metrics["rewards_accuracies_low"] < metrics["rewards_accuracies"] < metrics["rewards_accuracies_high"] + 1e-9
    )
    assert metrics["rewards_accuracies_n"] == metrics["rewards_margins_n"] == 32
    moved = {side: metrics[f"logps_{side}"] - metrics[f"logps_{side}_before"] for side in ("chosen", "rejected")}
    assert moved["chosen"] > moved["rejected"]
    log = [json.loads(line) for line in (job.out / "log.jsonl").read_text().splitlines()]
    assert log[0]["step"] == 1
    assert log[0]["loss"] == pytest.approx(math.log(2), abs=1e-3)
    assert log[0]["rewards/margins"] == pytest.approx(0, abs=1e-3)
    assert log[-1]["loss"] < log[0]["loss"]


def test_log_probabilities_lengths_and_drift_are_logged(trained):
    job, metrics = trained
    log = [json.loads(line) for line in (job.out / "log.jsonl").read_text().splitlines()]
    every = {"logps/chosen", "logps/rejected", "length/chosen", "length/rejected", "rewards/margins"}
    assert all(every <= set(line) for line in log)
    measured = [line for line in log if "kl" in line]
    assert len(measured) >= 5
    assert measured[-1]["step"] == log[-1]["step"]
    assert 0 <= measured[0]["kl"] < measured[-1]["kl"], "the policy leaves the reference step by step"
    assert all(line["length"] >= 1 for line in measured)
    assert 0 < metrics["kl_low"] <= metrics["kl"] <= metrics["kl_high"]
    assert metrics["kl_n"] == metrics["length_n"] == 32


def test_the_drift_is_the_whole_distributions_and_0_for_the_reference_itself(inputs):
    model = AutoModelForCausalLM.from_pretrained(inputs[0] / "model").eval()
    other = AutoModelForCausalLM.from_pretrained(inputs[0] / "model").eval()
    with torch.no_grad():
        other.model.embed_tokens.weight.mul_(1.3)
    tokenizer = AutoTokenizer.from_pretrained(inputs[0] / "model")
    prompts = [[5, 6, 7], [8], [9, 10]]
    same = Drift(tokenizer, prompts, lambda: nullcontext(model), max_new_tokens=6, seed=1)
    kl, length = same.measure(model, 3)
    assert np.abs(kl).max() < 1e-5
    drift = Drift(tokenizer, prompts, lambda: nullcontext(other), max_new_tokens=6, seed=1)
    kl, length = drift.measure(model, 2)
    drawing = {"max_new_tokens": 6, "temperature": 1.0, "seed": 1, "stop_ids": stop_ids(tokenizer)}
    answers = generate(model, tokenizer, prompts[:2], **drawing)
    assert length.tolist() == [len(ids) for ids in answers]
    for row, (prompt, answer) in enumerate(zip(prompts[:2], answers, strict=True)):
        ids = torch.tensor([prompt + answer])
        with torch.no_grad():
            ours, theirs = (m(ids).logits[0, len(prompt) - 1 : -1].log_softmax(-1) for m in (model, other))
        assert kl[row] == pytest.approx(float((ours.exp() * (ours - theirs)).sum()), abs=1e-5)
    assert not model.training


def test_lora_trains_an_adapter_against_the_model_without_it(inputs, tmp_path):
    job = make_job(tmp_path, *inputs, {**TRAINER, "learning_rate": 2e-2, "num_train_epochs": 2}, lora={"r": 4})
    metrics = run(job)
    assert metrics["first_loss"] == pytest.approx(math.log(2), abs=1e-3)
    assert metrics["merge_logit_difference"] < 1e-4
    assert metrics["rewards_margins"] > 0
    assert (job.out / "adapter" / "adapter_model.safetensors").is_file()
    model = AutoModelForCausalLM.from_pretrained(job.out / "model")
    before = AutoModelForCausalLM.from_pretrained(inputs[0] / "model")
    assert not torch.equal(model.model.layers[0].mlp.up_proj.weight, before.model.layers[0].mlp.up_proj.weight)


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        ({"loss_type": ["hinge"]}, 1.0),
        ({"loss_type": ["apo_zero"]}, 1.0),
        ({"loss_type": ["apo_down"]}, 1.0),
        ({"loss_type": ["nca_pair"]}, 2 * math.log(2)),
        ({"loss_type": ["bco_pair"]}, 2 * math.log(2)),
        ({"loss_type": ["sppo_hard"]}, 2.0),
        ({"loss_type": ["sigmoid_norm"]}, math.log(2)),
        ({"loss_type": ["aot"], "label_smoothing": 0.2}, math.log(2)),
        ({"loss_type": ["robust"], "label_smoothing": 0.2}, math.log(2)),
        ({"loss_type": ["sigmoid", "apo_zero"], "loss_weights": [0.5, 2.0]}, 0.5 * math.log(2) + 2.0),
        ({"loss_type": ["discopop"]}, None),
        ({"loss_type": ["exo_pair"], "label_smoothing": 0.1}, None),
    ],
)
def test_every_loss_starts_where_it_must(inputs, tmp_path, loss, expected):
    job = make_job(tmp_path, *inputs, {**TRAINER, **loss})
    tokenizer = AutoTokenizer.from_pretrained(inputs[0] / "model")
    pairs, _ = encode_pairs(tokenizer, read_pairs(inputs[1] / "train.jsonl")[:4], 128, "train.jsonl")
    trainer = make_trainer(job, inputs[0] / "model", tokenizer, pairs, 128)
    started = check_start(trainer)
    assert expected_loss(trainer.loss_types, trainer.loss_weights, trainer.beta) == expected
    if expected is not None:
        assert started == pytest.approx(expected, abs=1e-3)


def test_the_losses_are_those_that_trl_knows():
    assert re.findall(r'loss_type == "(\w+)"', inspect.getsource(DPOTrainer)) == list(LOSSES)


@pytest.mark.parametrize(
    ("trainer", "message"),
    [
        ({"loss_type": ["sigmod"]}, "trl has no loss 'sigmod'. Did you mean 'sigmoid'?"),
        ({"loss_type": ["sigmoid", "sft"], "loss_weights": [1.0]}, "1 weights for 2 losses"),
        ({"label_smoothing": 0.1}, "label_smoothing has no effect on sigmoid"),
        ({"loss_type": ["robust"], "label_smoothing": 0.5}, "at least 0 and below 0.5"),
        ({"loss_type": ["exo_pair"]}, "above 0 for exo_pair"),
        ({"beta": 0.0}, "beta must be above 0"),
    ],
)
def test_losses_that_cannot_work_are_refused_before_anything_starts(trainer, message):
    with pytest.raises(UserError) as error:
        validate(Recipe, {"trainer": trainer}, "dpo.yaml")
    assert message in str(error.value)


def test_a_recipe_without_an_adapter_keeps_its_old_fingerprint():
    assert set(Recipe().hashed()) == {"pairs", "max_pairs", "trainer"}
    assert "lora" in validate(Recipe, {"lora": {"r": 4}}, "dpo.yaml").hashed()


def test_the_model_loads_with_plain_transformers_and_differs_from_sft(trained, inputs):
    job, _ = trained
    model = AutoModelForCausalLM.from_pretrained(job.out / "model")
    tokenizer = AutoTokenizer.from_pretrained(job.out / "model")
    assert tokenizer.chat_template
    assert tokenizer.pad_token_id == model.config.pad_token_id
    ends = [tokenizer.convert_tokens_to_ids(token) for token in ("<|im_end|>", "<|endoftext|>")]
    assert model.generation_config.eos_token_id == ends, "answers must end with the turn, not with the document alone"
    before = AutoModelForCausalLM.from_pretrained(inputs[0] / "model")
    changed = [not torch.equal(a, b) for a, b in zip(model.parameters(), before.parameters(), strict=True)]
    assert all(changed)
    files = {path.name for path in (job.out / "model").iterdir()}
    assert "model.safetensors" in files
    assert not {name for name in files if name.endswith((".bin", ".pt", ".pkl"))}


def test_a_wrong_reference_stops_the_run_before_the_first_step(trainer_and_pairs):
    trainer, _ = trainer_and_pairs
    assert check_start(trainer) == pytest.approx(math.log(2), abs=1e-3)
    with torch.no_grad():
        for parameter in trainer.model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    with pytest.raises(UserError, match=r"before the first step the loss is .*the reference is not the model"):
        check_start(trainer)


def test_log_probabilities_are_those_of_the_plain_model_over_the_answer_alone(trainer_and_pairs, inputs):
    trainer, pairs = trainer_and_pairs
    model = AutoModelForCausalLM.from_pretrained(inputs[0] / "model").eval()
    found = log_probabilities(trainer, pairs)
    for index, pair in enumerate(pairs):
        for column, answer in enumerate((pair.chosen_ids, pair.rejected_ids)):
            ids = torch.tensor([pair.prompt_ids + answer])
            with torch.no_grad():
                log_probs = model(ids).logits[0, :-1].log_softmax(-1)
            expected = log_probs.gather(-1, ids[0, 1:, None])[len(pair.prompt_ids) - 1 :].sum()
            assert found[index, column] == pytest.approx(float(expected), abs=1e-3)


def test_other_losses_are_checked_by_their_margin(inputs, tmp_path):
    job = make_job(tmp_path, *inputs, {**TRAINER, "loss_type": ["ipo"], "num_train_epochs": 1}, max_pairs=16)
    metrics = run(job)
    assert metrics["pairs"] == 16
    assert metrics["first_loss"] == pytest.approx(1.0, abs=1e-3), "IPO's loss at a margin of 0 is (1 / 2 beta)^2"


def test_equal_runs_give_equal_weights(inputs, tmp_path):
    weights = []
    for name in ("one", "two"):
        job = make_job(tmp_path / name, *inputs, {**TRAINER, "num_train_epochs": 1})
        run(job)
        weights.append((job.out / "model" / "model.safetensors").read_bytes())
    assert weights[0] == weights[1]


def test_a_killed_run_goes_on_to_the_same_weights(inputs, tmp_path):
    trainer = {**TRAINER, "num_train_epochs": 2, "save_steps": 3}
    whole = make_job(tmp_path / "whole", *inputs, trainer)
    run(whole)
    killed = make_job(tmp_path / "killed", *inputs, trainer)
    checkpoints = [path.relative_to(whole.out) for path in (whole.out / "resume").rglob("checkpoint-6")]
    assert len(checkpoints) == 1
    shutil.copytree(whole.out / checkpoints[0], killed.out / checkpoints[0])
    metrics = run(killed)
    weights = [(job.out / "model" / "model.safetensors").read_bytes() for job in (whole, killed)]
    assert weights[0] == weights[1]
    assert metrics["first_loss"] == pytest.approx(math.log(2), abs=1e-3), "measured on the start, not the checkpoint"
    log = [json.loads(line)["step"] for line in (killed.out / "log.jsonl").read_text().splitlines()]
    assert log == [json.loads(line)["step"] for line in (whole.out / "log.jsonl").read_text().splitlines()]


def test_heldout_figures_follow_the_definition_of_the_implicit_reward():
    before = np.array([[-10.0, -10.0], [-20.0, -20.0]])
    after = np.array([[-8.0, -12.0], [-21.0, -20.0]])
    figures = heldout_figures(before, after, beta=0.5, seed=0)
    assert figures["rewards_accuracies"] == 0.5
    assert figures["rewards_margins"] == pytest.approx((2.0 - 0.5) / 2)
    assert (figures["logps_chosen"], figures["logps_chosen_before"]) == (-14.5, -15.0)


@pytest.mark.parametrize(
    ("trainer", "message"),
    [
        ({"betta": 0.1}, "Did you mean 'beta'"),
        ({"beta": "0.1"}, "takes float here, not str"),
        ({"precompute_ref_log_probs": True}, "would have no effect"),
        ({"sync_ref_model": True}, "the reference is the SFT model throughout"),
    ],
)
def test_trainer_keys_are_checked_before_anything_starts(trainer, message):
    with pytest.raises(UserError, match=message):
        validate(Recipe, {"trainer": trainer}, "dpo.yaml")


def test_batches_hold_like_lengths_and_an_epochs_order_needs_no_history():
    lengths = [(7 * index) % 101 for index in range(202)]
    sampler = LengthGroupedSampler(lengths, batch_size=8, seed=3)
    first = list(sampler)
    sampler.set_epoch(5)
    sixth = list(sampler)
    assert sorted(first) == sorted(sixth) == list(range(202))
    assert first != sixth
    fresh = LengthGroupedSampler(lengths, batch_size=8, seed=3)
    fresh.set_epoch(5)
    assert list(fresh) == sixth
    spread = [max(batch) - min(batch) for batch in ([lengths[i] for i in first[s : s + 8]] for s in range(8, 160, 8))]
    assert sorted(spread)[len(spread) // 2] < 40, "random batches of eight spread over about 80"
