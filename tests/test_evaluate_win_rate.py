"""Win rates by the reward model and by a judge model; at equal length against a regression of another library."""

import json
import shutil

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from transformers import LlamaForSequenceClassification

from pipeline.evaluate.models import Candidate
from pipeline.evaluate.outside import identity
from pipeline.evaluate.recipe import Judge, Recipe
from pipeline.evaluate.run import run
from pipeline.evaluate.win_rate import RIDGE, LengthControlled, controlled, squashed
from pipeline.judging import language_model
from pipeline.stage import Job, UserError
from tests.test_evaluate import story_rows
from tests.toy_evaluate import save_toy_stages
from tests.toy_judge import server, sides
from tests.toy_pairs import save_toy_model


def slowly(wins: list[float], x: np.ndarray) -> float:
    """The same penalised likelihood, maximised by torch's L-BFGS."""
    w = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    y, inputs = torch.tensor(wins, dtype=torch.float64), torch.tensor(x)
    optimizer = torch.optim.LBFGS([w], max_iter=200, tolerance_grad=1e-12, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        logits = w[0] + w[1] * inputs
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, y, reduction="sum")
        loss = loss + RIDGE / 2 * (w**2).sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    return float(torch.sigmoid(w.detach()[0]))


def test_the_rate_at_equal_length_is_the_regressions():
    rng = np.random.default_rng(0)
    for _ in range(5):
        longer = rng.normal(10, 20, 60)
        wins = rng.choice([0.0, 0.5, 1.0], 60).tolist()
        x = squashed(longer)
        assert controlled(np.array([wins]), x[None])[0] == pytest.approx(slowly(wins, x), abs=1e-6)


def test_wins_by_length_alone_are_no_wins_at_equal_length():
    longer = [30.0] * 60 + [-30.0] * 30 + [0.0] * 10
    wins = [1.0] * 60 + [0.0] * 30 + [0.5] * 10
    found = LengthControlled(values=wins, longer=longer).figure(0)
    assert np.mean(wins) == 0.65 and found["value"] == pytest.approx(0.5, abs=0.1) and found["n"] == 100
    always = LengthControlled(values=[1.0] * 40, longer=[0.0] * 40).figure(0)
    assert 0.95 < always["low"] <= always["value"] < 1


def stages(tmp_path, names=("sft", "dpo")):
    inputs = save_toy_stages(tmp_path, story_rows(), stages=names)
    folder = save_toy_model(tmp_path / "reward" / "model", seed=7)
    LlamaForSequenceClassification.from_pretrained(folder, num_labels=1).save_pretrained(folder)
    return {**inputs, "reward": tmp_path / "reward"}


def judged(out, inputs) -> dict[str, float]:
    out.mkdir(exist_ok=True)
    recipe = Recipe(num_prompts=6, max_new_tokens=10, win_rate="reward")
    return run(Job(stage="evaluate", recipe=recipe, out=out, inputs=inputs, seed=0, run_name="toy"))


def test_the_reward_model_compares_chat_models_with_sft(tmp_path):
    metrics = judged(tmp_path / "out", stages(tmp_path))
    assert metrics["dpo_win_rate_sft_n"] == metrics["dpo_win_rate_sft_equal_length_n"] == 6
    apart = metrics["dpo_reward"] - metrics["sft_reward"]
    assert metrics["dpo_minus_sft_reward"] == pytest.approx(apart)
    assert metrics["dpo_win_rate_sft"] * 6 % 0.5 == pytest.approx(0)
    assert "sft_win_rate_sft" not in metrics and "pretrain_reward" not in metrics


@pytest.mark.parametrize(
    ("names", "drop", "message"),
    [
        (("sft", "dpo"), "reward", "needs the run's reward model"),
        (("sft",), None, "compares chat models with sft, and the run has sft"),
    ],
)
def test_what_a_win_rate_lacks_is_said(tmp_path, names, drop, message):
    inputs = {key: folder for key, folder in stages(tmp_path, names).items() if key != drop}
    with pytest.raises(UserError, match=message):
        judged(tmp_path / "out", inputs)


def judging(out, inputs, **keys):
    """The metrics and results of an evaluation with a judge model. A second call over one `out` finds its replies."""
    out.mkdir(exist_ok=True)
    recipe = Recipe(num_prompts=6, max_new_tokens=10, num_heldout_documents=2, judge=Judge(rubric="Length.", **keys))
    metrics = run(Job(stage="evaluate", recipe=recipe, out=out, inputs=inputs, seed=0, run_name="toy"))
    return metrics, json.loads((out / "results.json").read_text())


def longest(body, headers):
    a, b = (len(answer.split()) for answer in sides(body))
    return 200, "Verdict: tie" if a == b else "Verdict: A" if a > b else "Verdict: B"


def test_a_judge_model_is_asked_in_both_orders_and_ties_count_half(tmp_path):
    inputs = stages(tmp_path, ("pretrain", "sft", "dpo"))
    calls = []

    def counted(body, headers):
        calls.append(1)
        return longest(body, headers)

    with server(counted) as url:
        metrics, results = judging(tmp_path / "out", inputs, model="longest", url=url)
        again, _ = judging(tmp_path / "out", inputs, model="longest", url=url)
    answers = [(len(s["answers"]["dpo"].split()), len(s["answers"]["sft"].split())) for s in results["samples"]]
    expected = np.mean([(np.sign(a - b) + 1) / 2 for a, b in answers])
    assert 0 < expected < 1, "the toy answers differ in length both ways, or the test tells nothing"
    assert metrics["dpo_judged_win_rate_sft"] == pytest.approx(expected)
    assert metrics["dpo_judged_win_rate_sft_n"] == metrics["dpo_judged_win_rate_sft_equal_length_n"] == 6
    assert metrics["dpo_judge_agreement"] == 1.0 and "sft_judged_win_rate_sft" not in metrics
    assert "pretrain_judged_win_rate_sft" not in metrics, "a base model does not answer"
    assert again == metrics and len(calls) == 2 * 6, "no question is asked, or paid for, twice"
    settings = results["settings"]["judge"]
    assert settings == {
        "model": "longest", "versus": "sft", "pairs": 6, "tie": settings["tie"], "disagreed": 0, "refused": 0,
        "same answer": 0,
    }  # fmt: skip
    told = {sample["verdict"] for sample in results["judge_samples"]}
    assert (
        told <= {"dpo against sft: dpo wins", "dpo against sft: sft wins", "dpo against sft: a tie"} and len(told) > 1
    )
    assert set(results["judge_samples"][0]["answers"]) == {"sft", "dpo"}


@pytest.mark.parametrize(
    ("reply", "rate", "agreement", "note"),
    [
        ("Verdict: A", 0.5, 0.0, None),  # whatever stands first: no win for anybody
        ("I would rather not.", None, None, "**judge model**: gave no verdict on 4 of 4 pairs, left out."),
    ],
)
def test_a_judge_that_goes_by_place_or_refuses_wins_for_nobody(tmp_path, reply, rate, agreement, note):
    inputs = stages(tmp_path, ("sft", "dpo"))
    with server(lambda body, headers: (200, reply)) as url:
        metrics, _ = judging(tmp_path / "out", inputs, model="m", url=url, versus="dpo", num_prompts=4)
    assert metrics.get("sft_judged_win_rate_dpo") == rate and metrics.get("sft_judge_agreement") == agreement
    assert (note in (tmp_path / "out" / "table.md").read_text()) if note else metrics["sft_judge_agreement_n"] == 4


def test_a_local_model_judges_and_equal_answers_are_a_tie_without_a_question(tmp_path, monkeypatch):
    inputs = stages(tmp_path, ("sft",))
    inputs["dpo"] = tmp_path / "dpo"
    shutil.copytree(inputs["sft"], inputs["dpo"])
    monkeypatch.setattr(language_model, "generate", lambda *told, **keys: pytest.fail("nothing was to be asked"))
    metrics, results = judging(tmp_path / "out", inputs, model=str(inputs["sft"] / "model"))
    assert metrics["dpo_judged_win_rate_sft"] == 0.5 and "dpo_judge_agreement" not in metrics
    assert results["settings"]["judge"]["same answer"] == 6
    shutil.rmtree(inputs["dpo"])
    inputs["dpo"] = save_toy_model(tmp_path / "dpo" / "model", seed=2).parent
    monkeypatch.setattr(language_model, "generate", lambda m, t, asked, **k: [t.encode("Verdict: tie") for _ in asked])
    monkeypatch.setattr(language_model, "window", lambda model: None)
    metrics, results = judging(tmp_path / "out", inputs, model=str(inputs["sft"] / "model"))
    assert metrics["dpo_judged_win_rate_sft"] == 0.5 and metrics["dpo_judge_agreement"] == 1.0


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"versus": "ppo"}, "judge compares chat models with ppo, and the run has sft"),
        ({"key_env": "NO_SUCH_KEY"}, "environment variable NO_SUCH_KEY is not set"),
    ],
)
def test_what_a_judge_lacks_is_said_before_anything_is_measured(tmp_path, monkeypatch, keys, message):
    inputs = stages(tmp_path, ("sft", "dpo"))
    monkeypatch.setattr(Candidate, "load", lambda self: pytest.fail("a model was loaded"))
    with pytest.raises(UserError, match=message):
        judging(tmp_path / "out", inputs, model="m", url="http://127.0.0.1:9/v1", **keys)


def test_a_judging_folder_is_part_of_the_fingerprint(tmp_path):
    recipe = Recipe(judge=Judge(rubric="x", model=str(tmp_path / "model")))
    with pytest.raises(UserError, match=r"judge\.model = .*there is nothing at"):
        identity(recipe)
    save_toy_model(tmp_path / "model")
    before = identity(recipe)
    (tmp_path / "model" / "config.json").write_text("{}")
    assert before != identity(recipe)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"answers": None, "win_rate": "reward"}, "win_rate would be ignored"),
        ({"answers": None, "judge": Judge(rubric="x", model="./m")}, "judge would be ignored"),
        (
            {"num_prompts": 5, "judge": Judge(rubric="x", model="./m", num_prompts=9)},
            "only num_prompts = 5 are answered",
        ),
    ],
)
def test_a_win_rate_without_answers_is_refused(keys, message):
    with pytest.raises(ValidationError, match=message):
        Recipe(**keys)
