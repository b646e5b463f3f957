"""What a run stands on, for the manifest: processor, memory, accelerators, package versions, the tree's commit."""

import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

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


def provenance() -> dict[str, Any]:
    """Commit, whether the tree was dirty, and package versions."""
    found = versions()
    commit = _output("git", "rev-parse", "HEAD")
    return {
        "git": {"commit": commit or None, "dirty": bool(_output("git", "status", "--porcelain")) if commit else None},
        "python": found.pop("python"),
        "packages": found,
    }
