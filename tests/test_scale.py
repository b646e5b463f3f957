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
    rows = [line.split("|") for line in scale.published().splitlines()[2:]]
    ratios = {row[1].partition(",")[0].strip(): float(row[-2]) for row in rows}
    assert len(ratios) == 7
    assert {name for name, ratio in ratios.items() if abs(ratio - 1) >= 0.15} == {"LLaMA 13B"}


def test_the_shapes_are_those_of_the_papers():
    """Llama 2's 70B has 68.98 billion parameters (the published checkpoint's safetensors index), LLaMA's 13B 13.02."""
    assert scale.counted("70B").total == 68_976_648_192
    assert scale.counted("13B").total == 13_015_864_320


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
