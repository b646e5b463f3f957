"""What cannot work on a cluster, or would be ignored there, is refused before anything is queued; and bash reads every
script that is rendered."""

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from pipeline.cluster import follow
from pipeline.cluster.__main__ import main

ROOT = Path(__file__).resolve().parent.parent
TOY = ROOT / "tests" / "toy"
SLURM = {"kind": "slurm", "runs": "/shared/runs"}
SKY = {"kind": "skypilot", "volume": "my-runs"}


def render(folder: Path, recipe: Path, **keys: object) -> int:
    profile = folder / "lab.yaml"
    profile.write_text(yaml.safe_dump(keys))
    return main(
        ["render", "--recipe", str(recipe), "--cluster", str(profile), "--out", str(folder / "out")],
    )


def test_an_empty_cluster_is_one_message(capsys):
    assert main(["submit", "--cluster", ""]) == 2
    assert "CLUSTER= is empty: name a profile, a file in ~/.config/groundup/clusters (copy" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"stages": {"sft": {"accel": "zero3"}}}, "stages.sft: accel = zero3: this stage is one process, which would"),
        ({"stages": {"pretrain": {"gpus": 2, "accel": "cpu"}}}, "accel = cpu works on the processor, and gpus = 2"),
        ({"default": {"gpus": 1, "accel": "cpu"}}, "accel = cpu works on the processor, and gpus = 1 would idle"),
        (
            {"stages": {"pretrain": {"gpus": 2, "accel": "single_gpu"}}},
            "accel = single_gpu takes one of gpus = 2. Say",
        ),
    ],
)
def test_a_key_that_would_have_no_effect_is_refused(tmp_path, capsys, keys, message):
    assert render(tmp_path, TOY, **SLURM, **keys) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("profile", "executor", "able"),
    [(SKY, "slurm", "local"), (SKY, "ray", "local"), (SLURM, "ray", "local or slurm")],
)
def test_an_executor_that_cannot_work_there_is_refused(tmp_path, capsys, profile, executor, able):
    recipe = tmp_path / "mine"
    recipe.mkdir()
    shutil.copyfile(TOY / "collect.yaml", recipe / "collect.yaml")
    (recipe / "corpus.yaml").write_text(f"executor: {executor}\n")
    assert render(tmp_path, recipe, **profile) == 2
    said = capsys.readouterr().err
    assert f"corpus.yaml: executor = {executor}, and the cluster's profile is of kind {profile['kind']}" in said
    assert f"Say executor: {able}; or" in said


def test_a_base_that_sky_s_machines_would_not_get_is_refused(tmp_path, capsys):
    base, mine = tmp_path / "base", tmp_path / "mine"
    for folder in (base, mine):
        folder.mkdir()
    shutil.copyfile(TOY / "collect.yaml", base / "collect.yaml")
    (mine / "recipe.yaml").write_text(f"base: {base}\n")
    (mine / "corpus.yaml").write_text("tasks: 2\n")
    assert render(tmp_path, mine, **SKY) == 2
    assert f"recipe.yaml: base = {base}: only this checkout and the recipe itself go along." in capsys.readouterr().err


@pytest.mark.parametrize(
    ("folder", "taken"),
    [("~/docs", False), ("/home/me/docs", False), ("nowhere", False), ("/runs/docs", True), ("docs", True),
     ("$DATA/docs", True)],
)  # fmt: skip
def test_documents_that_sky_s_machines_would_not_see_are_refused(tmp_path, capsys, folder, taken):
    """What lies on the volume need not be on the machine that renders."""
    recipe = tmp_path / "mine"
    recipe.mkdir()
    (recipe / "collect.yaml").write_text(f"files: {{folder: {folder}, licence: mit}}\n")
    assert render(tmp_path, recipe, **SKY) == (0 if taken else 2)
    assert taken or f"files.folder = {folder}: the machines see this checkout and /runs" in capsys.readouterr().err


@pytest.mark.parametrize(
    "keys",
    [{}, {"preemptible": True}, {"python": "apptainer exec '/a b.sif' python3", "setup": "module load 'x y'\n"}],
    ids=["plain", "preemptible", "container"],
)
def test_bash_reads_every_kind_of_script(tmp_path, keys):
    assert render(tmp_path, TOY, **SLURM, stages={"pretrain": {"nodes": 2}}, **keys) == 0
    found = sorted((tmp_path / "out").iterdir())
    assert len(found) == 13
    for path in found:
        done = subprocess.run(["bash", "-n", str(path)], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, ""), path


def test_whoever_follows_says_what_it_waits_for_and_gives_up(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(follow, "POLL", 0.01)
    given = ["--recipe", str(TOY), "--runs", str(tmp_path), "--hosts", "a,b", "--rank", "1", "--patience", "0.05"]
    assert follow.main(["pretrain", *given]) == 2
    said = capsys.readouterr().err
    assert said.count("[toy/pretrain] waits for the driver on the first machine\n") == 1
    assert f"toy/pretrain: waited 0 s for the driver to come to this stage ({tmp_path}/toy/pretrain/job.json)." in said
