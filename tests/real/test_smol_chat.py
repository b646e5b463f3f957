"""The chain of recipes/smol-chat by the driver, with a local model and local files in place of the Hub's."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from transformers import AutoModelForCausalLM, AutoTokenizer

from pipeline.chain import CHAIN
from pipeline.recipe import load
from tests.toy_pairs import pair_row, save_toy_model, write_jsonl

ROOT = Path(__file__).resolve().parent.parent.parent
STAGES = ("sft", "preferences", "dpo")


def drive(folder, stage):
    """The driver's exit status and what it said."""
    places = ["--recipe", str(folder / "mini"), "--runs", str(folder / "runs")]
    done = subprocess.run(
        [sys.executable, "-m", "pipeline.run", stage, *places],
        cwd=ROOT, capture_output=True, text=True, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    return done.returncode, done.stderr


@pytest.mark.real
@pytest.mark.timeout(600)
def test_a_hub_models_chain_runs_with_local_stand_ins_and_repeats_nothing(tmp_path):
    write_jsonl(tmp_path / "chats.jsonl", [{"messages": chat(i)} for i in range(60)])
    pairs = [
        pair_row(f"p{i}", f"fox {i}", "kite home" if i % 2 else "kite", "lake and owl"[: 4 + 8 * (i % 2)])
        for i in range(40)
    ]
    write_jsonl(tmp_path / "pairs.jsonl", pairs)
    save_toy_model(tmp_path / "base")
    shipped = load("smol-chat", CHAIN).own
    assert set(shipped) == {*STAGES, "report"}
    keys = {stage: shipped[stage].given() for stage in STAGES}
    keys["sft"]["model"] = {"id": str(tmp_path / "base"), "chat_template": "chatml"}
    keys["sft"]["data"] |= {"sources": [{"path": str(tmp_path / "chats.jsonl"), "weight": 0.9}], "heldout": 0.2}
    keys["preferences"] |= {"dataset": {"path": str(tmp_path / "pairs.jsonl")}, "heldout": 0.3}
    for stage in STAGES:
        (tmp_path / "mini").mkdir(exist_ok=True)
        (tmp_path / "mini" / f"{stage}.yaml").write_text(yaml.safe_dump(keys[stage]))
    for stage in STAGES:
        status, said = drive(tmp_path, stage)
        assert status == 0, said
    model = tmp_path / "runs" / "mini" / "dpo" / "model"
    AutoModelForCausalLM.from_pretrained(model)
    assert AutoTokenizer.from_pretrained(model).chat_template
    sealed = json.loads((model.parent / "manifest.json").read_text())
    assert {"kl", "length", "merge_logit_difference", "rewards_margins"} <= set(sealed["metrics"])
    assert "is up to date" in drive(tmp_path, "sft")[1]
    write_jsonl(tmp_path / "chats.jsonl", [{"messages": chat(i)} for i in range(61)])
    (tmp_path / "mini" / "dpo.yaml").unlink()
    status, said = drive(tmp_path, "preferences")
    assert status == 2, "its SFT model is no longer that of these chats"
    assert "was made by another recipe" in said


def chat(index):
    word = ("fox", "owl", "kite", "lake")[index % 4]
    return [{"role": "user", "content": f"{word} {index}"}, {"role": "assistant", "content": f"{word} and {word}"}]
