"""The table of the chat model and what was aligned from it, and which way each metric is better."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from pipeline.better import sense, word
from pipeline.evaluate.results import METRICS
from pipeline.report import figure
from pipeline.report.aligned import side_by_side
from pipeline.report.read import stages
from pipeline.report.recipe import STAGE
from tests.test_report import report, toy_run

FIGURES = {  # model -> metric -> value
    "pretrain": {"bits_per_byte": 0.9},
    "sft": {"gold": 0.880, "length_mean": 117.0, "bits_per_byte": 1.0, "bits_per_byte_web": 1.1},
    "dpo": {"gold": 0.917, "length_mean": 121.0, "bits_per_byte": 1.1, "win_rate_sft": 0.61},
    "ppo": {"gold": 0.923, "length_mean": 117.5, "bits_per_byte": 1.0, "win_rate_sft": 0.505},
}
CHANGES = [
    ("dpo", "gold", 0.037, 0.02), ("dpo", "bits_per_byte", 0.1, 0.01), ("dpo", "length_mean", 4.0, 1.0),
    ("ppo", "gold", 0.043, 0.02), ("ppo", "bits_per_byte", 0.001, 0.01), ("ppo", "length_mean", 0.5, 1.0),
]  # fmt: skip


def evaluated(inputs: dict[str, Path]) -> dict[str, Path]:
    """The toy run with PPO evaluated beside SFT and DPO, and a KL that DPO measured with its interval."""

    def row(stage: str, metric: str, value: float, reach: float) -> dict[str, Any]:
        return {"stage": stage, "metric": metric, "value": value, "low": value - reach, "high": value + reach, "n": 80}

    results = {
        "rows": [row(stage, metric, v, 0.02) for stage, found in FIGURES.items() for metric, v in found.items()],
        "differences": [{**row(*change), "versus": "sft"} for change in CHANGES],
        "samples": [{"prompt": "Tell of a fox.", "answers": {name: f"{name} tells of it" for name in FIGURES}}],
        "titles": {"win_rate_sft": "win rate against sft"},
        "over": {"gold": "prompts"},
    }
    (inputs["evaluate"] / "results.json").write_text(json.dumps(results))
    told = inputs["dpo"] / "manifest.json"
    manifest = json.loads(told.read_text())
    manifest["metrics"] |= {"kl": 4.5, "kl_low": 4.1, "kl_high": 5.0, "kl_n": 96}
    told.write_text(json.dumps(manifest))
    return inputs


def test_aligned_models_stand_beside_the_chat_model_with_intervals_kl_and_length(tmp_path):
    inputs = evaluated(toy_run(tmp_path, leave_out=("grpo",)))
    drawn = side_by_side(stages(inputs, STAGE.reads))
    assert drawn["columns"] == ["sft", "dpo", "ppo"] and drawn["evaluated"]
    rows = {row["title"]: row["cells"] for row in drawn["rows"]}
    verdicts = {title: [cell and cell["verdict"] for cell in cells] for title, cells in rows.items()}
    assert verdicts == {
        "Gold judge's score (mean)": [None, "better", "better"],
        "Bits per byte, lower is better (held-out text)": [None, "worse", "within noise"],
        "Words an answer (mean)": [None, "higher", "within noise"],
        "Win rate against sft": [None, "better", "within noise"],
        "KL to the chat model, nats an answer": [None, None, None],
    }
    chat, dpo, ppo = rows["KL to the chat model, nats an answer"]
    assert (chat["value"], dpo["value"], dpo["low"], dpo["n"], ppo["value"]) == (0.0, 4.5, 4.1, 96, 1.6)
    text, _ = report(tmp_path, inputs)
    section = re.search(r'<section id="aligned">.*?</section>', text, re.DOTALL)[0]
    assert "SFT, DPO, PPO side by side" in section and '<a href="#answers">' in section
    assert '4.500 <span class="n">[4.100, 5.000] n 96</span>' in section
    assert '121.000 <span class="n">[120.980, 121.020] n 80</span>' in section and "</span> higher</span>" in section
    answers = text.partition('id="answers"')[2]
    assert all(f"{name} tells of it" in answers for name in ("sft", "dpo", "ppo"))


def test_without_an_evaluation_the_table_says_what_it_lacks_and_without_alignment_there_is_none(tmp_path):
    inputs = toy_run(tmp_path, leave_out=("evaluate", "grpo"))
    text, _ = report(tmp_path, inputs)
    assert "The run evaluated no model, so only what the stages measured of themselves is here." in text
    assert text.count('<th scope="row">') == 1
    found = stages({name: inputs[name] for name in inputs if name not in ("dpo", "ppo")}, STAGE.reads)
    assert side_by_side(found) is None


@pytest.mark.parametrize(
    ("metric", "over", "way"),
    [
        ("gold", "prompts", 1), ("win_rate_sft_equal_length", "prompts", 1), ("arc_easy_acc_norm", "arc_easy", 1),
        ("mmlu_pro_exact_match_strict", "mmlu-pro", 1), ("refused", "harmful", 1),
        ("over_refused", "harmless", -1), ("bits_per_byte_web", "documents_web", -1), ("toxic_any", "", -1),
        ("lambada_perplexity", "lambada", -1), ("arc_easy_calibration_error", "arc_easy", -1),
        ("length_mean", "prompts", 0), ("continuation_words", "continuations", 0), ("goldfish", "", 0),
    ],
)  # fmt: skip
def test_which_way_a_metric_is_better_is_known_from_its_name(metric, over, way):
    assert sense(metric, over) == way


def test_every_metric_that_all_recipes_can_have_has_a_better_side_but_the_length():
    assert [metric for metric in METRICS if sense(metric) == 0] == ["length_mean"]


@pytest.mark.parametrize(
    ("low", "high", "way", "words"),
    [
        (0.1, 0.3, 1, "better"), (0.1, 0.3, -1, "worse"), (-0.3, -0.1, 1, "worse"), (-0.3, -0.1, -1, "better"),
        (0.1, 0.3, 0, "higher"), (-0.3, -0.1, 0, "lower"), (-0.1, 0.3, 1, "within noise"), (0, 0, 0, "within noise"),
    ],
)  # fmt: skip
def test_a_difference_is_called_better_or_worse_only_beyond_noise(low, high, way, words):
    assert word(low, high, way) == words
    (row,) = figure.differences([{"name": "x", "value": (low + high) / 2, "low": low, "high": high, "way": way}])
    assert row["verdict"] == words and row["colour"] == int(words == "within noise")


def test_the_page_says_which_differences_are_better_and_worse_in_words(tmp_path):
    text, _ = report(tmp_path, evaluated(toy_run(tmp_path)))
    section = re.search(r'<section id="differences">.*?</section>', text, re.DOTALL)[0]
    said = re.findall(r'class="verdict [a-z-]+"><span aria-hidden="true">(.)</span> ([a-z ]+)</span>', section)
    # PPO, the last, first.
    assert said == [
        ("▲", "better"), ("≈", "within noise"), ("≈", "within noise"),
        ("▲", "better"), ("▼", "worse"), ("◆", "higher"),
    ]  # fmt: skip
