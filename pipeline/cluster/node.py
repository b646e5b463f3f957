"""This node's share of a stage's processes. The driver calls it where a stage runs on several machines.

On Slurm the driver starts it on every node with srun. Elsewhere a person, or SkyPilot's task, starts the driver on the
first machine and this on the others, in the same checkout and environment, with the same shared storage:

    first:   python -m pipeline.run pretrain --runs /shared/runs --hosts 10.0.0.1,10.0.0.2
    second:  python -m pipeline.cluster.node /shared/runs/storyworld/pretrain --hosts 10.0.0.1,10.0.0.2 --rank 1

The processes themselves are torchrun's on CPU and accelerate's on GPUs. SIGTERM or SIGUSR1 on any node makes all of
them write a checkpoint and stop (143). `--check` only compares the nodes.
"""

import argparse
import contextlib
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType

import psutil

from pipeline.artifact import CLAIM, RESUME, write_json
from pipeline.cluster.peers import DONE, FAILED, STOP, Peers, sees
from pipeline.launch import Place, agent_command, config, environment
from pipeline.machine import cores
from pipeline.stage import UserError

PATIENCE = 600.0  # seconds to wait for the other nodes; the first may still be at an earlier stage
MARK = ".nodes-check"


class Share:
    """The agent (torchrun, accelerate launch) of this node and what may befall it."""

    def __init__(self, line: list[str], env: dict[str, str]) -> None:
        self.told, self.lost = False, ""
        # The workers read the pipe as their standard input and die when it closes.
        self.agent = subprocess.Popen(line, stdin=subprocess.PIPE, env=env, start_new_session=True)

    def stop(self) -> None:
        """Asks the workers themselves for a checkpoint: torchrun would give them 30 s and then SIGKILL."""
        self.told = True
        with contextlib.suppress(psutil.NoSuchProcess):
            workers = psutil.Process(self.agent.pid).children()
            for process in workers or [psutil.Process(self.agent.pid)]:
                process.send_signal(signal.SIGTERM)

    def kill(self, why: str) -> None:
        """Ends the agent and its workers at once."""
        self.lost = self.lost or why
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.agent.pid, signal.SIGKILL)
        if self.agent.stdin:
            self.agent.stdin.close()

    def status(self) -> int:
        """Waits for the end. 143 where it was told to stop; a worker's own status does not come through torchrun."""
        code = self.agent.wait()
        return 0 if code == 0 else 143 if self.told and not self.lost else 1


def interface_of(address: str) -> str | None:
    """The network interface with this address, for gloo, which else takes whatever the host's name resolves to."""
    for name, entries in psutil.net_if_addrs().items():
        if any(entry.address == address for entry in entries):
            return name
    return None


def own_address(place: Place, peers: Peers) -> str:
    """The address by which this node reaches the head, or is it."""
    return place.head if place.rank == 0 else peers.wires[0].getsockname()[0]


def place_of(args: argparse.Namespace) -> Place:
    """Where this node stands. Raises UserError where that cannot be told."""
    if args.hosts != "slurm":
        hosts = args.hosts.split(",")
        if not 0 <= args.rank < len(hosts):
            raise UserError(f"--rank {args.rank}: --hosts names {len(hosts)} machines, 0 to {len(hosts) - 1}.")
        return Place(rank=args.rank, nodes=len(hosts), head=hosts[0], port=args.port, quiet=args.quiet)
    missing = [name for name in ("SLURM_NODEID", "SLURM_LAUNCH_NODE_IPADDR") if name not in os.environ]
    if missing:
        raise UserError(f"--hosts slurm: {', '.join(missing)} not set, so srun did not start this. Name the hosts.")
    # Two ports of a job's own, so that jobs that share a node do not meet.
    port = 20_000 + 2 * (int(os.environ["SLURM_JOB_ID"]) % 10_000)
    return Place(
        rank=int(os.environ["SLURM_NODEID"]),
        nodes=int(os.environ["SLURM_STEP_NUM_NODES"]),
        head=os.environ["SLURM_LAUNCH_NODE_IPADDR"],
        port=port,
        quiet=args.quiet,
    )


def die_with_driver(share: Share) -> None:
    """Ends this node's processes when the driver's end of the pipe closes."""

    def watch() -> None:
        while os.read(0, 1):
            pass
        share.kill("the driver is gone")

    threading.Thread(target=watch, daemon=True).start()


def work(args: argparse.Namespace, peers: Peers, place: Place) -> int:
    """Starts this node's processes, once all nodes fit together, and sees them to their end."""
    accel = config(args.accel)
    line, processes = agent_command(args.folder, accel, place)
    env = environment(processes, accel)
    address = own_address(place, peers)
    if interface := interface_of(address):
        env.setdefault("GLOO_SOCKET_IFNAME", interface)
    share = Share(line, env)

    def told(number: int, frame: FrameType | None) -> None:
        peers.tell(STOP)
        share.stop()

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
        signal.signal(number, told)
    if args.driven:
        die_with_driver(share)
    peers.watch(share.stop, share.kill)
    status = share.status()
    if status == 0:
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        facts = {"cpu_seconds": used.ru_utime + used.ru_stime, "peak_memory": used.ru_maxrss, "processes": processes}
        (args.folder / RESUME).mkdir(exist_ok=True)
        write_json(args.folder / RESUME / f"usage-{place.rank}.json", facts)
    peers.part(DONE if status in (0, 143) else FAILED, patience=place.quiet)
    if share.lost:
        sys.stderr.write(f"error: node {place.rank} of {place.nodes} stopped: {share.lost}\n")
    return status


@contextlib.contextmanager
def marked(args: argparse.Namespace, place: Place) -> Iterator[Path]:
    """The file by which the nodes of a check see that they share storage, of this job alone."""
    job = os.environ["SLURM_JOB_ID"] if args.hosts == "slurm" else place.port
    mark = args.folder / f"{MARK}-{job}"
    if place.rank != 0:
        yield mark
        return
    try:
        mark.write_text(uuid.uuid4().hex, encoding="utf-8")
        yield mark
        mark.unlink()
    except OSError as error:
        raise UserError(
            f"node 0 ({socket.gethostname()}): {mark}: {error.strerror}. Runs must lie on storage that all nodes "
            f"share, under one path, and may write to."
        ) from None


def check(args: argparse.Namespace, place: Place) -> None:
    """Compares the nodes with each other, and their storage with that of whoever submitted. Raises UserError."""
    with marked(args, place) as mark:
        Peers(place).meet(mark, PATIENCE)
    if args.token and not sees(args.submits, args.token):
        raise UserError(
            f"node {place.rank} ({socket.gethostname()}) does not see what make submit wrote to {args.submits}. Runs "
            f"must lie on storage that all nodes and the machine that submits share, under one path."
        )
    sys.stdout.write(f"node {place.rank} of {place.nodes}, {socket.gethostname()}, fits; {cores()} cores\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.cluster.node", description=str(__doc__).splitlines()[0])
    parser.add_argument("folder", type=Path, help="the artifact's folder; with --check the folder for runs")
    parser.add_argument("--hosts", required=True, help="addresses, the driver's first; or slurm: started by srun")
    parser.add_argument("--rank", type=int, default=0, help="which of the hosts this is")
    parser.add_argument("--port", type=int, default=29_500, help="this port and the next are used on the first host")
    parser.add_argument("--quiet", type=int, default=60, help="seconds of silence after which a node is lost")
    parser.add_argument("--accel", help="a file under accelerate_configs/, the processes of one node")
    parser.add_argument("--driven", action="store_true", help="end when standard input closes")
    parser.add_argument("--check", action="store_true", help="compare the nodes and start nothing")
    parser.add_argument(
        "--submits", type=Path, help="with --check: a file that every node must see, with --token in it"
    )
    parser.add_argument("--token", default="", help="what the submission wrote there; empty: do not look")
    args = parser.parse_args(argv)
    try:
        place = place_of(args)
        if args.check:
            check(args, place)
            return 0
        peers = Peers(place)
        peers.meet(args.folder / CLAIM, PATIENCE)
        return work(args, peers, place)
    except UserError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2


if __name__ == "__main__":
    sys.exit(main())
