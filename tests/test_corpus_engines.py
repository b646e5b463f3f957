"""Who does the corpus's work: a recipe that wants a cluster must be told which, and of the right kind."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from pipeline.cluster.profile import Ray, Slurm
from pipeline.corpus import engines
from pipeline.corpus.engines import incomplete
from pipeline.corpus.execute import crew
from pipeline.corpus.recipe import Recipe
from pipeline.stage import UserError

PROFILES = {
    "slurm": {"kind": "slurm", "runs": "/shared/runs"},
    "ray": {"kind": "ray", "address": "auto"},
    "skypilot": {"kind": "skypilot", "bucket": "s3://runs"},
}


@pytest.mark.parametrize(
    ("executor", "kind", "message"),
    [
        ("slurm", None, "executor = slurm wants to know the cluster: make corpus CLUSTER=<profile>"),
        ("slurm", "ray", "executor = slurm, and CLUSTER=.* is a profile of kind ray"),
        ("ray", "skypilot", "executor = ray, and CLUSTER=.* is a profile of kind skypilot"),
    ],
)
def test_a_crew_without_its_cluster_is_one_message(tmp_path, executor, kind, message):
    path = tmp_path / "profile.yaml"
    path.write_text(yaml.safe_dump(PROFILES[kind or "slurm"]))
    with pytest.raises(UserError, match=message):
        crew(Recipe(executor=executor), str(path) if kind else None)


@pytest.mark.parametrize("kind", ["slurm", "ray"])
def test_the_profile_of_its_kind_is_taken_and_is_not_hashed(tmp_path, kind):
    path = tmp_path / "profile.yaml"
    path.write_text(yaml.safe_dump(PROFILES[kind]))
    assert crew(Recipe(executor=kind), str(path)).profile.kind == kind
    assert crew(Recipe(), str(path)).profile is None
    assert Recipe(executor=kind).hashed() == Recipe().hashed()


def test_tasks_without_a_mark_are_incomplete(tmp_path):
    (tmp_path / "completions").mkdir()
    (tmp_path / "completions" / "00001").touch()
    assert incomplete(tmp_path, 3) == [0, 2]


class HalfDone:
    """An executor of datatrove's that completes its first task and says nothing of the others."""

    job_id = 7

    def __init__(self, steps, *, logging_dir, **given):
        self.folder, self.given = logging_dir, given

    def run(self):
        (Path(self.folder) / "completions").mkdir(parents=True)
        (Path(self.folder) / "completions" / "00000").touch()


def test_tasks_that_failed_on_slurm_are_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(engines, "SlurmExecutor", HalfDone)
    monkeypatch.setattr(engines, "queued", lambda job: False)
    monkeypatch.setattr(engines, "LATE", 0.0)
    monkeypatch.setenv("SLURM_MEM_PER_NODE", "4096")
    profile = Slurm(kind="slurm", runs="/r", default={"partition": "cpu"})
    with pytest.raises(UserError, match=r"2 of 3 tasks failed on Slurm \(job 7\): \[1, 2\]. Their logs are in"):
        engines.on_slurm([], tmp_path, 3, 2, profile)
    assert "SLURM_MEM_PER_NODE" not in engines.os.environ


def test_tasks_that_failed_on_ray_are_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(engines, "RayExecutor", HalfDone)
    fake = SimpleNamespace(init=lambda **given: None, shutdown=lambda: None)
    monkeypatch.setitem(sys.modules, "ray", fake)
    with pytest.raises(UserError, match=r"2 of 3 tasks failed on Ray: \[1, 2\]. Their logs are in"):
        engines.on_ray([], tmp_path, 3, 2, Ray(kind="ray", address="auto"))


def test_without_ray_it_is_said_how_to_install_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match="executor ray needs the package `ray`: pip install"):
        engines.on_ray([], tmp_path, 3, 2, Ray(kind="ray", address="auto"))
