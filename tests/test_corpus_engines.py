"""Who does the corpus's work: a recipe that wants a cluster must be told which, and of the right kind."""

import os
import signal
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from datatrove.pipeline.base import PipelineStep

from pipeline.cluster.profile import Ray, Slurm
from pipeline.corpus import engines
from pipeline.corpus.engines import incomplete
from pipeline.corpus.execute import Crew, crew, execute
from pipeline.corpus.recipe import Recipe
from pipeline.corpus.step import reading
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


class Deadly(PipelineStep):
    """A step whose task 1 ends as `end` says, once; each task notes that it ran."""

    def __init__(self, folder: Path, end: str) -> None:
        super().__init__()
        self.folder, self.end = folder, end

    def run(self, data=None, rank=0, world_size=1):
        with (self.folder / f"ran-{rank}").open("a") as file:
            file.write("x")
        while rank == 2 and not (self.folder / "ended").exists():
            time.sleep(0.05)  # so that task 0 is done, and this one is not, when task 1 ends
        if rank == 1 and not (self.folder / "ended").exists():
            while not (self.folder / "log/completions/00000").exists():
                time.sleep(0.05)
            note = reading(self.folder / "log", rank)
            note.parent.mkdir()
            note.write_text("raw/bad.parquet")
            (self.folder / "ended").touch()
            if self.end == "error":
                raise UserError("the task's own message")
            os.kill(os.getpid(), getattr(signal, self.end))
        yield from ()


@pytest.mark.parametrize(
    ("end", "message"),
    [
        ("SIGKILL", r"corpus: clean: the process of task 1 died \(by SIGKILL\) while it read raw/bad.parquet. So ends "
         "what takes more memory than there is: free some, or lower workers in corpus.yaml. Finished tasks"),
        ("SIGABRT", r"task 1 died \(by SIGABRT\) while it read raw/bad.parquet. A library crashed: take that file"),
        ("error", "the task's own message"),
    ],
)  # fmt: skip
def test_a_worker_that_dies_ends_the_stage_with_one_message_and_finished_tasks_stay(tmp_path, end, message):
    steps = [Deadly(tmp_path, end)]
    with pytest.raises(UserError, match=message):
        execute(steps, tmp_path / "log", 4, Crew(workers=2), "corpus: clean")
    assert 0 not in incomplete(tmp_path / "log", 4) and 1 in incomplete(tmp_path / "log", 4)
    execute(steps, tmp_path / "log", 4, Crew(workers=2), "corpus: clean")
    assert incomplete(tmp_path / "log", 4) == []
    assert [(tmp_path / f"ran-{rank}").read_text() for rank in (0, 1)] == ["x", "xx"]


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
