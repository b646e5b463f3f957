"""docs/scale.md says what the planner says."""

import json
from pathlib import Path

import pytest

from pipeline.corpus import near
from pipeline.plan import scale, traffic
from pipeline.plan.__main__ import main

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
    volumes = {
        engine: traffic.sent(model, engine, "bfloat16", many, 1) / (2 * model.total) for engine in scale.ENGINES
    }
    assert volumes == pytest.approx({"ddp": 2, "zero1": 2, "zero2": 2, "zero3": 3}, rel=1e-4)
    assert traffic.sent(model, "ddp", "autocast", 1, 1) == 0


def test_what_is_sent_grows_with_the_micro_batches_as_the_engine_exchanges_them():
    """By hand, four devices in a ring and W = 2 bytes a parameter: each call sends 3/4 W. DDP all-reduces (two calls)
    and ZeRO-1 scatters and gathers once a step; ZeRO-2 scatters 8 times and gathers once; ZeRO-3 has 8 x 3 calls."""
    model = scale.counted("125M")
    calls = {engine: traffic.sent(model, engine, "bfloat16", 4, 8) / (1.5 * model.total) for engine in scale.ENGINES}
    assert calls == pytest.approx({"ddp": 2, "zero1": 2, "zero2": 9, "zero3": 24})
    assert traffic.sent(model, "ddp", "autocast", 4, 8) == 2 * traffic.sent(model, "ddp", "bfloat16", 4, 8)


@pytest.mark.parametrize(("micro", "column"), [(32, -2), (4, -1)])
def test_the_page_s_volumes_and_checkpoints_are_those_that_the_command_prints(tmp_path, capsys, micro, column):
    """The command's own way, from a recipe's pretrain.yaml, for the page's 7B on 64 devices at one and eight parts."""
    (tmp_path / "pretrain.yaml").write_text(
        "model: {model_type: llama, hidden_size: 4096, intermediate_size: 11008, num_hidden_layers: 32, "
        "num_attention_heads: 32, vocab_size: 32000}\n"
        f"context: 2048\nbatch_size: 2048\nmicro_batch_size: {micro}\nsteps: 10\noptimizer: adamw\n"
    )
    asked = ["--recipe", str(tmp_path), "--hardware", "h100", "--gpus", "64", "--disk", "5", "--json"]
    assert main(asked) == 0
    plan = json.loads(capsys.readouterr().out)
    page = [line.split(" | ") for line in PAGE.read_text().splitlines()]
    for one in plan["splits"]:
        (row,) = [row for row in page if row[0] == f"| {scale.ENGINE_NAMES[one['engine']]}"]
        assert row[column].removesuffix(" |") == f"{one['sent'] / 1e9:.0f} GB, {one['sent_seconds']:.2f} s"
        assert row[1:5] == [
            f"{one['memory'][part] / 1e9:.1f}" for part in ("weights", "gradients", "optimizer", "copies")
        ]
    (row,) = [row for row in page if row[0] == "| 7B" and row[1].endswith(" GB") and len(row) == 5]
    written = plan["checkpoint"]
    assert (row[1], row[3]) == (f"{written['bytes'] / 1e9:.1f} GB", f"{written['seconds']:.1f} s")


def test_a_page_is_filled_in_place(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- table: checkpoints -->\nold\n<!-- end -->\nafter\n")
    assert scale.main(["--write", str(page)]) == 0
    text = page.read_text()
    assert "old" not in text
    assert text.startswith("before\n<!-- table: checkpoints -->\n| parameters | a checkpoint |")
    assert text.endswith("|\n<!-- end -->\nafter\n")
