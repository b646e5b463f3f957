"""Two runs side by side: what differs in recipes and results, and whether beyond noise."""

import json
from pathlib import Path

import numpy as np
import pytest

from pipeline import artifact, compare
from pipeline.evaluate.exam import digest
from pipeline.evaluate.results import scores
from pipeline.evaluate.score import Measure
from pipeline.intervals import bootstrap_mean, proportion

PROMPTS = [f"prompt {n}" for n in range(200)]


def interval(name: str, value: float, low: float, high: float) -> dict[str, float]:
    return {name: value, f"{name}_low": low, f"{name}_high": high, f"{name}_n": 200}


def stage(run: Path, name: str, recipe: dict, metrics: dict[str, float], inputs: dict[str, str], **more) -> str:
    folder = run / name
    folder.mkdir(parents=True)
    identity = {"stage": name, "version": 1, "recipe": recipe, "seed": 0, "inputs": inputs, "outside": None}
    if "scores" in more:
        (folder / "scores.json").write_text(json.dumps(more.pop("scores")))
    (folder / "metrics.json").write_text(json.dumps(metrics))
    facts = {
        "stage": name,
        "inputs": more.pop("links", {}),
        "fingerprint": artifact.fingerprint(identity),
        "identity": identity,
        "metrics": metrics,
        "seconds": 60.0,
        "cpu_seconds": 90.0,
    }
    return artifact.seal(folder, facts | more)["fingerprint"]


def make_run(folder: Path, rate: float = 1e-3, gold: list[float] | None = None, prompts=PROMPTS, **more) -> Path:
    """collect, sft and evaluate; the run's gold scores are paired where they are given."""
    first = stage(folder, "collect", {"documents": 9}, {"documents": 9}, {}, **more)
    recipe = {"trainer": {"learning_rate": rate}, "lora": None}
    metrics = {"parameters": int(1e6 * rate), "seconds": rate, **interval("heldout_loss", 0.5 + rate, 0.4, 0.6)}
    second = stage(folder, "sft", recipe, metrics, {"collect": first}, **more)
    kept = (
        scores({"prompts": [digest(prompt) for prompt in prompts]}, {"sft": {"gold": Measure(values=gold)}})
        if gold
        else {}
    )
    value, low, high = bootstrap_mean(gold or [0.5, 0.6], 0)
    found = interval("sft_gold", value, low, high) | interval("sft_minus_sft_gold", value, low, high)
    stage(folder, "evaluate", {}, found, {"collect": first, "sft": second}, scores=kept, **more)
    return folder


def told(tmp_path: Path, one: dict, other: dict) -> str:
    return compare.compare(make_run(tmp_path / "a", **one), make_run(tmp_path / "b", **other))


def row(text: str, *starts: str) -> list[str]:
    """The cells of the one row that starts so."""
    (found,) = [line for line in text.splitlines() if line.split()[: len(starts)] == list(starts)]
    return [cell.strip() for cell in found.split("  ") if cell.strip()]


def test_only_what_makes_the_artifacts_differ_is_listed(tmp_path):
    text = told(tmp_path, {"gold": HARD.tolist()}, {"rate": 2e-3, "gold": GAIN.tolist()})
    recipes = text.partition("Results")[0]
    assert row(recipes, "sft")[1:] == ["trainer.learning_rate", "0.001", "0.002"]
    assert row(recipes, "evaluate")[1:] == ["its inputs alone"]
    assert "collect" not in recipes
    assert row(text, "sft", "parameters")[2:] == ["1,000", "2,000"]
    assert "sft_minus_sft" not in text


# The same small gain on every prompt, under prompts of very unlike difficulty.
HARD = np.random.default_rng(0).normal(0.5, 0.3, 200)
GAIN = HARD + np.random.default_rng(1).normal(0.02, 0.02, 200)


def test_pairing_sees_what_the_two_intervals_do_not(tmp_path):
    a, b = HARD.tolist(), GAIN.tolist()
    text = told(tmp_path, {"gold": a}, {"rate": 2e-3, "gold": b})
    assert "higher, paired, n 200" in row(text, "evaluate", "sft_gold")[-1]
    assert "1 of 2 differences are beyond noise" in text
    other = told(tmp_path / "other", {"gold": a}, {"rate": 2e-3, "gold": b, "prompts": [p + "!" for p in PROMPTS]})
    assert "noise, unpaired" in row(other, "evaluate", "sft_gold")[-1]
    assert "0 of 2 differences" in other


@pytest.mark.parametrize(
    ("count", "verdict"), [(120, "higher, paired, n 120"), (60, "noise, unpaired"), (200, "higher, paired, n 200")]
)
def test_a_run_that_was_asked_other_items_too_is_paired_over_those_that_both_were_asked(tmp_path, count, verdict):
    prompts = [*PROMPTS[:count], *(f"{prompt}!" for prompt in PROMPTS[count:])]
    text = told(tmp_path, {"gold": HARD.tolist()}, {"rate": 2e-3, "gold": GAIN.tolist(), "prompts": prompts})
    assert row(text, "evaluate", "sft_gold")[-1] == verdict


def test_a_difference_is_that_of_the_shared_items_alone():
    a = {f"p{n}": float(n % 2) for n in range(10)} | {f"only-a-{n}": 100.0 for n in range(4)}
    b = {f"p{n}": float(n % 2) + 1 for n in range(10)} | {f"only-b-{n}": -100.0 for n in range(9)}
    change = compare.paired(a, b)
    assert change is not None and (change.value, change.pairs) == (1.0, 10)


def test_an_artifact_that_is_taken_over_from_a_base_is_no_difference(tmp_path):
    a = make_run(tmp_path / "a")
    base = artifact.manifest(a / "collect")
    more = {"links": {"collect": {"folder": "../../a/collect", "fingerprint": base["fingerprint"]}}}
    stage(tmp_path / "b", "sft", {"lora": 8}, interval("heldout_loss", 0.5, 0.4, 0.6), {"collect": "x"}, **more)
    text = compare.compare(a, tmp_path / "b")
    recipes, _, took = text.partition("What it took")
    assert "collect" not in recipes.partition("What differs")[2] and row(recipes, "sft", "lora")[1:] == [
        "lora",
        "-",
        "8",
    ]
    assert row(took, "collect")[-2:] == ["-", "-"], "what it cost is the base's"


def test_a_model_that_is_one_artifact_in_both_does_not_differ(tmp_path):
    one, other = HARD.tolist(), HARD[:150].tolist()
    text = told(tmp_path, {"gold": one}, {"rate": 2e-3, "gold": other, "prompts": PROMPTS[:150]})
    assert "sft_gold" not in text and "1 figures are equal" in text, "one run asked it more prompts"
    sealed = {"sft": {"fingerprint": "a"}, "dpo": {"fingerprint": "b"}}
    assert compare.same_model("sft_perplexity", sealed, {**sealed, "dpo": {"fingerprint": "c"}})
    assert not compare.same_model("dpo_perplexity", sealed, {**sealed, "dpo": {"fingerprint": "c"}})


def test_artifacts_of_equal_files_are_no_difference():
    one, other = (
        {"sft": {"fingerprint": str(n), "identity": {"recipe": {}, "inputs": {"collect": n}}, "outputs": ["same"]}}
        for n in (1, 2)
    )
    assert compare.recipe_rows(one, other) == []
    other["sft"]["outputs"] = ["another"]
    assert compare.recipe_rows(one, other) == [("sft", "its inputs alone", "", "")]


def test_an_interval_is_shown_with_a_width():
    assert compare.verdict(compare.Change(value=4e-4, low=2e-4, high=6e-4, pairs=9))[0] == "+0.0004 [+0.0002, +0.0006]"
    assert compare.interval({"value": 117.03, "low": 116.63, "high": 117.44}) == "117.03 [116.63, 117.44]"


def test_items_are_paired_by_what_they_are_and_not_by_where_they_stand(tmp_path):
    turned = {"rate": 2e-3, "gold": GAIN.tolist()[::-1], "prompts": PROMPTS[::-1]}
    text = told(tmp_path, {"gold": HARD.tolist()}, turned)
    assert "higher, paired, n 200" in row(text, "evaluate", "sft_gold")[-1]


def test_runs_without_scores_are_compared_by_their_intervals(tmp_path):
    text = told(tmp_path, {}, {"rate": 2e-3, "gold": HARD.tolist()})
    assert "unpaired" in row(text, "evaluate", "sft_gold")[-1]


@pytest.mark.parametrize(
    ("a", "b", "beyond"),
    [
        ((50, 100), (70, 100), True),
        ((50, 100), (55, 100), False),
        ((100, 100), (60, 100), True),
        ((0, 9), (0, 9), False),
    ],
)
def test_unpaired_differences_follow_newcombe(a, b, beyond):
    one, two = ({"value": k / n, "low": proportion(k, n)[0], "high": proportion(k, n)[1]} for k, n in (a, b))
    change = compare.unpaired(one, two)
    assert change.beyond == beyond
    assert change.low <= change.value <= change.high


def test_unpaired_agrees_with_newcombes_published_example():
    # Newcombe, Statistics in Medicine 17 (1998), 873-890, table II: 56/70 minus 48/80, method 10: 0.0524 to 0.3339.
    one, two = (
        {"value": k / n, "low": proportion(k, n)[0], "high": proportion(k, n)[1]} for k, n in ((48, 80), (56, 70))
    )
    change = compare.unpaired(one, two)
    assert (change.low, change.high) == (pytest.approx(0.0524, abs=1e-4), pytest.approx(0.3339, abs=1e-4))


def test_what_it_took_shows_energy_and_cost_only_where_they_are_known(tmp_path):
    text = told(tmp_path, {}, {"rate": 2e-3})
    assert row(text, "in", "all")[1:] == ["3 min 0 s", "4 min 30 s", "3 min 0 s", "4 min 30 s"]
    priced = {"rate": 2e-3, "energy_joules": 3600.0, "usd_per_hour": 6.0}
    known = told(tmp_path / "known", {}, priced)
    assert row(known, "in", "all")[1:] == [
        "3 min 0 s", "4 min 30 s", "unknown", "unknown", "3 min 0 s", "4 min 30 s", "3 Wh", "$0.3",
    ]  # fmt: skip


def test_a_stage_that_one_run_lacks_is_said(tmp_path):
    a, b = make_run(tmp_path / "a"), make_run(tmp_path / "b")
    (b / "evaluate").rename(tmp_path / "gone")
    text = compare.compare(a, b)
    assert row(text, "evaluate", "there")[1:] == ["there", "not there"]
    assert "No figure with an interval is in both runs and differs." in text


def test_equal_runs_are_said_to_be_equal_and_long_differences_are_cut(tmp_path):
    a, b = make_run(tmp_path / "a"), make_run(tmp_path / "b")
    assert "The two runs hold the same artifacts." in compare.compare(a, b)
    many = [
        {"collect": {"fingerprint": str(n), "outputs": [], "identity": {"recipe": {f"k{i}": n for i in range(20)}}}}
        for n in (1, 2)
    ]
    rows = compare.recipe_rows(*many)
    assert len(rows) == compare.MOST_KEYS + 1 and rows[-1][1] == "and 8 more"


def test_exit_status(tmp_path, capsys):
    a = make_run(tmp_path / "a")
    assert compare.main([str(a), str(make_run(tmp_path / "b", rate=2e-3))]) == 0
    assert compare.main([str(a), str(tmp_path / "nowhere")]) == 2
    assert "no such folder" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert compare.main([str(tmp_path / "empty"), str(a)]) == 2
    assert "no finished stage there" in capsys.readouterr().err
    assert compare.main(["", str(a)]) == 2
    assert "name two runs: make compare A=" in capsys.readouterr().err
