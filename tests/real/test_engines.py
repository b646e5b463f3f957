"""Two real processes under DDP, ZeRO-2 and ZeRO-3 lose what one process loses, and a ZeRO run goes on where it was."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

from pipeline.launch import config, environment
from pipeline.pretrain import train as loop
from tests.test_pretrain import job, source  # noqa: F401  (a fixture)

ROOT = Path(__file__).resolve().parent.parent.parent
KEYS = {"steps": 20, "micro_batch_size": 1, "optimizer": "adamw", "evaluate_every": 10, "log_every": 1,
        "checkpoint_every": 8}  # fmt: skip
pytestmark = [pytest.mark.real, pytest.mark.timeout(900)]

RANK = """
import json, sys
from pathlib import Path
from pipeline.pretrain import train as loop
from tests.test_pretrain import job
keys, poisoned, stop = json.loads(sys.argv[3]), json.loads(sys.argv[4]), json.loads(sys.argv[5])
real, calls = loop.forward_backward, iter(range(1000))

def wrapped(*args):
    number = next(calls)
    if number == stop:
        raise SystemExit(7)
    return real(*args) * (float("nan") if number in poisoned else 1.0)

loop.forward_backward = wrapped
loop.run(job(Path(sys.argv[1]), Path(sys.argv[2]), **keys))
"""


def surroundings(accel, extensions):
    """The environment that the driver gives its worker processes."""
    given = {**environment(2, config(accel)), "OMP_NUM_THREADS": "1"}
    return {**given, "PYTHONPATH": str(ROOT), "TORCH_EXTENSIONS_DIR": str(extensions)}


def train(accel, extensions, out, source, poisoned=(), stop=None):  # noqa: F811
    """Runs two processes; returns their exit status."""
    out.mkdir(exist_ok=True)
    (out / "rank.py").write_text(RANK)
    given = [json.dumps(value) for value in (KEYS, list(poisoned), stop)]
    return subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", out / "rank.py", out,
         source, *given],
        cwd=ROOT, env=surroundings(accel, extensions), check=False, timeout=800,
    ).returncode  # fmt: skip


def losses(out):
    return [row["loss"] for row in map(json.loads, (out / "log.jsonl").open()) if "loss" in row]


@pytest.fixture(scope="session")
def alone(source, tmp_path_factory):  # noqa: F811
    """One process at the same global batch."""
    out = tmp_path_factory.mktemp("alone")
    loop.run(job(out, source, **KEYS))
    return out


@pytest.mark.parametrize("accel", ["cpu_ddp2", "cpu_zero2", "cpu_zero3"])
def test_two_processes_lose_what_one_loses(accel, extensions, source, alone, tmp_path):  # noqa: F811
    assert train(accel, extensions, tmp_path, source) == 0
    assert len(losses(tmp_path)) == 20
    assert losses(tmp_path) == pytest.approx(losses(alone), abs=1e-4)
    found, expected = (load_file(out / "model" / "model.safetensors") for out in (tmp_path, alone))
    assert found.keys() == expected.keys()
    for name in expected:
        assert (found[name] - expected[name]).abs().max() < 1e-3, name


@pytest.mark.parametrize("accel", ["cpu_zero2", "cpu_zero3"])
def test_a_poisoned_step_is_left_out_and_a_stopped_run_goes_on(accel, extensions, source, tmp_path):  # noqa: F811
    """Step 5 gives a loss that is no number. A run that stops at its 11th step goes on from step 8."""
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    assert train(accel, extensions, whole, source, poisoned=[5]) == 0
    assert train(accel, extensions, stopped, source, poisoned=[5], stop=11) != 0
    assert train(accel, extensions, stopped, source) == 0
    rows = [json.loads(line) for line in (whole / "log.jsonl").open()]
    assert [row["step"] for row in rows if "left_out" in row] == [5]
    assert losses(stopped) == pytest.approx(losses(whole), abs=1e-5)
    assert len(losses(whole)) == 19


def test_a_compiled_model_loses_what_a_plain_one_loses(source, tmp_path):  # noqa: F811
    """Rows of several documents included: their mask is part of what is compiled."""
    keys = {**KEYS, "steps": 4, "micro_batch_size": 4}
    for name, compiled in (("plain", False), ("compiled", True)):
        loop.run(job(tmp_path / name, source, **keys, compile=compiled))
    assert losses(tmp_path / "compiled") == pytest.approx(losses(tmp_path / "plain"), abs=1e-4)
