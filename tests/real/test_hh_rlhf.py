"""The chain of recipes/hh-rlhf by the driver, with a local model and local transcripts in place of the Hub's."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from transformers import AutoModelForCausalLM

from pipeline.chain import CHAIN
from pipeline.recipe import load
from tests.toy_pairs import save_toy_model, write_jsonl

ROOT = Path(__file__).resolve().parent.parent.parent
STAGES = ("sft", "preferences", "reward", "ppo")
SMALL = {
    "total_episodes": 24, "batch_size": 12, "micro_batch_size": 6, "num_mini_batches": 2, "max_completion_length": 10,
}  # fmt: skip


def transcript(index: int, answer: str) -> str:
    return f"\n\nHuman: fox {index}\n\nAssistant: which\n\nHuman: the lake\n\nAssistant: {answer}"


@pytest.mark.real
@pytest.mark.timeout(600)
def test_people_s_choices_go_through_sft_reward_and_ppo(tmp_path):
    rows = [
        {"chosen": transcript(i, "kite and home" + " and owl" * (i % 3)), "rejected": transcript(i, "lake")}
        for i in range(60)
    ]
    write_jsonl(tmp_path / "train.jsonl", rows[:50])
    write_jsonl(tmp_path / "test.jsonl", rows[50:])
    save_toy_model(tmp_path / "base")
    shipped = load("hh-rlhf", CHAIN).own
    assert set(shipped) == {*STAGES, "report"}
    keys = {stage: shipped[stage].given() for stage in STAGES}
    keys["sft"]["model"] = {"id": str(tmp_path / "base"), "chat_template": "chatml"}
    table = {"path": str(tmp_path / "train.jsonl"), "format": "transcripts"}
    keys["sft"]["data"] |= {"sources": [{**table, "columns": {"transcript": "chosen"}}], "heldout": 0.2}
    keys["preferences"] |= {"dataset": table, "heldout": 0.2}
    keys["ppo"]["prompts"] = {**table, "path": str(tmp_path / "test.jsonl"), "columns": {"transcript": "chosen"}}
    keys["ppo"]["trainer"] |= SMALL
    (tmp_path / "mini").mkdir()
    for stage in STAGES:
        (tmp_path / "mini" / f"{stage}.yaml").write_text(yaml.safe_dump(keys[stage]))
    for stage in STAGES:
        done = subprocess.run(
            [sys.executable, "-m", "pipeline.run", stage, "--recipe", str(tmp_path / "mini"), "--runs", str(tmp_path)],
            cwd=ROOT, capture_output=True, text=True, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    run = tmp_path / "mini"
    AutoModelForCausalLM.from_pretrained(run / "ppo" / "model")
    sealed = {stage: json.loads((run / stage / "manifest.json").read_text())["metrics"] for stage in STAGES}
    assert sealed["ppo"]["prompts"] == 10 and sealed["ppo"]["steps"] == 2
    assert sealed["preferences"]["pairs_train"] + sealed["preferences"]["pairs_heldout"] == 50
    (sample, *_) = [json.loads(line) for line in (run / "ppo" / "samples.jsonl").read_text().splitlines()]
    assert [message["role"] for message in sample["prompt"]] == ["user", "assistant", "user"]
