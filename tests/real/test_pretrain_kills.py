"""SIGKILL at random steps, inside accumulation and inside a save: the resumed run ends with the weights of an
uninterrupted one, bit by bit. A short form under make test-real, all of it with `make test-kills`."""

import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.pretrain import train as loop
from tests.test_pretrain import TINY, TINY_GPT2, assert_equal_weights, job, source, weights  # noqa: F401  (a fixture)

ROOT = Path(__file__).resolve().parent.parent.parent
STEPS = 16
KINDS = {
    "dense": {"model": TINY_GPT2, "packing": "stream", "documents_apart": False},  # with dropout
    "moe": {"model": {**TINY, "model_type": "mixtral", "num_local_experts": 4}, "optimizer": "adamw"},
    "packed": {"model": TINY},
}
COMMON = {"steps": STEPS, "micro_batch_size": 2, "checkpoint_every": 2, "evaluate_every": 1000}

# Kills itself when `moment` comes for the given time since the process began.
VICTIM = """
import json, os, signal, sys
from pathlib import Path
from pipeline import checkpoint
from pipeline.pretrain import train as loop
from pipeline.engine import Engine
from tests.test_pretrain import job

out, source, keys, moment, countdown = sys.argv[1], sys.argv[2], json.loads(sys.argv[3]), sys.argv[4], int(sys.argv[5])
owner, name = {"step": (loop, "factor"), "accumulation": (Engine, "backward"), "save": (checkpoint, "seal")}[moment]
real = getattr(owner, name)

def killing(*args):
    global countdown
    result = None if name == "seal" and countdown == 1 else real(*args)
    countdown -= 1
    if countdown == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return result

setattr(owner, name, killing)
loop.run(job(Path(out), Path(source), **keys))
"""


def kill(out, source, keys, moment, countdown):  # noqa: F811
    """Runs until the moment has come so many times; in a save the files are there and the seal is not."""
    done = subprocess.run(
        [sys.executable, "-c", VICTIM, out, source, json.dumps(keys), moment, str(countdown)],
        cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()[-2000:]
    assert not (out / "model").exists()


def survives(kind, kills, source, folder):  # noqa: F811
    keys = {**COMMON, **KINDS[kind]}
    loop.run(job(folder / "whole", source, **keys))
    out = folder / "killed"
    out.mkdir()
    for moment, countdown in kills:
        kill(out, source, keys, moment, countdown)
    assert list(out.glob("resume/step-*/sha256.json")), "it goes on from a checkpoint"
    loop.run(job(out, source, **keys))
    assert_equal_weights(weights(out), weights(folder / "whole"))
    steps = [json.loads(line)["step"] for line in (out / "log.jsonl").read_text().splitlines()]
    assert steps == sorted(set(steps)), "no step is logged twice"


@pytest.mark.real
@pytest.mark.timeout(900)
def test_two_kills_in_a_row(source, tmp_path):  # noqa: F811
    survives("moe", [("accumulation", 7), ("save", 2)], source, tmp_path)


@pytest.mark.kills
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", KINDS)
def test_five_kills_in_a_row(kind, source, tmp_path):  # noqa: F811
    """The first at a random step, odd calls of backward being the middle of a step of two micro-batches."""
    rng = random.Random(kind)
    kills = [("step", rng.randint(4, 6)), ("accumulation", 3), ("save", 2), ("step", rng.randint(3, 4)), ("step", 2)]
    survives(kind, kills, source, tmp_path)
