"""What is queued on Slurm: nothing twice, nothing of an older recipe, and cancelled with all that belongs to it."""

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from pipeline import run as driver
from pipeline.cluster import queue, slurm
from pipeline.cluster.__main__ import main
from pipeline.cluster.node import main as node
from tests.fake_slurm import FakeSlurm

TOY = Path(__file__).resolve().parent / "toy"


class Lab:
    """A recipe of one's own, a profile, and the commands of a user on a fake Slurm."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.slurm, self.runs, self.recipes = FakeSlurm(folder, monkeypatch), folder / "runs", folder / "recipes"
        self.runs.mkdir()
        self.profile = folder / "lab.yaml"
        self.profile.write_text(yaml.safe_dump({"kind": "slurm", "runs": str(self.runs)}))
        self.recipe("mine", "collect", "corpus")

    def recipe(self, name: str, *stages: str, base: str | None = None) -> Path:
        folder = self.recipes / name
        folder.mkdir(parents=True)
        for stage in stages:
            shutil.copyfile(TOY / f"{stage}.yaml", folder / f"{stage}.yaml")
        if base:
            (folder / "recipe.yaml").write_text(f"base: {self.recipes / base}\n")
        return folder

    def edit(self, stage: str, recipe: str = "mine", **keys: object) -> None:
        path = self.recipes / recipe / f"{stage}.yaml"
        path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **keys}))

    def say(self, command: str, recipe: str = "mine", *words: str) -> int:
        return main([command, "--recipe", str(self.recipes / recipe), "--cluster", str(self.profile), *words])


@pytest.fixture
def lab(tmp_path, monkeypatch):
    return Lab(tmp_path, monkeypatch)


def test_what_is_queued_is_not_queued_again(lab, capsys):
    assert lab.say("submit") == 0
    queued = lab.slurm.queue()
    assert len(queued) == 3, "a check of the nodes, collect and corpus"
    assert lab.say("submit") == 0
    assert lab.slurm.queue() == queued
    assert "mine/corpus: is queued already, as job 103" in capsys.readouterr().out


def test_jobs_of_an_older_recipe_are_shown_and_nothing_is_queued_over_them(lab, capsys):
    assert lab.say("submit") == 0
    queued = lab.slurm.queue()
    lab.edit("corpus", heldout_share=0.1)
    capsys.readouterr()
    assert lab.say("status") == 0
    rows = {line.split()[0]: " ".join(line.split()[1:]) for line in capsys.readouterr().out.splitlines()}
    assert rows["mine/corpus"] == "pending 103 queued from an older recipe: make cancel, then make submit"
    assert rows["mine/collect"] == "pending 102 Priority"
    assert lab.say("submit") == 2
    assert "mine: queued from an older recipe: mine/corpus (job 103)" in capsys.readouterr().err
    assert lab.slurm.queue() == queued
    assert (lab.say("cancel"), lab.say("submit")) == (0, 0)
    assert set(lab.slurm.queue()) == {104, 105, 106}


def test_a_job_refuses_to_make_another_recipe_than_the_one_that_was_submitted(lab, capsys):
    lab.say("submit")
    script = (lab.runs / "mine" / "logs" / "collect.sbatch").read_text()
    (expected,) = [line.split()[-2] for line in script.splitlines() if "--expect" in line]
    lab.edit("collect", storyworld={"documents": 4000})
    given = ["--recipe", str(lab.recipes / "mine"), "--runs", str(lab.runs), "--expect", expected]
    assert driver.main(["collect", *given]) == 2
    said = capsys.readouterr().err
    assert "mine/collect: the recipe, or what it reads, changed after this job was submitted: its" in said
    assert f"fingerprint was {expected}, now " in said
    assert "`make cancel`, then `make submit` again." in said
    assert not (lab.runs / "mine" / "collect").exists()


def test_cancel_ends_what_was_queued_for_the_base_but_for_what_another_run_waits_for(lab, capsys):
    lab.recipe("first", "tokenizer", base="mine")
    lab.recipe("second", "tokenizer", base="mine")
    lab.edit("tokenizer", "second", vocab_size=400)
    assert lab.say("submit", "first") == 0
    capsys.readouterr()
    before = lab.slurm.queue()
    assert {comment.split("/runs/")[1] for comment in before.values()} == {
        "first/check-default:first", "mine/collect:first", "mine/corpus:first", "first/tokenizer:first",
    }  # fmt: skip
    assert lab.say("submit", "second") == 0
    assert lab.say("cancel", "first") == 0
    left = {comment.split("/runs/")[1] for comment in lab.slurm.queue().values()}
    assert left == {
        "mine/collect:first", "mine/corpus:first", "second/check-default:second", "second/tokenizer:second",
    }  # fmt: skip
    assert "mine/corpus: job 103 stays, as another run waits for it" in capsys.readouterr().out
    assert lab.say("cancel", "second") == 0
    assert {comment.split("/runs/")[1] for comment in lab.slurm.queue().values()} == {
        "mine/collect:first", "mine/corpus:first",
    }  # fmt: skip
    assert lab.say("cancel", "first") == 0
    assert lab.slurm.queue() == {}


def test_cancel_ends_the_arrays_of_tasks_too(lab, capsys):
    lab.say("submit")
    lab.slurm.put(900, f"groundup:tasks:{lab.runs}/mine/corpus:mine")
    lab.slurm.put(901, f"groundup:tasks:{lab.runs}/other/corpus:other")
    assert lab.say("cancel") == 0
    assert set(lab.slurm.queue()) == {901}
    assert "mine/corpus: job 900 is cancelled" in capsys.readouterr().out


def check(lab: Lab, *words: str) -> int:
    """The check of one node, as its script starts it."""
    return node([str(lab.runs), "--hosts", "127.0.0.1", "--port", "0", "--check", *words])


def test_a_node_must_see_what_the_submission_wrote(lab, capsys, monkeypatch):
    """As one would not that has another folder under the same path."""
    monkeypatch.setattr("pipeline.cluster.peers.SEEN", 0.3)
    monkeypatch.setattr("pipeline.cluster.node.Peers.meet", lambda self, mark, patience: None)
    lab.say("submit")
    file = lab.runs / "mine" / "logs" / "submits"
    token = file.read_text().split()[1]
    script = (lab.runs / "mine" / "logs" / "check-default.sbatch").read_text()
    assert f'--submits {file} --token "${{1:-}}"\n' in script
    assert check(lab, "--submits", str(file), "--token", token) == 0
    assert check(lab, "--submits", str(file), "--token", "another") == 2
    assert f") does not see what make submit wrote to {file}. Runs must lie on storage that" in capsys.readouterr().err


def test_a_folder_for_runs_that_a_node_lacks_is_one_message(lab, capsys):
    lab.runs.rmdir()
    assert check(lab) == 2
    assert f"{lab.runs}/.nodes-check-0: No such file or directory. Runs must lie on storage" in capsys.readouterr().err


def test_checks_that_run_at_the_same_time_have_marks_of_their_own_and_leave_none(lab, monkeypatch):
    seen = []
    monkeypatch.setattr("pipeline.cluster.node.Peers.meet", lambda self, mark, patience: seen.append(mark.name))
    monkeypatch.setenv("SLURM_NODEID", "0")
    monkeypatch.setenv("SLURM_STEP_NUM_NODES", "1")
    monkeypatch.setenv("SLURM_LAUNCH_NODE_IPADDR", "127.0.0.1")
    for job in ("7", "10007"):
        monkeypatch.setenv("SLURM_JOB_ID", job)
        assert node([str(lab.runs), "--hosts", "slurm", "--check"]) == 0
    assert seen == [".nodes-check-7", ".nodes-check-10007"]
    assert list(lab.runs.iterdir()) == []


def test_a_check_that_failed_without_a_log_says_where_to_look(lab, capsys):
    lab.say("submit")
    lab.slurm.put(901, f"groundup:check:{lab.runs}/mine/check-default:mine", state="FAILED")
    capsys.readouterr()
    lab.say("status")
    row = next(line for line in capsys.readouterr().out.splitlines() if "check-default" in line)
    assert f"it wrote no log: does its node have {lab.runs / 'mine' / 'logs'}?" in row


def stopped_at_its_limit(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, work: str) -> tuple[int, str]:
    """Runs the rendered script of collect with another driver in it, which is warned and then ends with 143."""
    lab.say("submit")
    text = (lab.runs / "mine" / "logs" / "collect.sbatch").read_text()
    command = next(line for line in text.splitlines() if "-m pipeline.run" in line)
    driver_script = tmp_path / "driver.sh"
    driver_script.write_text(
        f"mkdir -p {lab.runs}/mine/collect/resume\n{work}\nkill -USR1 $PPID\nsleep 0.3\nexit 143\n"
    )
    script = tmp_path / "job.sh"
    script.write_text(text.replace(command, f"bash {driver_script} &").replace("sleep 60", ":"))
    scontrol = lab.slurm.folder / "bin" / "scontrol"
    scontrol.write_text("#!/bin/bash\necho scontrol $@\n")
    scontrol.chmod(0o755)
    monkeypatch.setenv("SLURM_JOB_ID", "102")
    done = subprocess.run(["bash", str(script)], capture_output=True, text=True, check=False, timeout=60)
    return done.returncode, done.stdout


@pytest.mark.parametrize(
    ("work", "queued_again"),
    [
        ("", False),
        ("echo a line > {resume}/log.jsonl", False),
        ("echo weights > {resume}/step-10", True),
    ],
)
def test_a_job_is_queued_again_only_with_something_new_to_go_on_from(lab, tmp_path, monkeypatch, work, queued_again):
    resume = lab.runs / "mine" / "collect" / "resume"
    code, said = stopped_at_its_limit(lab, tmp_path, monkeypatch, work.format(resume=resume))
    assert ("scontrol requeue 102" in said) == queued_again
    if not queued_again:
        assert code == 1
        assert (
            "error: mine/collect reached its time limit and kept nothing to go on from, so the next job would end the "
            "same. Raise time of stages.collect in the profile."
        ) in said


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--runs", "/elsewhere"], "RUNS=/elsewhere: on a cluster the runs lie in {runs}, by"),
        (
            ["--accel", "zero2"],
            "ACCEL=zero2: on a cluster the profile says it: accel: zero2, under default or a stage",
        ),
    ],
)
def test_what_make_takes_elsewhere_and_a_cluster_ignores_is_refused(lab, capsys, words, message):
    assert lab.say("submit", "mine", *words) == 2
    assert message.format(runs=lab.runs) in capsys.readouterr().err
    assert lab.slurm.queue() == {}
    assert lab.say("submit", "mine", "--runs", f"{lab.runs}/") == 0


def test_the_names_by_which_a_job_is_known_are_read_back(lab):
    lab.slurm.put(5, slurm.comment("0123456789abcdef", Path("/r/mine/sft"), "other"), "PENDING", "afterok:3:4")
    (job,) = queue.jobs()
    assert (job.fingerprint, job.folder, job.by) == ("0123456789abcdef", Path("/r/mine/sft"), "other")
    assert job.after == {3, 4}
