"""Starts a stage's worker, one process or several, and measures what it cost.

One process is plain Python; several are torchrun on CPU (where `accelerate launch` starts only one) and
`accelerate launch` on GPUs. The worker dies with the driver: it watches its standard input, which the driver holds.
"""

import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from pipeline.machine import cores, gpus
from pipeline.recipe import load_yaml
from pipeline.stage import Stage, UserError

CONFIGS = Path(__file__).resolve().parent.parent / "accelerate_configs"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a worker ended. peak_memory_bytes: the largest resident set of any one process. load: CPU-s per second."""

    status: int
    metrics: dict[str, float]
    seconds: float
    cpu_seconds: float
    peak_memory_bytes: int
    processes: int

    @property
    def load(self) -> float:
        return round(self.cpu_seconds / max(self.seconds, 1e-9), 2)


def config(accel: str | None) -> dict[str, Any]:
    """The accelerate config by name; by default the one that fits the machine."""
    if accel is None:
        accel = {0: "cpu", 1: "single_gpu"}.get(len(gpus()), "ddp")
    path = CONFIGS / f"{accel}.yaml"
    if not path.is_file():
        names = ", ".join(sorted(p.stem for p in CONFIGS.glob("*.yaml")))
        raise UserError(f"ACCEL={accel}: no such file under accelerate_configs/. There are: {names}.")
    return {**load_yaml(path), "path": str(path)}


def command(stage: Stage, folder: Path, accel: dict[str, Any]) -> tuple[list[str], int]:
    """The worker's command line and its number of processes."""
    worker = ["-m", "pipeline.worker", str(folder)]
    if not stage.distributed or (accel.get("num_processes", 1) == 1 and not gpus()):
        return [sys.executable, *worker], 1
    if accel.get("use_cpu"):
        processes = int(accel["num_processes"])
        return [
            sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}", *worker,
        ], processes  # fmt: skip
    processes = len(gpus()) if accel["distributed_type"] != "NO" else 1
    return [
        sys.executable, "-m", "accelerate.commands.launch", "--config_file", accel["path"],
        "--num_processes", str(processes), *worker,
    ], processes  # fmt: skip


def environment(processes: int, accel: dict[str, Any]) -> dict[str, str]:
    """The worker's environment: threads shared out among processes, telemetry off."""
    env = dict(os.environ)
    env.setdefault("OMP_NUM_THREADS", str(max(1, cores() // processes)))
    env.setdefault("TOKENIZERS_PARALLELISM", "true")
    # glibc gives large blocks back to the system and fetches them anew each step: 3 to 10 % of a small model's time.
    env.setdefault("MALLOC_MMAP_THRESHOLD_", str(2**25))
    env.setdefault("MALLOC_TRIM_THRESHOLD_", str(2_000_000_000))
    env.setdefault("TQDM_DISABLE", "1")  # the libraries' bars; ours says what matters
    env.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    env.setdefault("HF_HUB_DISABLE_UPDATE_CHECK", "1")
    if accel.get("use_cpu"):
        env.setdefault("DS_ACCELERATOR", "cpu")
        env |= cpu_engine(accel)
    source = str(Path(__file__).resolve().parent.parent)
    env["PYTHONPATH"] = os.pathsep.join(filter(None, [source, env.get("PYTHONPATH")]))
    return env


def cpu_engine(accel: dict[str, Any]) -> dict[str, str]:
    """What `accelerate launch` would say in the environment, where torchrun starts the processes. With DeepSpeed the
    processor is not named: accelerate would take plain data parallelism in its place."""
    if accel["distributed_type"] != "DEEPSPEED":
        return {"ACCELERATE_USE_CPU": "true"}
    stage = accel["deepspeed_config"]["zero_stage"]
    return {"ACCELERATE_USE_DEEPSPEED": "true", "ACCELERATE_DEEPSPEED_ZERO_STAGE": str(stage)}


def launch(stage: Stage, folder: Path, accel_name: str | None, lock: int) -> Outcome:
    """Runs the worker to its end. SIGTERM and SIGINT are passed on as SIGTERM, for which workers checkpoint."""
    accel = config(accel_name)
    line, processes = command(stage, folder, accel)
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    worker = subprocess.Popen(
        line, stdin=subprocess.PIPE, env=environment(processes, accel), pass_fds=[lock], start_new_session=True
    )

    def forward(number: int, frame: FrameType | None) -> None:
        if worker.poll() is None:
            os.killpg(worker.pid, signal.SIGTERM)

    main_thread = threading.current_thread() is threading.main_thread()
    old = {n: signal.signal(n, forward) for n in (signal.SIGTERM, signal.SIGINT)} if main_thread else {}
    try:
        status = worker.wait()
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
        with contextlib.suppress(ProcessLookupError):
            # Whatever a killed worker left behind (pool processes) must not write into a folder that is built again.
            os.killpg(worker.pid, signal.SIGKILL)
    after, seconds = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic() - started
    metrics = folder / "metrics.json"
    if status == 0 and not metrics.is_file():
        raise RuntimeError(f"{stage.name}: the worker ended with status 0 and wrote no {metrics}")
    scale = 1 if sys.platform == "darwin" else 1024  # ru_maxrss is in KiB on Linux
    return Outcome(
        status=status if status >= 0 else 1 if status != -signal.SIGTERM else 143,
        metrics=json.loads(metrics.read_text()) if status == 0 else {},
        seconds=seconds,
        cpu_seconds=after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        peak_memory_bytes=after.ru_maxrss * scale,
        processes=processes,
    )
