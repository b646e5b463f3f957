"""The whole chain at toy size, through make, as a user runs it: raw text in, aligned and evaluated models out."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline.chain import CHAIN

ROOT = Path(__file__).resolve().parent.parent
TOY = ROOT / "tests" / "toy"


def make(runs: Path, *words: str) -> subprocess.CompletedProcess[str]:
    venv = Path(sys.executable).parent.parent
    return subprocess.run(
        ["make", "--no-print-directory", f"RECIPE={TOY}", f"RUNS={runs}", f"VENV={venv}", *words],
        cwd=ROOT, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """runs/toy, built once."""
    runs = tmp_path_factory.mktemp("runs")
    done = make(runs, "all")
    assert done.returncode == 0, done.stdout + done.stderr
    return runs / "toy"


pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def test_every_stage_is_sealed_and_verified(run):
    for stage in CHAIN:
        manifest = json.loads((run / stage.name / "manifest.json").read_text())
        assert manifest["metrics"], stage.name
        assert manifest["outputs"], stage.name
        assert set(manifest["inputs"]) == set(stage.reads), stage.name
    done = make(run.parent, "verify")
    assert done.returncode == 0, done.stdout
    assert "every file as sealed" in done.stdout


def test_a_second_make_calls_no_stage_at_all(run):
    done = make(run.parent, "all")
    assert done.returncode == 0
    assert "[toy/" not in done.stderr


def test_a_fresh_checkout_retrains_nothing(run):
    """git sets all file times to now; the fingerprints say that nothing changed."""
    built = {stage.name: (run / stage.name / "manifest.json").read_text() for stage in CHAIN}
    later = time.time() + 5
    os.utime(TOY / "collect.yaml", (later, later))
    try:
        done = make(run.parent, "all")
    finally:
        os.utime(TOY / "collect.yaml")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("is up to date") == len(CHAIN)
    assert built == {stage.name: (run / stage.name / "manifest.json").read_text() for stage in CHAIN}


def test_models_load_with_plain_transformers(run):
    """In a process that never imports this project, from another folder."""
    code = """
import sys
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer
for stage in ("pretrain", "sft", "dpo", "ppo", "grpo"):
    model = AutoModelForCausalLM.from_pretrained(f"{sys.argv[1]}/{stage}/model")
    tokenizer = AutoTokenizer.from_pretrained(f"{sys.argv[1]}/{stage}/model")
    messages = [{"role": "user", "content": "Tell me a story."}]
    prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    text = tokenizer.decode(model.generate(**prompt, max_new_tokens=4)[0])
    assert text.startswith("<|im_start|>user"), text
reward = AutoModelForSequenceClassification.from_pretrained(f"{sys.argv[1]}/reward/model")
assert reward.config.num_labels == 1
assert "pipeline" not in sys.modules
"""
    env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-P", "-c", code, str(run)], cwd=run, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_weights_are_safetensors_and_nothing_is_pickled(run):
    names = [path.name for path in run.rglob("*") if path.is_file()]
    assert sum(name.endswith(".safetensors") for name in names) == 6
    assert [
        name
        for name in names
        if name.endswith((".bin", ".pt", ".pth", ".pkl")) and name not in ("train.bin", "heldout.bin")
    ] == []


def test_the_chat_answers_on_a_pipe(run):
    done = subprocess.run(
        [sys.executable, "-m", "pipeline.talk", "--recipe", str(TOY), "--runs", str(run.parent)],
        cwd=ROOT, input="Tell me a story.\n/quit\n", capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "grpo" in done.stdout + done.stderr
