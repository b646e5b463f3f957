"""Checkpoints are whole or passed over: damage is found and named, and an older valid one is used."""

import json
import random
from pathlib import Path

import pytest

from pipeline.checkpoint import SEAL, find_fault, newest_valid, numbered, save_atomically, seal


def write(folder: Path, content: int = 0) -> None:
    (folder / "model.safetensors").write_bytes(random.Random(content).randbytes(500))
    (folder / "rng").mkdir()
    (folder / "rng" / "rank0.json").write_text(f'{{"step": {content}}}')


def save(root: Path, step: int, keep: int = 3) -> None:
    save_atomically(root / f"step-{step}", lambda folder: write(folder, step), keep)


def test_newest_by_number_is_used_not_by_name(tmp_path):
    for step in (9, 10, 8):
        save(tmp_path, step)
    assert newest_valid(tmp_path) == tmp_path / "step-10"
    assert newest_valid(tmp_path / "absent") is None


def test_only_the_newest_ones_are_kept(tmp_path):
    for step in range(1, 6):
        save(tmp_path, step, keep=2)
        assert newest_valid(tmp_path) == tmp_path / f"step-{step}"
    assert [path.name for path in numbered(tmp_path)] == ["step-5", "step-4"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-4", "step-5"]


def test_keeping_none_is_refused(tmp_path):
    with pytest.raises(ValueError, match="keep=0"):
        save(tmp_path, 1, keep=0)


def test_a_folder_without_a_number_is_refused(tmp_path):
    with pytest.raises(ValueError, match="number"):
        save_atomically(tmp_path / "last", write)


def test_a_failed_write_leaves_the_older_checkpoint_and_nothing_else(tmp_path):
    save(tmp_path, 1)

    def full_disk(folder: Path) -> None:
        write(folder)
        raise OSError(28, "No space left on device", str(folder / "optimizer.safetensors"))

    with pytest.raises(OSError, match="No space left"):
        save_atomically(tmp_path / "step-2", full_disk, 1)
    assert [path.name for path in tmp_path.iterdir()] == ["step-1"]
    assert newest_valid(tmp_path) == tmp_path / "step-1"


def test_remains_of_a_killed_write_are_no_checkpoint_and_are_swept(tmp_path):
    save(tmp_path, 1)
    (tmp_path / "step-2.tmp").mkdir()
    write(tmp_path / "step-2.tmp")
    assert newest_valid(tmp_path) == tmp_path / "step-1"
    save(tmp_path, 3)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-1", "step-3"]


def test_a_folder_that_was_never_sealed_is_passed_over_by_name(tmp_path, caplog):
    save(tmp_path, 1)
    (tmp_path / "checkpoint-7").mkdir()
    write(tmp_path / "checkpoint-7")
    assert newest_valid(tmp_path) == tmp_path / "step-1"
    assert "checkpoint-7" in caplog.text and "never finished" in caplog.text
    seal(tmp_path / "checkpoint-7")
    assert newest_valid(tmp_path) == tmp_path / "checkpoint-7"


def test_saving_a_step_again_replaces_it(tmp_path):
    save(tmp_path, 1)
    save_atomically(tmp_path / "step-1", lambda folder: write(folder, 42), 1)
    assert json.loads((tmp_path / "step-1" / "rng" / "rank0.json").read_text()) == {"step": 42}
    assert [path.name for path in tmp_path.iterdir()] == ["step-1"]


def test_an_empty_folder_is_not_sealed(tmp_path):
    (tmp_path / "step-1").mkdir()
    with pytest.raises(ValueError, match="nothing to seal"):
        seal(tmp_path / "step-1")


def test_every_flipped_byte_and_missing_file_is_named_or_passed_over(tmp_path, caplog):
    save(tmp_path, 1)
    save(tmp_path, 2)
    newest = tmp_path / "step-2"
    files = [newest / "model.safetensors", newest / "rng" / "rank0.json", newest / SEAL]
    whole = {path: path.read_bytes() for path in files}
    rng = random.Random(0)
    for trial in range(50):
        path = files[trial % 3]
        damaged = bytearray(whole[path])
        damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged)
        caplog.clear()
        assert newest_valid(tmp_path) == tmp_path / "step-1", f"{path.name}, trial {trial}"
        assert "step-2 is passed over" in caplog.text
        path.write_bytes(whole[path])
    for path in files:
        path.unlink()
        assert path.relative_to(newest).as_posix() in str(find_fault(newest))
        path.write_bytes(whole[path][:-1])
        assert find_fault(newest) is not None
        path.write_bytes(whole[path])
    assert newest_valid(tmp_path) == newest


def test_a_file_that_was_not_sealed_is_named(tmp_path):
    save(tmp_path, 1)
    (tmp_path / "step-1" / "planted.pkl").write_bytes(b"x")
    assert find_fault(tmp_path / "step-1") == f"planted.pkl is not in {SEAL}"
