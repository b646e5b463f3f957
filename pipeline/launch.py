"""Starts a stage's worker, one process or several, here or on several hosts, and measures what it cost.

One process is plain Python; several are torchrun on CPU (where `accelerate launch` starts only one) and
`accelerate launch` on GPUs; on several hosts each has its share of them (pipeline/cluster/node.py). The worker dies
with the driver: it watches its standard input, which the driver holds.
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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from pipeline.artifact import RESUME
from pipeline.energy import Meter
from pipeline.machine import cores, gpus
from pipeline.recipe import load_yaml
from pipeline.stage import Stage, UserError

HERE = (sys.executable,)
CONFIGS = Path(__file__).resolve().parent.parent / "accelerate_configs"
# What accelerate has to be told of several machines beside its config. It takes --multi_gpu as a choice against the
# config's engine and trains unsharded; and for DeepSpeed it would reach for pdsh, though every machine starts its own.
ENGINE_WORDS = {"DEEPSPEED": ["--deepspeed_multinode_launcher", "standard"], "FSDP": []}


@dataclass(frozen=True, kw_only=True)
class Hosts:
    """The machines that a stage of several processes runs on. names: their addresses, comma between, this one first;
    "slurm" for the nodes of the allocation that this runs in. quiet: as a Place's."""

    names: str
    port: int
    quiet: int

    @property
    def slurm(self) -> bool:
        return self.names == "slurm"


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where this node stands among the others. quiet: seconds without a sign of life after which a node is lost."""

    rank: int
    nodes: int
    head: str
    port: int
    quiet: int = 60


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a worker ended. peak_memory_bytes: the largest resident set of any one process. load: CPU-s per second.
    joules: energy of the whole machine by source, {} where it measures none."""

    status: int
    metrics: dict[str, float]
    seconds: float
    cpu_seconds: float
    peak_memory_bytes: int
    processes: int
    joules: Mapping[str, float] = field(default_factory=dict)

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


def command(
    stage: Stage, folder: Path, accel: dict[str, Any], hosts: Hosts | None = None, python: Sequence[str] = HERE
) -> tuple[list[str], int]:
    """The worker's command line and its number of processes on this host. python: what starts Python for it."""
    if stage.distributed and hosts is not None:
        return node_command(folder, accel, hosts, python), 1
    if not stage.distributed or (accel.get("num_processes", 1) == 1 and not gpus()):
        return [*python, "-m", "pipeline.worker", str(folder)], 1
    return agent_command(folder, accel, python=python)


def agent_command(
    folder: Path, accel: dict[str, Any], place: Place | None = None, python: Sequence[str] = HERE
) -> tuple[list[str], int]:
    """The command that starts this host's worker processes, and their number. A config says how many one host has.

    The nodes' own wires have the place's port, so the agents meet at the next one.
    """
    worker, cpu = ["-m", "pipeline.worker", str(folder)], accel.get("use_cpu")
    if cpu:
        processes = int(accel["num_processes"])
        where = ["--standalone"] if place is None else [
            f"--nnodes={place.nodes}", f"--node_rank={place.rank}", f"--master_addr={place.head}",
            f"--master_port={place.port + 1}",
        ]  # fmt: skip
        return [
            *python, "-m", "torch.distributed.run", *where, f"--nproc_per_node={processes}", *worker,
        ], processes  # fmt: skip
    processes = len(gpus()) if place is not None or accel["distributed_type"] != "NO" else 1
    where = [] if place is None else [
        "--num_machines", str(place.nodes), "--machine_rank", str(place.rank), "--main_process_ip", place.head,
        "--main_process_port", str(place.port + 1), *ENGINE_WORDS.get(accel["distributed_type"], ["--multi_gpu"]),
    ]  # fmt: skip
    return [
        *python, "-m", "accelerate.commands.launch", "--config_file", accel["path"],
        "--num_processes", str(processes * (place.nodes if place else 1)), *where, *worker,
    ], processes  # fmt: skip


def node_command(folder: Path, accel: dict[str, Any], hosts: Hosts, python: Sequence[str] = HERE) -> list[str]:
    """The command that starts this host's share, or, on Slurm, every host's."""
    node = [
        *python, "-m", "pipeline.cluster.node", str(folder.resolve()), "--hosts", hosts.names,
        "--port", str(hosts.port), "--quiet", str(hosts.quiet), "--accel", Path(accel["path"]).stem, "--driven",
    ]  # fmt: skip
    if not hosts.slurm:
        return node
    return ["srun", "--ntasks-per-node=1", "--kill-on-bad-exit=1", "--label", *node]


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


def first_gpu() -> dict[str, str]:
    """Shows a stage of one process one card. With several in sight transformers' Trainer puts the model on all of them
    (DataParallel), slowly, and trains on batches that are larger by their number."""
    seen = os.environ.get("CUDA_VISIBLE_DEVICES")
    return {"CUDA_VISIBLE_DEVICES": ("0" if seen is None else seen).split(",")[0]} if len(gpus()) > 1 else {}


def cpu_engine(accel: dict[str, Any]) -> dict[str, str]:
    """What `accelerate launch` would say in the environment, where torchrun starts the processes. With DeepSpeed the
    processor is not named: accelerate would take plain data parallelism in its place."""
    if accel["distributed_type"] != "DEEPSPEED":
        return {"ACCELERATE_USE_CPU": "true"}
    stage = accel["deepspeed_config"]["zero_stage"]
    return {"ACCELERATE_USE_DEEPSPEED": "true", "ACCELERATE_DEEPSPEED_ZERO_STAGE": str(stage)}


def launch(
    stage: Stage, folder: Path, accel_name: str | None, lock: int, hosts: Hosts | None = None,
    python: Sequence[str] = HERE,
) -> Outcome:  # fmt: skip
    """Runs the worker to its end. SIGTERM and SIGINT are passed on as SIGTERM, for which workers checkpoint."""
    accel = config(accel_name)
    line, processes = command(stage, folder, accel, hosts, python)
    shared = stage.distributed and hosts is not None
    env = {**environment(processes, accel), **({} if stage.distributed else first_gpu())}
    for stale in (folder / RESUME).glob("usage-*.json"):
        stale.unlink()
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    worker = subprocess.Popen(line, stdin=subprocess.PIPE, env=env, pass_fds=[lock], start_new_session=True)

    def forward(number: int, frame: FrameType | None) -> None:
        if worker.poll() is None and line[0] == "srun":
            os.kill(worker.pid, signal.SIGUSR1)  # which srun passes on; SIGTERM it takes as an order to kill its tasks
        elif worker.poll() is None:
            os.killpg(worker.pid, signal.SIGTERM)

    main_thread = threading.current_thread() is threading.main_thread()
    old = {n: signal.signal(n, forward) for n in (signal.SIGTERM, signal.SIGINT)} if main_thread else {}
    meter = Meter()
    try:
        with meter:
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
    cpu_seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    peak = after.ru_maxrss
    if shared and status == 0:
        nodes = [json.loads(path.read_text(encoding="utf-8")) for path in (folder / RESUME).glob("usage-*.json")]
        cpu_seconds = sum(node["cpu_seconds"] for node in nodes)
        peak = max(node["peak_memory"] for node in nodes)
        processes = sum(node["processes"] for node in nodes)
    scale = 1 if sys.platform == "darwin" else 1024  # ru_maxrss is in KiB on Linux
    return Outcome(
        status=status if status >= 0 else 1 if status != -signal.SIGTERM else 143,
        metrics=json.loads(metrics.read_text()) if status == 0 else {},
        seconds=seconds,
        cpu_seconds=cpu_seconds,
        peak_memory_bytes=peak * scale,
        processes=processes,
        joules=meter.joules,
    )
