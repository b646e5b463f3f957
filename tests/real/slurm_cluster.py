"""A real Slurm on this machine: munged, slurmctld and two slurmd, with keys, sockets, ports and state of their own.

    with SlurmCluster(folder) as cluster: subprocess.run(["sinfo"], env=cluster.env)

Needs Debian's slurm-wlm and munge, and root (slurmd wants it). Everything that it starts it also ends.
"""

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil

NODES = ("n1", "n2")

CONFIGURATION = """
ClusterName=toy
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ctld}
SlurmUser=root
AuthType=auth/munge
# A job that is queued again may not start before the credential of its first run has expired: 120 s by default.
AuthInfo=socket={folder}/munge.socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldPidFile={folder}/slurmctld.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
ReturnToService=2
SlurmdTimeout=8
KillWait=20
MinJobAge=600
SchedulerParameters=sched_interval=2,bf_interval=2,batch_sched_delay=0
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SlurmdParameters=config_overrides
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={n1} CPUs=4 RealMemory=16000
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={n2} CPUs=4 RealMemory=16000
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
PartitionName=toy Nodes=n1,n2 Default=YES MaxTime=INFINITE State=UP
PartitionName=spare Nodes=n1 MaxTime=INFINITE State=UP
PartitionName=urgent Nodes=n1 PriorityTier=9 MaxTime=INFINITE State=UP
"""


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


class SlurmCluster:
    """One controller and two compute daemons. `env` is what Slurm's commands need; `node(name)` is a daemon."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.env = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf")}
        self.daemons: dict[str, subprocess.Popen] = {}

    def __enter__(self) -> "SlurmCluster":
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o755)
        (self.folder / "state").mkdir()
        key = self.folder / "munge.key"
        key.write_bytes(secrets.token_bytes(128))
        key.chmod(0o400)
        ports = {name: free_port() for name in ("ctld", *NODES)}
        text = CONFIGURATION.format(host=socket.gethostname().split(".")[0], folder=self.folder, **ports)
        (self.folder / "slurm.conf").write_text(text)
        try:
            self.start(
                "munged", "munged", "--foreground", "--force", f"--socket={self.folder}/munge.socket",
                f"--key-file={key}",
                f"--log-file={self.folder}/munged.log", f"--pid-file={self.folder}/munged.pid",
                f"--seed-file={self.folder}/munged.seed",
            )  # fmt: skip
            until((self.folder / "munge.socket").exists, 20, lambda: "munged made no socket")
            self.start("slurmctld", "slurmctld", "-D", "-i")
            for name in NODES:
                self.start(name, "slurmd", "-D", "-N", name)
            until(
                lambda: self.say("sinfo", "-h", "-o", "%t").split() == ["idle"],
                30,
                lambda: "the nodes never were idle",
            )
        except BaseException:
            self.__exit__()
            raise
        return self

    def start(self, name: str, program: str, *words: str, within: Sequence[str] = ()) -> None:
        """Starts a daemon in the foreground of a session of its own; it ends with this process, however that ends.
        within: the words of a command that starts it in surroundings of its own."""
        with (self.folder / f"{name}.out").open("wb") as out:
            self.daemons[name] = subprocess.Popen(
                ["setpriv", "--pdeathsig", "TERM", *within, f"/usr/sbin/{program}", *words], env=self.env,
                stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                start_new_session=True,
            )  # fmt: skip

    def kill(self, name: str) -> None:
        """SIGKILL to a compute daemon and to all that runs below it, as when a machine loses its power."""
        found = [psutil.Process(self.daemons[name].pid), *below(self.daemons[name].pid), *self.steps(name)]
        # Stopped first, or one that is killed a moment later would still say of another that it failed.
        for act in (psutil.Process.suspend, psutil.Process.kill):
            for process in sorted(found, key=lambda one: one.pid):
                with contextlib.suppress(psutil.NoSuchProcess):
                    act(process)
        self.daemons.pop(name).wait()

    def steps(self, name: str) -> list[psutil.Process]:
        """What runs on a node: its tasks, which know its name, and the managers above them, no children of slurmd."""
        tasks = [process for process in psutil.process_iter(["environ"]) if self.is_task(process, name)]
        parents = [process.parent() for process in tasks]
        return [*(one for one in parents if one and one.name() == "slurmstepd"), *tasks]

    def is_task(self, process: psutil.Process, node: str) -> bool:
        environment = process.info["environ"] or {}
        ours = environment.get("SLURM_CONF") == self.env["SLURM_CONF"]
        return ours and environment.get("SLURMD_NODENAME") == node

    def say(self, *words: str) -> str:
        return subprocess.run(words, env=self.env, capture_output=True, text=True, check=True).stdout.strip()

    def job(self, number: int) -> dict[str, str]:
        """What scontrol knows of a job."""
        return dict(
            word.split("=", 1) for word in self.say("scontrol", "show", "job", str(number)).split() if "=" in word
        )

    def states(self) -> dict[int, str]:
        """Every job's state."""
        rows = self.say("squeue", "--noheader", "--states=all", "--format=%A %T").splitlines()
        return {int(number): state for number, state in (row.split() for row in rows)}

    def __exit__(self, *exc: object) -> None:
        if "slurmctld" in self.daemons:
            subprocess.run(
                ["scancel", "--me", "--full", "--signal=KILL"], env=self.env, check=False, capture_output=True
            )
            subprocess.run(["scancel", "--me"], env=self.env, check=False, capture_output=True)
            with contextlib.suppress(AssertionError):
                until(lambda: not self.say("squeue", "-h"), 10, str)
        left = [process for name in NODES for process in self.steps(name)]
        for daemon in reversed(self.daemons.values()):
            daemon.send_signal(signal.SIGTERM)
        for daemon in self.daemons.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                daemon.wait(10)
            if daemon.poll() is None:
                daemon.kill()
                daemon.wait()
        for process in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()


def below(pid: int) -> list[psutil.Process]:
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).children(recursive=True)
    return []


def until(true: Callable[[], object], seconds: float, otherwise: Callable[[], str]) -> None:
    """Waits for something; fails with a message when it does not come."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, otherwise()
        time.sleep(0.3)
