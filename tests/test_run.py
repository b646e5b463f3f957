"""The driver's decisions, on a toy chain of two stages whose worker is replaced by a function."""

import json
import os
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline import artifact, run, runs
from pipeline.launch import Outcome
from pipeline.stage import Stage, StageRecipe
from tests.toy_run import save_toy_run


class Recipe(StageRecipe):
    unhashed = frozenset({"log_every"})
    value: int = 1
    log_every: int = 1


FIRST = Stage(name="collect", version=1, recipe=Recipe, verb="nowhere:run")
SECOND = Stage(name="corpus", version=1, recipe=Recipe, verb="nowhere:run", reads=("collect",))
CHAIN = (FIRST, SECOND)


class Chain:
    """A recipe folder, a runs folder, and a worker that counts its calls."""

    def __init__(self, tmp_path: Path) -> None:
        self.recipes, self.runs, self.calls, self.status, self.seconds = tmp_path / "r", tmp_path / "runs", [], 0, 1.0
        self.recipe("mine", collect="value: 1", corpus="value: 1")

    def recipe(self, name: str, **files: str) -> None:
        (self.recipes / name).mkdir(parents=True, exist_ok=True)
        for stage, text in files.items():
            (self.recipes / name / f"{stage}.yaml").write_text(text)

    def launch(self, stage, folder, accel, lock, hosts=None, python=()):
        self.calls.append(stage.name)
        (folder / "payload").write_text(json.loads((folder / "job.json").read_text())["fingerprint"])
        return Outcome(
            status=self.status,
            metrics={"m": 1.0},
            seconds=self.seconds,
            cpu_seconds=1.0,
            peak_memory_bytes=1,
            processes=1,
        )

    def __call__(self, stage: str, *more: str, recipe: str = "mine") -> int:
        return run.main([stage, "--recipe", str(self.recipes / recipe), "--runs", str(self.runs), *more])


@pytest.fixture
def chain(tmp_path, monkeypatch):
    toy = Chain(tmp_path)
    monkeypatch.setattr(run, "CHAIN", CHAIN)
    monkeypatch.setattr(runs, "CHAIN", CHAIN)
    monkeypatch.setattr(run, "BY_NAME", {s.name: s for s in CHAIN})
    monkeypatch.setattr(run, "launch", toy.launch)
    return toy


def test_a_finished_stage_is_skipped_and_its_manifest_touched(chain):
    assert chain("collect") == 0
    manifest = chain.runs / "mine" / "collect" / "manifest.json"
    os.utime(manifest, (1, 1))
    assert chain("collect") == 0
    assert chain.calls == ["collect"]
    assert manifest.stat().st_mtime > 1


def test_a_recipe_edited_during_the_build_is_newer_than_the_manifest(chain, monkeypatch):
    """Else make would never call the driver again for it."""
    launch = chain.launch

    def edit(*args):
        chain.recipe("mine", collect="value: 2")
        return launch(*args)

    monkeypatch.setattr(run, "launch", edit)
    assert chain("collect") == 0
    recipe, manifest = chain.recipes / "mine" / "collect.yaml", chain.runs / "mine" / "collect" / "manifest.json"
    assert recipe.stat().st_mtime > manifest.stat().st_mtime


def test_a_stage_without_its_input_is_the_users_mistake(chain, capsys):
    assert chain("corpus") == 2
    assert "its input" in (message := capsys.readouterr().err) and "make collect" in message
    assert chain.calls == []


def test_an_input_of_another_recipe_is_refused(chain, capsys):
    chain("collect")
    chain.recipe("mine", collect="value: 2")
    assert chain("corpus") == 2
    assert "was made by another recipe" in capsys.readouterr().err


def test_an_input_named_by_hand_must_fit(chain, capsys):
    chain("collect")
    chain.recipe("other", collect="value: 5", corpus="value: 1")
    chain("collect", recipe="other")
    assert chain("corpus", "--input", f"collect={chain.runs / 'other' / 'collect'}") == 2
    assert "was made by another recipe" in capsys.readouterr().err
    assert chain("corpus", "--input", "sft=there") == 2
    assert "reads collect, not 'sft'" in capsys.readouterr().err


def test_another_recipe_sets_the_old_artifact_aside_and_going_back_brings_it_back(chain):
    chain("collect")
    old = artifact.manifest(chain.runs / "mine" / "collect")["fingerprint"]
    chain.recipe("mine", collect="value: 2")
    assert chain("collect") == 0
    assert len(list((chain.runs / "mine" / ".aside").iterdir())) == 1
    chain.recipe("mine", collect="value: 1")
    assert chain("collect") == 0
    assert chain.calls == ["collect", "collect"]
    assert artifact.manifest(chain.runs / "mine" / "collect")["fingerprint"] == old


@pytest.mark.parametrize(
    ("collect", "more"), [("value: 2", ()), ("value: 1", ("--accel", "no-such"))], ids=["input", "accel"]
)
def test_a_stage_that_cannot_start_leaves_the_old_artifact_in_its_place(chain, collect, more):
    chain("collect")
    chain("corpus")
    old = artifact.manifest(chain.runs / "mine" / "corpus")
    chain.recipe("mine", collect=collect, corpus="value: 2")
    assert chain("corpus", *more) == 2
    assert artifact.manifest(chain.runs / "mine" / "corpus") == old
    assert not (chain.runs / "mine" / ".aside").exists()


def test_a_log_interval_rebuilds_nothing(chain):
    chain("collect")
    chain.recipe("mine", collect="value: 1\nlog_every: 50")
    chain("collect")
    assert chain.calls == ["collect"]


def test_an_expensive_artifact_is_replaced_only_when_told(chain, capsys, monkeypatch):
    chain.seconds = 4000.0
    chain("collect")
    chain.recipe("mine", collect="value: 2")
    assert chain("collect") == 2
    assert "recipe.value: 1 -> 2" in (message := capsys.readouterr().err) and "REBUILD=1" in message
    monkeypatch.setenv("REBUILD", "1")
    assert chain("collect") == 0


def test_a_crash_is_resumed_and_a_crash_of_another_recipe_set_aside(chain, capsys):
    chain.status = 1
    assert chain("collect") == 1
    folder = chain.runs / "mine" / "collect"
    assert artifact.manifest(folder) is None
    (folder / "resume").mkdir()
    (folder / "resume" / "step-5").write_text("x")
    chain.status = 0
    assert chain("collect") == 0
    assert "resumes" in capsys.readouterr().err
    assert not (folder / "resume").exists()
    assert artifact.verify(folder) == []


def test_a_stopped_worker_hands_its_status_on(chain):
    chain.status = 143
    assert chain("collect") == 143


def test_a_stage_that_the_recipe_leaves_out(chain, capsys):
    chain.recipe("small", collect="value: 1")
    assert chain("corpus", "--if-any", recipe="small") == 0
    assert "left out" in capsys.readouterr().err
    assert chain("corpus", recipe="small") == 2
    assert "has no corpus.yaml" in capsys.readouterr().err


def test_a_base_run_is_used_and_linked_not_rebuilt(chain):
    chain("collect")
    chain.recipe("variant", corpus="value: 7", recipe=f"base: {chain.recipes / 'mine'}")
    assert chain("collect", recipe="variant") == 0
    assert chain("corpus", recipe="variant") == 0
    assert chain.calls == ["collect", "corpus"]
    assert (chain.runs / "variant" / "collect").resolve() == (chain.runs / "mine" / "collect").resolve()
    assert runs.verify(chain.runs / "variant") == []


def test_set_needs_an_out_folder_of_its_own(chain, capsys, tmp_path):
    assert chain("collect", "--set", "value=3") == 2
    assert "--out" in capsys.readouterr().err
    assert chain("collect", "--set", "value=3", "--out", str(tmp_path / "elsewhere")) == 0
    assert artifact.manifest(tmp_path / "elsewhere")["recipe"]["value"] == 3
    assert not (chain.runs / "mine" / "collect").exists()


def test_an_unwritable_folder_is_one_message(chain, capsys, monkeypatch):
    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied", "runs/mine")

    monkeypatch.setattr(artifact, "claim", refuse)
    assert chain("collect") == 1
    assert "Permission denied: runs/mine" in capsys.readouterr().err


def test_verify_sees_a_changed_file_a_changed_identity_and_a_replaced_input(chain):
    chain("collect")
    chain("corpus")
    folder = chain.runs / "mine"
    assert runs.verify(folder) == []
    (folder / "corpus" / "payload").write_text("else")
    assert "payload: differs" in runs.verify(folder)[0]
    chain.recipe("mine", collect="value: 3")
    chain("collect")
    assert any("is not the artifact that it was made from" in problem for problem in runs.verify(folder))
    manifest = json.loads((folder / "collect" / "manifest.json").read_text())
    manifest["identity"]["seed"] = 5
    (folder / "collect" / "manifest.json").write_text(json.dumps(manifest))
    assert any("its fingerprint is not that of its identity" in problem for problem in runs.verify(folder))


def test_verify_compares_a_manifests_metrics_with_the_sealed_ones(tmp_path, capsys):
    toy = save_toy_run(tmp_path / "runs")
    assert runs.verify(toy) == []
    path = toy / "evaluate" / "manifest.json"
    path.write_text(path.read_text().replace('"dpo_gold": 0.75', '"dpo_gold": 0.95'))
    assert runs.main(["verify", "--recipe", "toy", "--runs", str(toy.parent)]) == 1
    assert "its metric dpo_gold is 0.95, and the sealed metrics.json has 0.75" in capsys.readouterr().out


def test_verify_says_that_another_versions_page_was_not_compared(tmp_path, capsys):
    toy = save_toy_run(tmp_path / "runs")  # its report says that version 1 drew it
    assert runs.main(["verify", "--recipe", "toy", "--runs", str(toy.parent)]) == 0
    told = capsys.readouterr().out
    assert "every file as sealed" in told
    assert "figures were not compared with the manifests" in told and "Run `make report RECIPE=toy`" in told


def test_garbage_is_listed_and_removed_only_when_told(chain):
    chain("collect")
    chain.recipe("mine", collect="value: 2")
    chain("collect")
    aside = next((chain.runs / "mine" / ".aside").iterdir())
    assert str(aside) in runs.collect_garbage(chain.runs, yes=False) and aside.exists()
    assert "removed" in runs.collect_garbage(chain.runs, yes=True) and not aside.exists()
    assert runs.collect_garbage(chain.runs, yes=True) == "Nothing was set aside.\n"


def test_a_manifest_says_energy_and_price_where_they_are_known(chain, monkeypatch):
    assert chain("collect") == 0
    sealed = artifact.manifest(chain.runs / "mine" / "collect")
    assert [sealed[key] for key in ("energy_joules", "energy_source", "usd_per_hour")] == [None, None, None]
    chain.recipe("priced", collect="value: 2", recipe="usd_per_hour: 2.5")

    def measured(*job):
        return replace(chain.launch(*job), joules={"RAPL": 7200.04, "nvidia-smi": 0.1})

    monkeypatch.setattr(run, "launch", measured)
    assert chain("collect", recipe="priced") == 0
    sealed = artifact.manifest(chain.runs / "priced" / "collect")
    assert (sealed["energy_joules"], sealed["energy_source"]) == (7200.1, "RAPL + nvidia-smi")
    assert sealed["usd_per_hour"] == 2.5


def test_a_price_of_nothing_is_refused(chain, capsys):
    chain.recipe("priced", collect="value: 2", recipe="usd_per_hour: 0")
    assert chain("collect", recipe="priced") == 2
    assert "usd_per_hour = 0: Input should be greater than 0" in capsys.readouterr().err


def test_only_a_stage_that_trains_is_tracked_and_as_its_recipe_says(chain, monkeypatch):
    followed = []
    monkeypatch.setattr(run, "following", lambda folder, tool, runs: followed.append(tool) or nullcontext())
    monkeypatch.setattr(run, "TRAINED", ("corpus",))
    assert [chain("collect"), chain("corpus")] == [0, 0]
    chain.recipe("off", collect="value: 3", corpus="value: 3", recipe="tracking: null")
    assert [chain("collect", recipe="off"), chain("corpus", recipe="off")] == [0, 0]
    assert followed == [None, "trackio", None, None]
