"""What a run stands on, for the manifest: processor, memory, accelerators, package versions, the tree's commit."""

import importlib.metadata
import json
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.stage import UserError

# The packages whose version can change a result; all others are in constraints.txt.
PACKAGES = (
    "torch", "transformers", "datasets", "tokenizers", "accelerate", "peft", "trl", "deepspeed", "evaluate",
    "datatrove", "numpy", "safetensors",
)  # fmt: skip


def _output(*command: str) -> str:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=10, cwd=Path(__file__).parent, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def gpus() -> list[str]:
    """Names of the NVIDIA accelerators, asked without importing torch."""
    return _output("nvidia-smi", "--query-gpu=name", "--format=csv,noheader").splitlines()


def gpu_watts() -> float | None:
    """The power that all NVIDIA accelerators draw now; None where there is none, or one that does not tell."""
    lines = _output("nvidia-smi", "--query-gpu=power.draw", "--format=csv,noheader,nounits").splitlines()
    try:
        return sum(map(float, lines)) if lines else None
    except ValueError:  # "[N/A]"
        return None


def describe() -> dict[str, Any]:
    """The hardware, in words and numbers."""
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "machine": platform.machine(),
        "system": platform.system(),
        "cores": cores(),
        "memory_bytes": pages,
        "accelerators": gpus(),
    }


def versions() -> dict[str, str]:
    """The packages that can change a result, and Python itself."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "absent"
    return found


def versions_in(python: Sequence[str]) -> dict[str, str]:
    """What another Python has, such as that of a container. Raises UserError where it does not start, or lacks us."""
    source = str(Path(__file__).resolve().parent.parent)
    try:
        done = subprocess.run(
            [*python, "-m", "pipeline.machine"], capture_output=True, text=True, check=False,
            env={**os.environ, "PYTHONPATH": source},
        )  # fmt: skip
    except OSError as error:
        raise UserError(f"python = {shlex.join(python)}: {error.strerror}: {error.filename}.") from None
    try:
        found: dict[str, str] = json.loads(done.stdout)
    except ValueError:
        said = done.stderr.strip() or done.stdout.strip() or f"status {done.returncode}, and not a word"
        raise UserError(
            f"python = {shlex.join(python)}: this does not start a Python that has groundup's packages and sees "
            f"{source}:\n{said[-1000:]}"
        ) from None
    return found


def provenance(python: Sequence[str] | None = None) -> dict[str, Any]:
    """Commit, whether the tree was dirty, and package versions: this Python's, or another's."""
    found = versions_in(python) if python else versions()
    commit = _output("git", "rev-parse", "HEAD")
    return {
        "git": {"commit": commit or None, "dirty": bool(_output("git", "status", "--porcelain")) if commit else None},
        "python": found.pop("python"),
        "packages": found,
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(versions()))
