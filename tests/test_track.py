"""Tracking: a log is handed on while it grows, once, from a process of its own, and nothing leaves the machine."""

import json
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from pipeline import track
from pipeline.chain import CHAIN
from pipeline.recipe import load
from pipeline.stage import UserError
from pipeline.track import Tracker, check, environment, follow, following, new_entries

JOB = {"stage": "sft", "run_name": "toy", "fingerprint": "abcdef0123456789", "seed": 3, "recipe": {"folder": "/a/b"}}


@pytest.fixture
def folder(tmp_path):
    """A claimed stage whose log has two lines and half a third."""
    place = tmp_path / "runs" / "toy" / "sft"
    (place / "resume").mkdir(parents=True)
    (place / "job.json").write_text(json.dumps(JOB))
    write(place / "log.jsonl", 10, 20)
    with (place / "log.jsonl").open("a") as file:
        file.write('{"step": 30, "lo')
    return place


def write(path: Path, *steps: int) -> None:
    with path.open("a") as file:
        file.writelines(json.dumps({"step": step, "loss": 1 / step}) + "\n" for step in steps)


class Notes:
    """A tracker that remembers what it was told."""

    def __init__(self, monkeypatch) -> None:
        self.told, self.finished, self.made = [], 0, []
        monkeypatch.setitem(track.TRACKERS, "notes", self.make)

    def make(self, *what):
        self.made.append(what)
        return Tracker(log=lambda numbers, step: self.told.append((step, *numbers)), finish=self.finish)

    def finish(self) -> None:
        self.finished += 1


def looks(*steps) -> iter:
    """Says after each step whether the stage has ended; a function among them is called first."""
    left = list(steps)

    def ended() -> bool:
        one = left.pop(0)
        return one if isinstance(one, bool) else bool(one())

    return ended


def test_a_log_is_handed_on_as_it_grows_and_then_the_metrics(folder, monkeypatch):
    notes = Notes(monkeypatch)
    (folder / "log.jsonl").write_text("")
    grows = looks(
        False,
        lambda: write(folder / "log.jsonl", 10),
        lambda: write(folder / "log.jsonl", 20, 30),
        lambda: (folder / "metrics.json").write_text('{"heldout_loss": 0.5}'),
    )
    assert follow(folder, "notes", folder.parent / "store", grows) == 30
    assert notes.told == [(10, "loss"), (20, "loss"), (30, "loss"), (30, "final/heldout_loss")]
    assert notes.finished == 1
    ((project, name, config, _),) = notes.made
    assert (project, name) == ("toy", "sft-abcdef01")
    assert config == {"seed": 3, "fingerprint": JOB["fingerprint"], "folder": "b"}


def test_half_a_line_waits_for_its_end_and_the_log_of_a_killed_run_is_found(folder):
    assert [entry["step"] for entry in new_entries(folder, -1)] == [10, 20]
    assert [entry["step"] for entry in new_entries(folder, 10)] == [20]
    write(folder / "resume" / "log.jsonl", 5)
    assert [entry["step"] for entry in new_entries(folder, -1)] == [5]


def test_a_resumed_stage_is_not_told_twice(folder, monkeypatch):
    notes = Notes(monkeypatch)
    store = folder.parent / "store"
    follow(folder, "notes", store, looks(True))
    (folder / "log.jsonl").write_text("")
    write(folder / "log.jsonl", 10, 20, 30)
    follow(folder, "notes", store, looks(True))
    assert [step for step, *_ in notes.told] == [10, 20, 30]


def test_a_stage_without_a_log_makes_no_tracker(folder, monkeypatch):
    notes = Notes(monkeypatch)
    (folder / "log.jsonl").unlink()
    assert follow(folder, "notes", folder.parent / "store", looks(False, True)) == -1
    assert notes.made == [] and notes.finished == 0


def test_trackio_is_really_told_and_only_on_this_machine(folder, monkeypatch):
    for name in ("SPACE_ID", "SERVER_URL", "WEBHOOK_URL", "BUCKET_ID", "DATASET_ID"):
        monkeypatch.setenv(f"TRACKIO_{name}", "https://somewhere.invalid/x")
    runs = folder.parent.parent
    with following(folder, "trackio", runs):
        (folder / "metrics.json").write_text('{"heldout_loss": 0.5}')
    with sqlite3.connect(runs / ".tracking" / "trackio" / "toy.db") as database:
        rows = database.execute("select run_name, step, metrics from metrics order by id").fetchall()
    assert [(name, step, json.loads(told)) for name, step, told in rows] == [
        ("sft-abcdef01", 10, {"loss": 0.1}),
        ("sft-abcdef01", 20, {"loss": 0.05}),
        ("sft-abcdef01", 20, {"final/heldout_loss": 0.5}),
    ]


def test_what_would_make_trackio_send_is_taken_out_of_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("TRACKIO_SPACE_ID", "org/space")
    found = {key: value for key, value in environment(tmp_path).items() if key.startswith("TRACKIO_")}
    assert found == {"TRACKIO_DIR": str(tmp_path / "trackio")}


def test_a_tracker_that_fails_stops_nothing(folder, capsys):
    (folder / "job.json").write_text("no JSON")
    with following(folder, "trackio", folder.parent.parent):
        pass
    assert "tracking: trackio failed (1); the stage is not affected" in capsys.readouterr().err


def test_off_starts_no_process(folder, monkeypatch):
    monkeypatch.setattr(subprocess, "Popen", lambda *a, **k: pytest.fail("a process was started"))
    with following(folder, None, folder.parent.parent):
        pass
    assert not (folder.parent.parent / ".tracking").exists()


def test_tensorboard_and_wandb_are_told_in_their_own_words(folder, monkeypatch):
    calls = []

    def note(name):
        return lambda *given, **named: calls.append((name, given, named))

    writer = SimpleNamespace(add_text=note("text"), add_scalar=note("scalar"), close=note("close"))
    board = SimpleNamespace(SummaryWriter=lambda where: calls.append(("writer", (where,), {})) or writer)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", board)
    monkeypatch.setitem(
        sys.modules, "wandb", SimpleNamespace(init=note("init"), log=note("log"), finish=note("finish"))
    )
    store = folder.parent / "store"
    follow(folder, "tensorboard", store, looks(True))
    assert calls[0] == ("writer", (store / "tensorboard" / "toy" / "sft-abcdef01",), {})
    assert calls[2:] == [("scalar", ("loss", 0.1, 10), {}), ("scalar", ("loss", 0.05, 20), {}), ("close", (), {})]
    calls.clear()
    follow(folder, "wandb", folder.parent / "other", looks(True))
    assert [name for name, *_ in calls] == ["init", "log", "log", "finish"]
    assert calls[0][2]["resume"] == "allow" and calls[0][2]["project"] == "toy"
    assert calls[1][1:] == (({"loss": 0.1},), {"step": 10})


def test_a_tracker_that_is_not_installed_is_refused_before_the_stage(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    check(None)
    with pytest.raises(UserError, match="tracking = wandb: the package wandb is not installed"):
        check("wandb")


@pytest.mark.parametrize(
    ("base", "own", "expected"),
    [("", "", "trackio"), ("tracking: null", "", None), ("tracking: wandb", "tracking: null", None),
     ("tracking: null", "tracking: tensorboard", "tensorboard")],
)  # fmt: skip
def test_tracking_is_the_recipes_or_its_bases(tmp_path, base, own, expected):
    for name, text in (("low", base), ("high", f"base: {tmp_path / 'low'}\n{own}")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "recipe.yaml").write_text(text)
        (tmp_path / name / "evaluate.yaml").write_text("{}")
    assert load(str(tmp_path / "high"), CHAIN).tracking == expected


def test_an_unknown_tracker_is_refused(tmp_path):
    (tmp_path / "recipe.yaml").write_text("tracking: mlflow")
    with pytest.raises(UserError, match="tracking = \"mlflow\": Input should be 'trackio', 'tensorboard' or 'wandb'"):
        load(str(tmp_path), CHAIN)


def test_the_dashboard_of_nothing_is_refused(tmp_path, capsys):
    assert track.main(["show", "--runs", str(tmp_path)]) == 2
    assert "nothing was tracked with trackio yet" in capsys.readouterr().err


def test_the_process_ends_with_its_driver(folder, tmp_path):
    """A driver that is killed closes the pipe, and the tracker ends by itself."""
    code = (
        "import os, sys\nfrom pathlib import Path\nfrom pipeline.track import following\n"
        f"with following(Path({str(folder)!r}), 'trackio', Path({str(tmp_path)!r})):\n    os._exit(9)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environment(tmp_path), timeout=60, check=False)
    assert done.returncode == 9
    noted = tmp_path / ".tracking" / "toy-sft-abcdef01.step"
    for _ in range(300):
        if noted.is_file():
            break
        time.sleep(0.1)
    assert noted.read_text() == "20"
