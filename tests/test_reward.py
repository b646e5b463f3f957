"""reward: a sequence classifier from the SFT model, measured by the true order and against length."""

import json
import math
import shutil

import pytest
import torch
from datasets import Dataset
from transformers import AutoModelForSequenceClassification, AutoTokenizer
from trl import RewardConfig, RewardTrainer

from pipeline.classifier import padding_difference, score
from pipeline.pairs import EncodedPair
from pipeline.recipe import validate
from pipeline.reward.groups import GroupCollator, GroupedRewardTrainer, group_pairs, sample_groups
from pipeline.reward.recipe import Recipe
from pipeline.reward.score import (
    ScoredPair,
    accuracies,
    by_source,
    calibration,
    calibration_error,
    length_matched,
    margins,
)
from pipeline.reward.train import load_tokenizer, run, true_order
from pipeline.stage import Job, UserError
from tests.toy_pairs import save_toy_model, save_toy_preferences

TRAINER = {"num_train_epochs": 8, "per_device_train_batch_size": 16, "learning_rate": 3e-3, "logging_steps": 4}


def make_job(folder, sft, preferences, trainer=TRAINER, **keys):
    folder.mkdir(parents=True, exist_ok=True)
    recipe = Recipe(trainer=trainer, **keys)
    inputs = {"sft": sft, "preferences": preferences}
    return Job(stage="reward", recipe=recipe, out=folder, inputs=inputs, seed=0, run_name="toy")


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inputs")
    save_toy_model(folder / "sft" / "model")
    return folder / "sft", save_toy_preferences(folder / "preferences", num_pairs=96, num_heldout=32)


@pytest.fixture(scope="module")
def trained(inputs, tmp_path_factory):
    job = make_job(tmp_path_factory.mktemp("reward"), *inputs)
    return job, run(job)


def test_learns_the_true_order_from_noisy_labels(trained):
    job, metrics = trained
    assert metrics["accuracy_gold"] > 0.9, "which answer ends happily is learnt in eight epochs"
    assert metrics["accuracy"] < metrics["accuracy_gold"], "a tenth of the labels is swapped"
    assert metrics["accuracy_longer"] == pytest.approx(1 - metrics["accuracy_shorter"])
    for name in ("accuracy", "accuracy_gold", "accuracy_longer", "accuracy_shorter"):
        assert metrics[f"{name}_low"] <= metrics[name] <= metrics[f"{name}_high"]
        assert metrics[f"{name}_n"] == 32
    assert all(math.isfinite(value) for value in metrics.values())
    histogram = json.loads((job.out / "margins.json").read_text())
    assert histogram["order"] == "gold"
    assert sum(histogram["counts"]) == histogram["num_pairs"] == 32
    assert len(histogram["edges"]) == len(histogram["counts"]) + 1


def test_length_matched_pairs_calibration_and_sources_are_measured(trained):
    job, metrics = trained
    assert 0 <= metrics["calibration_error_low"] <= metrics["calibration_error_high"] < 1
    assert 0 < metrics["accuracy_length_matched_n"] < 32
    assert not [name for name in metrics if name.startswith("agreement_")], "one source is no comparison"
    bins = json.loads((job.out / "margins.json").read_text())["calibration"]
    assert sum(one["pairs"] for one in bins) == 32
    assert all(0.5 <= one["confidence"] <= 1 and 0 <= one["right"] <= 1 for one in bins)
    shown = json.loads((job.out / "trained_tokens.json").read_text())
    assert shown["stage"] == "reward"


def test_a_model_that_scores_all_alike_is_refused(inputs, tmp_path, monkeypatch):
    sft, preferences = inputs
    monkeypatch.setattr("pipeline.reward.train.score", lambda model, sequences, pad: [0.5] * len(sequences))
    with pytest.raises(UserError, match="gives each of 64 held-out answers the same score"):
        run(make_job(tmp_path, sft, preferences, {**TRAINER, "max_steps": 1}))


def pairs_with(margins, **keys):
    lengths = {"better_length": 10, "worse_length": 5, **keys}
    return [ScoredPair(prompt=i, better_reward=m, worse_reward=0.0, **lengths) for i, m in enumerate(margins)]


def test_calibration_error_is_the_distance_of_confidence_and_share_right():
    odds = math.log(3)  # a confidence of 3/4
    honest = pairs_with([odds, odds, odds, -odds] * 25)
    assert calibration_error(honest, 0)[0] == pytest.approx(0.05, abs=0.05), "bins of ten pairs hold 7 or 8 right"
    sure = pairs_with([20.0] * 50 + [-20.0] * 50)
    error, low, high, n = calibration_error(sure, 0)
    assert error == pytest.approx(0.5, abs=1e-6)
    assert low < error < high
    assert n == 100
    assert [one["pairs"] for one in calibration(pairs_with([1.0, 2.0, 0.0]))] == [1, 1, 1]
    assert calibration(pairs_with([0.0]))[0] == {"confidence": 0.5, "right": 0.5, "pairs": 1}


def test_pairs_of_like_length_and_of_each_source_are_told_apart():
    near, far = pairs_with([1], worse_length=9), pairs_with([1], worse_length=8)
    assert length_matched([*near, *far]) == near
    two = [*pairs_with([1, 2], source="b"), *pairs_with([3], source="a")]
    assert {name: len(pairs) for name, pairs in by_source(two).items()} == {"a": 1, "b": 2}
    assert by_source(pairs_with([1, 2], source="a")) == {}
    assert by_source([pairs_with([1], source=str(i))[0] for i in range(13)]) == {}


def test_agreement_is_given_for_each_source(inputs, tmp_path):
    sft, preferences = inputs
    mixed = tmp_path / "preferences"
    shutil.copytree(preferences, mixed)
    rows = [json.loads(line) for line in (mixed / "heldout.jsonl").read_text().splitlines()]
    text = "".join(json.dumps({**row, "source": ("GPT-4", "people")[i % 2]}) + "\n" for i, row in enumerate(rows))
    (mixed / "heldout.jsonl").write_text(text)
    metrics = run(make_job(tmp_path / "out", sft, mixed, {**TRAINER, "max_steps": 2}))
    assert (metrics["agreement_gpt_4_n"], metrics["agreement_people_n"]) == (16, 16)


def test_the_model_loads_with_plain_transformers_and_holds_no_pickle(trained):
    job, _ = trained
    model = AutoModelForSequenceClassification.from_pretrained(job.out / "model")
    tokenizer = AutoTokenizer.from_pretrained(job.out / "model")
    assert model.config.num_labels == 1
    assert model.config.pad_token_id == tokenizer.pad_token_id is not None
    assert tokenizer.chat_template
    files = {path.name for path in (job.out / "model").iterdir()}
    assert "model.safetensors" in files
    assert not {name for name in files if name.endswith((".bin", ".pt", ".pkl"))}


def test_padding_and_its_side_do_not_change_a_score(trained):
    job, metrics = trained
    model = AutoModelForSequenceClassification.from_pretrained(job.out / "model")
    pad = model.config.pad_token_id
    sequences = [[5, 6, 7, 2], [9] * 40 + [2], [4, 2]]
    alone = [score(model, [ids], pad)[0] for ids in sequences]
    for side in ("left", "right"):
        assert score(model, sequences, pad, side=side) == pytest.approx(alone, abs=1e-5)
    assert max(alone) - min(alone) > 1e-3, "equal scores would hide a wrong position"
    assert metrics["padding_difference"] < 1e-4


def test_a_model_that_reads_the_wrong_position_shows_as_padding_difference(trained):
    job, _ = trained
    model = AutoModelForSequenceClassification.from_pretrained(job.out / "model")
    model.config.pad_token_id = 7  # a token that is never there: then the last column is read, padding or not
    assert padding_difference(model, [[5, 6, 9, 2], [9] * 40 + [2]], pad_id=3) > 1e-3


def test_no_gold_file_means_accuracy_by_label_only(inputs, tmp_path):
    sft, _ = inputs
    preferences = save_toy_preferences(tmp_path / "preferences")
    (preferences / "gold.jsonl").unlink()
    job = make_job(tmp_path / "out", sft, preferences, {**TRAINER, "num_train_epochs": 1}, max_pairs=20)
    metrics = run(job)
    assert metrics["pairs"] == 20
    assert "accuracy_gold" not in metrics
    assert metrics["accuracy_longer"] + metrics["accuracy_shorter"] == pytest.approx(1)
    assert json.loads((job.out / "margins.json").read_text())["order"] == "label"


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
    checkpoints = [path.relative_to(whole.out) for path in (whole.out / "resume").rglob("checkpoint-9")]
    assert len(checkpoints) == 1
    shutil.copytree(whole.out / checkpoints[0], killed.out / checkpoints[0])
    metrics = run(killed)
    weights = [(job.out / "model" / "model.safetensors").read_bytes() for job in (whole, killed)]
    assert weights[0] == weights[1]
    assert metrics["pairs"] == 96
    log = [json.loads(line)["step"] for line in (killed.out / "log.jsonl").read_text().splitlines()]
    assert log == [json.loads(line)["step"] for line in (whole.out / "log.jsonl").read_text().splitlines()]


def pair(better, worse, lengths=(3, 3), prompt="p"):
    return ScoredPair(
        prompt=prompt, better_reward=better, worse_reward=worse, better_length=lengths[0], worse_length=lengths[1]
    )


def test_accuracy_counts_prompts_and_halves_ties():
    pairs = [pair(1, 0, (5, 3)), pair(0, 1, (5, 3)), pair(2, 1, (3, 5), "q"), pair(1, 1, (4, 4), "r")]
    result = accuracies(pairs, seed=0)
    assert result["reward"][0] == pytest.approx((0.5 + 1 + 0.5) / 3)
    assert result["longer"][0] == pytest.approx((1 + 0 + 0.5) / 3)
    assert result["shorter"][0] == pytest.approx((0 + 1 + 0.5) / 3)
    assert result["reward"][3] == 3
    assert margins(pairs, bins=2) == {"edges": [-1.0, 0.0, 1.0], "counts": [1, 3]}


def test_the_true_order_undoes_label_noise_and_leaves_out_near_ties():
    class Encoded:
        prompt_ids, source = (1, 2), "gold"

        def __init__(self, name):
            self.id, self.chosen_ids, self.rejected_ids = name, [1, 2, 3], [1]

    gold = {"right": (0.9, 0.2), "swapped": (0.2, 0.9), "near": (0.5, 0.55), "edge": (0.3, 0.2)}
    judged = true_order([Encoded(name) for name in gold], [1.0, 0.0] * 4, gold)
    assert [(p.better_reward, p.better_length) for p in judged] == [(1.0, 3), (0.0, 1), (1.0, 3)]


def test_a_pad_token_that_ends_turns_is_refused(tmp_path):
    save_toy_model(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    tokenizer.pad_token = "<|im_end|>"
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(UserError, match=r"pad token is '<\|im_end\|>'.*other than the end of a turn"):
        load_tokenizer(tmp_path)


def test_without_a_clear_gold_difference_there_is_no_accuracy_gold(inputs, tmp_path, caplog):
    sft, _ = inputs
    preferences = save_toy_preferences(tmp_path / "preferences", num_pairs=8, num_heldout=4)
    rows = [json.loads(line) for line in (preferences / "gold.jsonl").read_text().splitlines()]
    text = "".join(json.dumps({**row, "chosen_gold": 0.5, "rejected_gold": 0.5}) + "\n" for row in rows)
    (preferences / "gold.jsonl").write_text(text)
    metrics = run(make_job(tmp_path / "out", sft, preferences, {**TRAINER, "num_train_epochs": 1}))
    assert "accuracy_gold" not in metrics
    assert metrics["accuracy_n"] == metrics["accuracy_longer_n"] == 4
    assert "no held-out pair has gold scores 0.1 apart" in caplog.text


@pytest.mark.parametrize(
    ("trainer", "message"),
    [
        ({"learning_rat": 1e-3}, "Did you mean 'learning_rate'"),
        ({"learning_rate": "1e-3"}, "takes float here, not str"),
        ({"output_dir": "here"}, "'output_dir' cannot be given here"),
    ],
)
def test_trainer_keys_are_checked_before_anything_starts(trainer, message):
    with pytest.raises(UserError, match=message):
        validate(Recipe, {"trainer": trainer}, "reward.yaml")


def test_scores_come_back_in_the_given_order():
    class Length(torch.nn.Module):
        device = "cpu"

        def forward(self, input_ids, attention_mask, use_cache):
            return type("Output", (), {"logits": attention_mask.sum(1, keepdim=True).float()})

    assert score(Length(), [[1] * n for n in (5, 2, 9, 1)], pad_id=0, batch_size=2) == [5, 2, 9, 1]


def encoded(prompt, chosen, rejected):
    return EncodedPair(id=f"{prompt}{chosen}{rejected}", prompt_ids=prompt, chosen_ids=chosen, rejected_ids=rejected)


PAIRS = [
    encoded([5, 6], [7, 2], [8, 9, 2]),
    encoded([4], [9, 2], [7, 2]),
    encoded([5, 6], [8, 9, 2], [9, 2]),
    encoded([5, 6], [7, 2], [9, 2]),
]


def test_pairs_of_one_prompt_share_its_answers():
    first, second = group_pairs(PAIRS)
    assert first.sequences == [[5, 6, 7, 2], [5, 6, 8, 9, 2], [5, 6, 9, 2]]
    assert (first.chosen, first.rejected) == ([0, 1, 0], [1, 2, 2])
    assert second.sequences == [[4, 9, 2], [4, 7, 2]], "an equal answer to another prompt is another sequence"
    assert first.row()["length"] == 5


def test_groups_are_taken_whole_up_to_the_wanted_number_of_pairs():
    groups = group_pairs(PAIRS)
    assert sorted(len(g.chosen) for g in sample_groups(groups, None, "a")) == [1, 3]
    orders = {tuple(len(g.chosen) for g in sample_groups(groups, None, str(seed))) for seed in range(20)}
    assert orders == {(1, 3), (3, 1)}
    for seed in range(20):
        taken = [len(g.chosen) for g in sample_groups(groups, 1, str(seed))]
        assert taken in ([1], [3]), "the group that reaches the number is the last"


def test_the_loss_of_groups_is_the_loss_of_their_pairs(inputs, tmp_path):
    sft, _ = inputs
    tokenizer = AutoTokenizer.from_pretrained(sft / "model")
    settings = {"output_dir": str(tmp_path), "use_cpu": True, "bf16": False, "report_to": "none", "seed": 0}
    plain = [{"chosen_ids": p.prompt_ids + p.chosen_ids, "rejected_ids": p.prompt_ids + p.rejected_ids} for p in PAIRS]
    grouped = [group.row() for group in group_pairs(PAIRS)]
    losses = []
    for kind, rows, keys in (
        (RewardTrainer, plain, {}),
        (GroupedRewardTrainer, grouped, {"data_collator": GroupCollator(tokenizer.pad_token_id)}),
    ):
        torch.manual_seed(0)  # for the new head
        trainer = kind(
            model=str(sft / "model"), args=RewardConfig(**settings), train_dataset=Dataset.from_list(rows),
            processing_class=tokenizer, **keys,
        )  # fmt: skip
        losses.append(trainer.compute_loss(trainer.model, trainer.data_collator(rows)).item())
    assert losses[0] == pytest.approx(losses[1], abs=1e-6)
    assert abs(losses[0] - math.log(2)) > 1e-4, "equal scores would hide a wrong order"
