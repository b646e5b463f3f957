"""Training across two hosts: two network namespaces, each with an address of its own, joined by a wire that is cut.

The namespaces stand for machines: neither sees the other's loopback, and the disk is the storage that they share.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from tests.real.slurm_cluster import until

ROOT = Path(__file__).resolve().parent.parent.parent
TOY = ROOT / "tests" / "toy"
ADDRESSES = ("10.231.77.1", "10.231.77.2")
pytestmark = [pytest.mark.real, pytest.mark.timeout(600)]


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


class Hosts:
    """Two namespaces and a wire between them."""

    def __init__(self) -> None:
        self.names = [f"groundup-{os.getpid()}-{letter}" for letter in "ab"]
        self.running: list[subprocess.Popen] = []

    def __enter__(self) -> "Hosts":
        ends = [f"gu{os.getpid()}{letter}"[:15] for letter in "ab"]
        for name in self.names:
            ip("netns", "add", name)
        ip("link", "add", ends[0], "type", "veth", "peer", "name", ends[1])
        for name, end, address in zip(self.names, ends, ADDRESSES, strict=True):
            ip("link", "set", end, "netns", name, "name", "wire")
            ip("-n", name, "addr", "add", f"{address}/24", "dev", "wire")
            ip("-n", name, "link", "set", "wire", "up")
            ip("-n", name, "link", "set", "lo", "up")
        return self

    def __exit__(self, *exc: object) -> None:
        for process in self.running:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        for name in self.names:
            subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)

    def start(self, host: int, out: Path, *words: str) -> subprocess.Popen:
        """A Python module as a program of one host."""
        with out.open("wb") as file:
            process = subprocess.Popen(
                ["ip", "netns", "exec", self.names[host], sys.executable, "-m", *words],
                cwd=ROOT, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        self.running.append(process)
        return process

    def cut(self) -> None:
        ip("-n", self.names[1], "link", "set", "wire", "down")

    def mend(self) -> None:
        ip("-n", self.names[1], "link", "set", "wire", "up")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A recipe whose pretraining lasts long enough to be disturbed, and a run with all that it reads."""
    folder = tmp_path_factory.mktemp("hosts")
    recipe, runs = folder / "recipes" / "toy", folder / "runs"
    shutil.copytree(TOY, recipe)
    keys = yaml.safe_load((TOY / "pretrain.yaml").read_text())
    (recipe / "pretrain.yaml").write_text(yaml.safe_dump({**keys, "tokens": 200_000, "checkpoint_every": 10}))
    for stage in ("collect", "corpus", "tokenizer"):
        drive(recipe, runs, stage)
    alone = folder / "alone"
    shutil.copytree(runs, alone)
    drive(recipe, alone, "pretrain")
    return recipe, runs, figures(alone)


def drive(recipe: Path, runs: Path, stage: str) -> None:
    words = ["pipeline.run", stage, "--recipe", str(recipe), "--runs", str(runs)]
    subprocess.run([sys.executable, "-m", *words], cwd=ROOT, check=True, capture_output=True)


def figures(runs: Path) -> dict[str, float]:
    """What would show another order of the data: the training loss at the end, and that of the held-out text."""
    metrics = json.loads((runs / "toy" / "pretrain" / "manifest.json").read_text())["metrics"]
    return {key: metrics[key] for key in ("heldout_bits_per_byte", "final_loss")}


def train(hosts: Hosts, recipe: Path, runs: Path, quiet: int) -> list[subprocess.Popen]:
    """The driver on the first host, a follower on the second."""
    given = [
        "--recipe",
        str(recipe),
        "--runs",
        str(runs),
        "--hosts",
        ",".join(ADDRESSES),
        "--accel",
        "cpu",
        "--quiet",
        str(quiet),
    ]
    return [
        hosts.start(0, runs / "a.log", "pipeline.run", "pretrain", *given),
        hosts.start(1, runs / "b.log", "pipeline.cluster.follow", "pretrain", *given, "--rank", "1"),
    ]


def steps(runs: Path) -> int:
    """How many steps the training log holds."""
    log = runs / "toy" / "pretrain" / "resume" / "log.jsonl"
    return len(log.read_text().splitlines()) if log.exists() else 0


def logs(runs: Path) -> str:
    return (runs / "a.log").read_text() + (runs / "b.log").read_text()


def checkpointed(runs: Path) -> bool:
    return any((runs / "toy" / "pretrain" / "resume").glob("step-*/sha256.json"))


def test_a_wire_cut_for_twenty_seconds_holds_the_training_up_and_nothing_else(prepared, tmp_path):
    recipe, base, alone = prepared
    runs = tmp_path / "runs"
    shutil.copytree(base, runs)
    with Hosts() as hosts:
        both = train(hosts, recipe, runs, quiet=60)
        until(lambda: checkpointed(runs), 120, lambda: logs(runs))
        hosts.cut()
        time.sleep(1)
        before = steps(runs)
        time.sleep(19)
        assert steps(runs) == before, "nothing trains while the wire is cut"
        hosts.mend()
        assert [process.wait(240) for process in both] == [0, 0], logs(runs)
    assert figures(runs) == pytest.approx(alone, rel=1e-4)


def test_a_wire_cut_for_good_is_named_on_both_sides_and_one_host_or_two_go_on(prepared, tmp_path):
    recipe, base, alone = prepared
    runs, again = tmp_path / "runs", tmp_path / "again"
    shutil.copytree(base, runs)
    with Hosts() as hosts:
        both = train(hosts, recipe, runs, quiet=8)
        until(lambda: checkpointed(runs), 120, lambda: logs(runs))
        hosts.cut()
        assert [process.wait(60) for process in both] == [1, 1]
        shutil.copytree(runs, again)
        hosts.mend()
        both = train(hosts, recipe, again, quiet=60)
        assert [process.wait(240) for process in both] == [0, 0], logs(again)
    a, b = (runs / "a.log").read_text(), (runs / "b.log").read_text()
    assert f"{ADDRESSES[1]}) gave no sign of life for 8 s: the machine or the network is gone" in a
    assert f"node 0 ({ADDRESSES[0]}) gave no sign of life for 8 s" in b
    assert "The same command goes on from the last checkpoint" in a
    assert not (runs / "toy" / "pretrain" / "manifest.json").exists()
    assert checkpointed(runs)
    drive(recipe, runs, "pretrain")
    assert figures(runs) == pytest.approx(alone, rel=1e-4)
    assert "[toy/pretrain] resumes" in (again / "a.log").read_text()
    assert figures(again) == pytest.approx(alone, rel=1e-4)


def test_a_port_in_use_is_said_before_anything_starts(prepared, tmp_path):
    recipe, base, _ = prepared
    runs = tmp_path / "runs"
    shutil.copytree(base, runs)
    with Hosts() as hosts:
        hosts.start(0, runs / "other.log", "http.server", "29500", "--bind", ADDRESSES[0])
        until(lambda: listening(hosts), 10, lambda: (runs / "other.log").read_text())
        driver, follower = train(hosts, recipe, runs, quiet=8)
        assert driver.wait(60) == 2
        follower.kill()
    assert f"{ADDRESSES[0]}:29500 cannot be listened on (Address already in use)" in (runs / "a.log").read_text()


def listening(hosts: Hosts) -> bool:
    done = subprocess.run(
        ["ip", "netns", "exec", hosts.names[0], "ss", "-ltn"], capture_output=True, text=True, check=True
    )
    return ":29500" in done.stdout
