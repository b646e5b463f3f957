"""Who does the corpus's work: a recipe that wants a cluster must be told which, and of the right kind."""

import os
import signal
import subprocess
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
from tests.fake_slurm import FakeSlurm

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


PROFILE = Slurm(kind="slurm", runs="/r", default={"partition": "cpu"})


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """Slurm's commands, and no patience."""
    monkeypatch.setattr(engines, "POLL", 0.02)
    monkeypatch.setattr(engines, "LATE", 0.0)
    return FakeSlurm(tmp_path, monkeypatch)


@pytest.fixture
def artifact(tmp_path):
    path = tmp_path / "runs" / "mine" / "corpus"
    (path / "resume" / "key").mkdir(parents=True)
    return path


def test_tasks_that_failed_on_slurm_are_an_error(tmp_path, monkeypatch, slurm):
    monkeypatch.setattr(engines, "SlurmExecutor", HalfDone)
    monkeypatch.setenv("SLURM_MEM_PER_NODE", "4096")
    with pytest.raises(UserError, match=r"2 of 3 tasks failed on Slurm \(job 7\): \[1, 2\]. Their logs are in"):
        engines.on_slurm([], tmp_path, 3, 2, PROFILE)
    assert "SLURM_MEM_PER_NODE" not in engines.os.environ


def test_an_array_of_an_earlier_start_is_ended_before_another_is_queued(slurm, artifact):
    """A driver that was killed could not end it, and two writers must not meet."""
    slurm.put(7, f"groundup:tasks:{artifact}:mine")
    slurm.put(8, f"groundup:tasks:{artifact.parent.parent}/other/corpus:other")
    engines.clear(artifact)
    assert set(slurm.queue()) == {8}
    slurm.folder.joinpath("bin", "scancel").write_text("#!/bin/bash\n")
    slurm.put(9, f"groundup:tasks:{artifact}:mine")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engines, "GONE", 0.1)
        with pytest.raises(UserError, match=r"earlier start are still running after 0 s: scancel 9, then"):
            engines.clear(artifact)


@pytest.mark.parametrize("again", [False, True])
def test_sigterm_ends_the_array(slurm, artifact, again):
    """It comes at a time limit and when a node is taken away, perhaps twice, and would else kill outright."""
    with pytest.raises(SystemExit) as ended, engines.ending(artifact):
        slurm.put(7, f"groundup:tasks:{artifact}:mine")
        if again:
            signal_in_scancel = slurm.folder / "bin" / "scancel"
            text = signal_in_scancel.read_text()
            signal_in_scancel.write_text(text.replace("#!/bin/bash\n", "#!/bin/bash\nkill -TERM $PPID\n"))
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(10)
    assert ended.value.code == 143
    assert slurm.lines("cancelled") == ["7"]
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_an_array_is_known_by_its_artifact_and_bash_reads_its_script(slurm, artifact):
    folder = artifact / "resume" / "key" / "clean.log"
    profile = PROFILE.model_copy(update={"setup": "module load x\n", "options": ("--account=lab", "--exclusive")})
    executor = engines.slurm_executor([], folder, 3, 2, profile)
    text = executor.get_launch_file_contents(executor.get_sbatch_args(3), "srun true")
    assert text.startswith("#!/bin/bash -l\n#SBATCH ")
    assert f"#SBATCH --comment=groundup:tasks:{artifact}:mine\n" in text
    assert "#SBATCH --exclusive\n" in text
    assert "set -e\nmodule load x\ncd " in text, "a set-up that fails ends the task"
    subprocess.run(["bash", "-n"], input=text, text=True, check=True)
    with pytest.raises(UserError, match="sbatch wants paths without blanks and quotes"):
        engines.slurm_executor([], folder.parent.parent.parent.parent / "a b" / "resume" / "c", 3, 2, profile)


def test_a_question_that_slurm_does_not_answer_is_asked_again(slurm, artifact, monkeypatch):
    slurm.put(7, f"groundup:tasks:{artifact}:mine")
    (slurm.folder / "outages").write_text("3")
    assert engines.patiently(artifact) == [7]
    (slurm.folder / "outages").write_text("1000")
    monkeypatch.setattr(engines, "PATIENCE", 0.1)
    with pytest.raises(UserError, match="squeue: Unable to contact slurm controller"):
        engines.patiently(artifact)


def test_tasks_that_slurm_does_not_take_and_a_controller_that_is_away_are_one_message(slurm, artifact):
    folder = artifact / "resume" / "key" / "clean.log"
    (slurm.folder / "refusal").write_text("sbatch: error: invalid account")
    with pytest.raises(UserError, match=r"Slurm did not take the tasks \(sbatch ended with 1; .*launch_script.slurm"):
        engines.on_slurm([], folder, 3, 2, PROFILE)
    (slurm.folder / "outages").write_text("9")
    with pytest.raises(UserError, match="squeue: Unable to contact slurm controller"):
        engines.on_slurm([], folder, 3, 2, PROFILE)
    slurm.folder.joinpath("bin", "sinfo").write_text("#!/bin/bash\n")
    with pytest.raises(UserError, match=r"sinfo lists no partition\. Name one as `partition:` in the profile"):
        engines.default_partition()


def test_an_array_that_cannot_be_ended_is_said(slurm, artifact, capsys):
    with engines.ending(artifact):
        (slurm.folder / "outages").write_text("9")
    assert "its tasks may still be queued, and the next start ends them: squeue: Unable" in capsys.readouterr().err


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
