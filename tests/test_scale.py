"""docs/scale.md says what the planner says."""

from pathlib import Path

import pytest

from pipeline.corpus import near
from pipeline.plan import scale

PAGE = Path(__file__).resolve().parent.parent / "docs" / "scale.md"


def test_the_page_is_what_the_planner_prints():
    text = PAGE.read_text()
    assert {found[2] for found in scale.PLACE.finditer(text)} == set(scale.TABLES)
    assert scale.filled(text) == text, "run: python -m pipeline.plan.scale --write docs/scale.md"


def test_published_runs_are_reproduced_within_15_percent():
    ratios = [float(line.split("|")[-2]) for line in scale.published().splitlines()[2:]]
    assert len(ratios) == 3
    assert all(abs(ratio - 1) < 0.15 for ratio in ratios)


def test_a_document_costs_what_the_deduplication_keeps_of_it():
    assert near.ROW.itemsize == scale.SIGNATURE


def test_what_is_sent_is_what_the_zero_paper_says():
    """Rajbhandari et al. 2020, section 7: 2 Psi for DDP, ZeRO-1 and 2, 3 Psi for ZeRO-3, on many devices."""
    model, many = scale.counted("7B"), 10**6
    volumes = {engine: scale.sent(model, engine, "bfloat16", many, 1) / (2 * model.total) for engine in scale.ENGINES}
    assert volumes == pytest.approx({"ddp": 2, "zero1": 2, "zero2": 2, "zero3": 3}, rel=1e-4)
    assert scale.sent(model, "ddp", "autocast", 1, 1) == 0


def test_a_page_is_filled_in_place(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- table: checkpoints -->\nold\n<!-- end -->\nafter\n")
    assert scale.main(["--write", str(page)]) == 0
    text = page.read_text()
    assert "old" not in text
    assert text.startswith("before\n<!-- table: checkpoints -->\n| parameters | a checkpoint |")
    assert text.endswith("|\n<!-- end -->\nafter\n")
