"""Win rates by the reward model, and at equal length against a regression that another library fits."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from transformers import LlamaForSequenceClassification

from pipeline.evaluate.recipe import Recipe
from pipeline.evaluate.run import run
from pipeline.evaluate.win_rate import RIDGE, LengthControlled, controlled, squashed
from pipeline.stage import Job, UserError
from tests.test_evaluate import story_rows
from tests.toy_evaluate import save_toy_stages
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


def test_a_win_rate_without_answers_is_refused():
    with pytest.raises(ValidationError, match="win_rate would be ignored"):
        Recipe(answers=None, win_rate="reward")
