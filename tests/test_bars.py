"""The gate tells a miss from noise."""

import pytest

from bench.bars import Bar, table, verdict

RATE = Bar(what="x", stage="s", metric="m", value=0.8)
LOSS = Bar(what="x", stage="s", metric="m", value=0.02, above=False)
GAIN = Bar(what="x", stage="s", metric="m", value=0.0, rate=False)


@pytest.mark.parametrize(
    ("bar", "value", "n", "said"),
    [
        (RATE, 0.81, 400, "reached"),
        (RATE, 0.76, 400, "below the bar, within noise"),
        (RATE, 0.73, 400, "missed"),
        (RATE, 0.73, None, "missed"),
        (LOSS, 0.019, 1000, "reached"),
        (LOSS, 0.03, 1000, "below the bar, within noise"),
        (LOSS, 0.04, 1000, "missed"),
        (GAIN, 0.01, 400, "reached"),
        (GAIN, 0.0, 400, "missed"),
        (GAIN, -0.01, 400, "missed"),
    ],
)
def test_a_bar_is_reached_missed_or_within_noise(bar, value, n, said):
    assert verdict(bar, value, n) == said


def test_an_absent_figure_is_a_miss(tmp_path):
    lines, missed = table(tmp_path)
    assert missed == len(lines) - 1 > 5


def test_a_bar_that_is_out_of_reach_so_far_is_shown_and_not_counted(tmp_path):
    lines, missed = table(tmp_path, not_yet=["sft_wishes_met"])
    assert missed == table(tmp_path)[1] - 1
    assert any("SFT, all wishes met" in line and "missed" in line for line in lines)
