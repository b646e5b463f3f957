"""Artifacts: the manifest is last, files are checked, nothing finished is lost."""

import json
import os

import pytest

from pipeline import artifact
from pipeline.stage import Section, Stage, StageRecipe, UserError


class Inner(Section):
    depth: int = 2


class Recipe(StageRecipe):
    unhashed = frozenset({"log_every"})
    steps: int = 1
    log_every: int = 10
    inner: Inner = Inner()


STAGE = Stage(name="toy", version=1, recipe=Recipe, verb="nowhere:run")


def print_of(stage=STAGE, recipe=None, seed=0, inputs=None, outside=None):
    return artifact.fingerprint(artifact.identity(stage, recipe or Recipe(), seed, inputs or {}, outside))


@pytest.mark.parametrize(
    "change",
    [
        {"recipe": Recipe(steps=2)},
        {"recipe": Recipe(inner=Inner(depth=3))},
        {"seed": 1},
        {"inputs": {"corpus": "ab"}},
        {"outside": ["a file"]},
        {"stage": Stage(name="toy", version=2, recipe=Recipe, verb="nowhere:run")},
    ],
)
def test_whatever_can_change_the_result_changes_the_fingerprint(change):
    assert print_of(**change) != print_of()


def test_log_intervals_do_not_change_the_fingerprint():
    assert print_of(recipe=Recipe(log_every=99)) == print_of()


def sealed(tmp_path, name="toy"):
    folder = tmp_path / name
    artifact.claim(folder, {"fingerprint": "f" * 64})
    (folder / "model").mkdir()
    (folder / "model" / "weights").write_bytes(b"12345")
    (folder / "log.jsonl").write_text("{}\n")
    artifact.seal(folder, {"fingerprint": "f" * 64, "stage": name})
    return folder


def test_sealing_lists_every_file_and_ends_the_claim(tmp_path):
    folder = sealed(tmp_path)
    manifest = artifact.manifest(folder)
    assert [(o["file"], o["bytes"]) for o in manifest["outputs"]] == [("log.jsonl", 3), ("model/weights", 5)]
    assert artifact.claimed(folder) is None
    assert artifact.verify(folder) == []


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / "model" / "weights").write_bytes(b"12346"), "weights: differs"),
        (lambda f: (f / "model" / "weights").unlink(), "weights: is missing"),
        (lambda f: (f / "model" / "extra").write_bytes(b""), "extra: is not in the manifest"),
        (lambda f: (f / "manifest.json").unlink(), "unfinished"),
    ],
)
def test_verify_names_what_differs(tmp_path, damage, message):
    folder = sealed(tmp_path)
    damage(folder)
    problems = artifact.verify(folder)
    assert len(problems) == 1
    assert message in problems[0]


def test_a_damaged_manifest_is_one_clear_error(tmp_path):
    folder = sealed(tmp_path)
    (folder / "manifest.json").write_text("{")
    with pytest.raises(UserError, match=r"manifest\.json: is damaged"):
        artifact.manifest(folder)


def test_a_claim_clears_all_but_what_a_killed_run_goes_on_from(tmp_path):
    folder = tmp_path / "toy"
    (folder / "resume").mkdir(parents=True)
    (folder / "resume" / "checkpoint").write_text("kept")
    (folder / "half").mkdir()
    (folder / "half" / "written").write_text("gone")
    artifact.claim(folder, {"fingerprint": "a"})
    assert sorted(str(p.relative_to(folder)) for p in folder.rglob("*")) == ["job.json", "resume", "resume/checkpoint"]


def test_setting_aside_never_overwrites_and_what_is_there_is_found(tmp_path):
    first = artifact.set_aside(sealed(tmp_path), "f" * 64)
    second = artifact.set_aside(sealed(tmp_path), "f" * 64)
    assert first != second
    assert artifact.manifest(first)["stage"] == artifact.manifest(second)["stage"] == "toy"
    assert artifact.kept_aside(tmp_path / "toy", "f" * 64) == first
    assert artifact.verify(first) == []
    assert artifact.kept_aside(tmp_path / "other", "e" * 64) is None


def test_a_second_writer_is_refused(tmp_path):
    with (
        artifact.lock(tmp_path / "toy"),
        pytest.raises(UserError, match="another run is building it"),
        artifact.lock(tmp_path / "toy", patience=0.1),
    ):
        pytest.fail("two writers hold one artifact")


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "manifest.json"
    artifact.write_json(path, {"a": 1})

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        artifact.write_json(path, {"a": 2})
    assert json.loads(path.read_text()) == {"a": 1}
