"""docs/evaluation.md names what there is, and recipes/benchmarks only tasks that the harness has."""

import importlib.util
import json
import re
from pathlib import Path

import pytest

from pipeline.chain import CHAIN
from pipeline.evaluate.checks import KINDS
from pipeline.evaluate.prompt_sets import instructions, safety
from pipeline.evaluate.recipe import Recipe
from pipeline.evaluate.toxicity import continuations
from pipeline.recipe import load
from tests.test_evaluate import evaluate, story_rows
from tests.toy_evaluate import save_toy_stages

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "evaluation.md").read_text(encoding="utf-8")


def test_every_key_of_the_results_is_described(tmp_path):
    _, results = evaluate(tmp_path / "out", save_toy_stages(tmp_path, story_rows(), stages=("sft",)))
    described = PAGE.split("## `results.json`")[1]
    for key in results:
        assert f"`{key}`" in described, key
    row = json.dumps(sorted(results["rows"][0]))
    (fields,) = re.findall(r"^\| `rows` \| `\{(.*?)\}`", described, re.M)
    assert row == json.dumps(sorted(fields.split(", ")))


def test_every_check_and_key_is_described():
    for kind in KINDS:
        assert f"`{kind}`" in PAGE, kind
    for key in ("samples_per_prompt", "models", "tasks", "win_rate", "judge", "instructions", "safety", "uncertified"):
        assert f"{key}:" in PAGE and key in Recipe.model_fields


def test_the_benchmarks_are_the_harnesss():
    spec = importlib.util.find_spec("lm_eval")
    if spec is None:
        pytest.skip("needs the extra `eval`")
    files = Path(str(spec.origin)).parent / "tasks"
    folders = ("hellaswag", "arc", "piqa", "winogrande", "blimp", "lambada", "mmlu/default", "gsm8k")
    texts = [path.read_text() for folder in folders for path in (files / folder).glob("*") if path.is_file()]
    known = {name for text in texts for name in re.findall(r"^(?:task|group): *(\w+) *$", text, re.M)}
    asked = load("benchmarks", CHAIN).own["evaluate"].tasks.names
    assert set(asked) <= known, set(asked) - known


def test_the_exams_prompt_sets_are_read(monkeypatch, tmp_path):
    monkeypatch.chdir(ROOT)
    recipe = load("storyworld-exam", CHAIN).own["evaluate"]
    assert len(instructions(recipe, 0).rows) == 24
    assert [one.key for one in safety(recipe, recipe.safety, 0)] == ["harmful", "harmless"]
    assert len(continuations(recipe, recipe.safety, 0, tmp_path).rows) >= 10
