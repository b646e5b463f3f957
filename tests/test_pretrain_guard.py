"""What the guard lets pass: a table of losses, and a run in which one step goes wrong."""

import json
import math
import random

import pytest
import torch

from pipeline.pretrain import train as loop
from pipeline.pretrain.guard import NOT_FINITE, SPIKE, WINDOW, Guard, stuck
from tests.test_pretrain import assert_equal_weights, job, source, weights  # noqa: F401  (a fixture)


def steady(level: float = 2.0, noise: float = 0.1, number: int = WINDOW) -> list[float]:
    """Losses that wobble about a level."""
    rng = random.Random(0)
    return [level + rng.gauss(0, noise) for _ in range(number)]


@pytest.mark.parametrize(
    ("before", "loss", "norm", "fault"),
    [
        (steady(), 2.1, 1.0, None),
        (steady(), 2.5, 1.0, None),  # five sigma
        (steady(), 2.8, 1.0, SPIKE),
        (steady(), 200.0, 1.0, SPIKE),
        (steady(), 0.1, 1.0, None),  # far below is no harm
        (steady(number=WINDOW - 1), 200.0, 1.0, None),  # too few to judge by
        (steady(), math.nan, 1.0, NOT_FINITE),
        (steady(), math.inf, 1.0, NOT_FINITE),
        (steady(), 2.1, math.nan, NOT_FINITE),
        ([], 2.1, math.inf, NOT_FINITE),
    ],
)
def test_verdicts(before, loss, norm, fault):
    assert Guard(before).fault(loss, norm) == fault


def test_what_is_no_number_does_not_enter_the_window():
    guard = Guard(steady())
    guard.fault(math.nan, 1.0)
    assert len(guard.losses) == WINDOW and all(map(math.isfinite, guard.losses))


def test_a_new_level_costs_four_steps_and_is_then_an_ordinary_one():
    guard = Guard(steady())
    assert [guard.fault(loss, 1.0) for loss in steady(level=6.0, number=10)] == [SPIKE] * 4 + [None] * 6


@pytest.mark.parametrize(
    ("steps", "expected"), [([], False), ([4, 5], False), ([4, 5, 7], False), ([1, 5, 6, 7], True)]
)
def test_three_in_a_row(steps, expected):
    assert stuck(steps) is expected


def test_a_spike_is_left_out_counted_and_logged_and_the_weights_stay(source, tmp_path, monkeypatch):  # noqa: F811
    """The spike is the last step, so that the run must end with the weights of one that is a step shorter."""
    monkeypatch.setattr("pipeline.pretrain.guard.WINDOW", 4)
    monkeypatch.setattr(loop, "factor", lambda *_: 1.0)
    keys = {"evaluate_every": 1000, "checkpoint_every": 1000}
    loop.run(job(tmp_path / "short", source, steps=6, **keys))
    real, calls = loop.forward_backward, iter(range(100))
    monkeypatch.setattr(
        loop, "forward_backward", lambda *a: real(*a) * torch.tensor([100.0 if next(calls) == 6 else 1.0, 1, 1])
    )
    metrics = loop.run(job(tmp_path / "spike", source, steps=7, **keys))
    assert (metrics["skipped_spikes"], metrics["skipped_steps"]) == (1, 0)
    assert_equal_weights(weights(tmp_path / "spike"), weights(tmp_path / "short"))
    (line,) = [row for row in map(json.loads, (tmp_path / "spike" / "log.jsonl").open()) if "left_out" in row]
    assert line == {"step": 6, "left_out": "its loss is a spike", "first_row": 24, "last_row": 27}
