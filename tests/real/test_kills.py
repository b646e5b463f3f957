"""SIGKILL at three moments of a run: the same make goes on, redoes nothing finished, and the result verifies."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
TOY = ROOT / "tests" / "toy"
pytestmark = [pytest.mark.real, pytest.mark.timeout(900)]


def command(runs: Path, target: str) -> list[str]:
    venv = Path(sys.executable).parent.parent
    return ["make", "--no-print-directory", f"RECIPE={TOY}", f"RUNS={runs}", f"VENV={venv}", target]


def kill_when(runs: Path, moment: Callable[[], bool]) -> None:
    """Starts make and kills make and the driver without warning at the moment; the worker must die by itself."""
    process = subprocess.Popen(
        command(runs, "all"), cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    deadline = time.monotonic() + 300
    while not moment():
        assert process.poll() is None, f"make ended with {process.returncode} before the moment came"
        assert time.monotonic() < deadline, "the moment never came"
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def finished(run: Path) -> dict[str, str]:
    """For each sealed stage when it was made."""
    return {path.parent.name: json.loads(path.read_text())["started"] for path in run.glob("*/manifest.json")}


def test_a_run_killed_three_times_completes_and_verifies(tmp_path):
    run = tmp_path / "toy"
    moments = {
        "early in corpus": lambda: (run / "corpus" / "job.json").exists(),
        "pretraining, after a checkpoint": lambda: any((run / "pretrain" / "resume").glob("*/sha256.json")),
        "reward, in the middle of the work": lambda: (run / "reward" / "resume").is_dir(),
    }
    for name, moment in moments.items():
        before = finished(run)
        kill_when(tmp_path, moment)
        after = finished(run)
        assert before.items() <= after.items(), f"{name}: a finished stage was redone"
    before = finished(run)
    done = subprocess.run(command(tmp_path, "all"), cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "[toy/reward] resumes" in done.stderr
    assert before.items() <= finished(run).items()
    done = subprocess.run(command(tmp_path, "verify"), cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_a_full_disk_is_one_message_and_nothing_looks_finished(tmp_path):
    """Files over 64 KiB cannot be written, as on a disk that fills up in the middle of a stage."""
    import resource

    done = subprocess.run(
        [sys.executable, "-m", "pipeline.run", "collect", "--recipe", str(TOY), "--runs", str(tmp_path)],
        cwd=ROOT, capture_output=True, text=True, check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, 1 << 16)),
    )  # fmt: skip
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "error: File too large" in done.stderr
    assert not (tmp_path / "toy" / "collect" / "manifest.json").exists()
