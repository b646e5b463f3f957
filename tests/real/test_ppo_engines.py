"""PPO in two real processes: ZeRO-2 and ZeRO-3 learn what DDP learns, with full weights, a critic of its own and an
adapter, and go on from a checkpoint where they were."""

import json
import shutil
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from tests.real.test_engines import ROOT, surroundings
from tests.test_ppo_trainer import save_reward_model
from tests.toy_pairs import save_toy_model

pytestmark = [pytest.mark.real, pytest.mark.timeout(900)]
WAYS = {"head": {}, "critic": {"value": "reward"}, "adapter": {"lora": True}}
EXACT = {"step", "episodes", "length", "ended", "score", "kl", "entropy"}

RANK = """
import json, sys
from pathlib import Path
from peft import LoraConfig
from tests.test_ppo_trainer import make, word_share
models, out, way = Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3])
trainer = make(
    (models / "policy", None), out, word_share, micro_batch_size=3,
    value_model=models / "reward" if way.get("value") else None,
    peft_config=LoraConfig(task_type="CAUSAL_LM", r=4, target_modules="all-linear") if way.get("lora") else None,
)
trainer.train(resume_from_checkpoint=True)
policy = trainer.policy()
if trainer.accelerator.is_main_process:
    merged = policy.merge_and_unload() if way.get("lora") else policy
    merged.save_pretrained(out / "model")
    engine = trainer.accelerator.distributed_type.value
    (out / "engine.json").write_text(json.dumps([engine, trainer.accelerator.num_processes]))
trainer.accelerator.wait_for_everyone()
"""


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    save_toy_model(folder / "policy")
    save_reward_model(folder / "reward", folder / "policy")
    return folder


def train(accel, extensions, models, out, way):
    """Two processes to the last step; returns the log and the trained policy's weights."""
    out.mkdir(exist_ok=True)
    (out / "rank.py").write_text(RANK)
    subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", out / "rank.py", models,
         out, json.dumps(WAYS[way])],
        cwd=ROOT, env=surroundings(accel, extensions), check=True, timeout=400,
    )  # fmt: skip
    log = [json.loads(line) for line in (out / "log.jsonl").open()]
    return log, load_file(out / "model" / "model.safetensors")


def far(one, other):
    """The largest distance of two policies' weights."""
    assert one.keys() == other.keys()
    return max(float((one[name] - other[name]).abs().max()) for name in one)


@pytest.mark.parametrize("way", WAYS)
def test_every_engine_learns_what_ddp_learns(way, extensions, models, tmp_path):
    log, weights = train("cpu_ddp2", extensions, models, tmp_path / "ddp", way)
    before = AutoModelForCausalLM.from_pretrained(models / "policy", dtype=torch.float32).state_dict()
    assert far({name: before[name] for name in weights}, weights) > 1e-3, "it was trained"
    for accel in ("cpu_zero2", "cpu_zero3"):
        found, other = train(accel, extensions, models, tmp_path / accel, way)
        assert json.loads((tmp_path / accel / "engine.json").read_text()) == ["DEEPSPEED", 2]
        assert len(found) == len(log) == 4
        for ours, theirs in zip(found, log, strict=True):
            assert ours["first_ratio_difference"] < 1e-5
            for key in EXACT | {"gradient_norm", "policy_loss", "value_loss"}:
                assert ours[key] == pytest.approx(theirs[key], abs=1e-4), key
        assert far(weights, other) < 1e-4
    # From a checkpoint in the middle.
    shutil.copytree(tmp_path / "cpu_zero3" / "step-2", tmp_path / "again" / "step-2")
    _, again = train("cpu_zero3", extensions, models, tmp_path / "again", way)
    assert far(again, other) < 1e-6
