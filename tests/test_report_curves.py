"""The data of the report's curves: what shares a drawing, and that thinning keeps every peak."""

import math

import pytest

from pipeline.report.curves import MAX_POINTS, chart, charts, gold_over_kl, reward_over_kl, rounded, thinned
from pipeline.report.findings import series


def test_a_stages_log_becomes_one_drawing_for_each_kind_of_figure():
    log = [{"step": n, "loss": 1 / n, "grad_norm": 1.0, "learning_rate": 1e-3} for n in range(1, 21)]
    log.append({"step": 10, "eval_loss": 0.5})
    drawn = charts("sft", log)
    assert [one["title"] for one in drawn] == ["Loss", "Learning rate", "Gradient norm"]
    training, heldout = drawn[0]["lines"]
    assert drawn[0]["unit"] == "nats a token" and drawn[0]["x"] == list(range(1, 21))
    assert (training["name"], training["first"], training["last"]) == ("training", 1.0, 0.05)
    assert heldout["values"] == [None] * 9 + [0.5] + [None] * 10


def test_the_loss_of_a_stage_that_compares_answers_is_in_nats_a_pair():
    assert charts("reward", [{"step": 1, "loss": 0.7}])[0]["unit"] == "nats a pair"


def test_what_is_not_finite_or_no_number_is_left_out():
    log = [{"step": 1, "loss": math.nan}, {"step": 2, "loss": 2.0}, {"loss": 9.0}, {"step": 3, "loss": "high"}]
    assert series(log, "loss") == [(2, 2.0)]
    assert charts("sft", [{"step": 1, "loss": math.inf}]) == []


def test_thinning_keeps_the_ends_of_the_range_and_every_peak():
    points = [
        (float(step), 100.0 if step == 7777 else -5.0 if step == 3333 else math.sin(step)) for step in range(20_000)
    ]
    kept = thinned(points)
    assert len(kept) <= MAX_POINTS
    assert (7777.0, 100.0) in kept and (3333.0, -5.0) in kept
    assert kept == sorted(kept)
    assert thinned(points[:MAX_POINTS]) == points[:MAX_POINTS]


def test_the_legend_says_the_true_first_and_last_value_also_of_a_long_log():
    (line,) = chart("Loss", "", "step", {"training": [(float(n), 9.0 - n / 1000) for n in range(5000)]})["lines"]
    assert (line["first"], line["last"]) == (9.0, 9.0 - 4.999)


def test_reward_over_kl_is_coloured_by_thirds_of_the_training():
    log = [{"step": n, "score": n / 10, "kl": n / 5} for n in range(1, 10)]
    drawn = reward_over_kl(log)
    assert drawn["kind"] == "points" and drawn["x"] == [rounded(n / 5) for n in range(1, 10)]
    assert [line["name"] for line in drawn["lines"]] == ["first third", "second", "last third"]
    assert drawn["lines"][2]["values"] == [None] * 6 + [0.7, 0.8, 0.9]
    assert reward_over_kl(log[:2]) is None


@pytest.mark.parametrize(("value", "expected"), [(1234567.0, 1234600), (0.123456789, 0.12346), (3.0, 3), (0.0, 0)])
def test_numbers_in_the_page_have_as_many_digits_as_can_be_seen(value, expected):
    assert rounded(value) == expected


def test_the_gold_score_is_drawn_over_kl_with_its_interval():
    rows = [{"kl": kl, "gold": 0.9, "gold_low": 0.8, "gold_high": 0.95} for kl in (2.0, 1.0, 3.0)]
    drawn = gold_over_kl(rows)
    assert drawn["x"] == [1, 2, 3] and drawn["kind"] == "points"
    assert [(line["name"], line["values"]) for line in drawn["lines"]] == [
        ("gold score", [0.9] * 3), ("low", [0.8] * 3), ("high (95 %)", [0.95] * 3),
    ]  # fmt: skip
    assert gold_over_kl(rows[:2]) is None


def test_held_out_text_is_drawn_by_source_beside_the_whole():
    log = [
        {
            "step": 5,
            "heldout_bits_per_byte": 1.5,
            "heldout_bits_per_byte_web": 2.0,
            "heldout_bits_per_byte_books": 1.0,
        },
        {
            "step": 10,
            "heldout_bits_per_byte": 1.2,
            "heldout_bits_per_byte_web": 1.4,
            "heldout_bits_per_byte_books": 1.0,
        },
    ]
    (drawn,) = charts("pretrain", log)
    assert drawn["title"] == "Held-out text"
    assert {line["name"]: line["values"] for line in drawn["lines"]} == {
        "held-out": [1.5, 1.2], "books": [1, 1], "web": [2, 1.4],
    }  # fmt: skip


def test_no_two_of_many_lines_look_alike():
    names = [f"source {n}" for n in range(20)]
    lines = chart("Held-out text", "", "step", {name: [(0.0, 1.0)] for name in names})["lines"]
    assert len({(line["colour"], line["dash"]) for line in lines}) == 20
    assert [line["dash"] for line in lines[:5]] == [()] * 5 and lines[5]["colour"] == 0 and lines[5]["dash"]
