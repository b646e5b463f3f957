"""The corpus stage on a real Ray of two nodes: byte for byte what the local executor writes."""

import contextlib
import shutil
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import yaml

from pipeline.runs import artifacts
from tests.real.slurm_cluster import free_port, until

ROOT = Path(__file__).resolve().parent.parent.parent
TOY = ROOT / "tests" / "toy"
BIN = Path(sys.executable).parent
pytestmark = [pytest.mark.clusters, pytest.mark.timeout(600)]
TASKS = 4


@pytest.fixture(scope="module")
def ray_address(tmp_path_factory):
    """Two Ray nodes of one core each; ended by the ids of their own processes, never by name."""
    port, session = free_port(), tmp_path_factory.mktemp("r")
    before = {process.pid for process in psutil.process_iter()}
    ray = [str(BIN / "ray"), "start", "--num-cpus=1", "--num-gpus=0", "--memory=4000000000", "--disable-usage-stats",
           "--object-store-memory=80000000"]  # fmt: skip
    head = [
        "--head",
        f"--port={port}",
        "--include-dashboard=false",
        f"--temp-dir={session}",
        "--node-ip-address=127.0.0.1",
    ]
    try:
        for words in (head, [f"--address=127.0.0.1:{port}", "--node-ip-address=127.0.0.1"]):
            done = subprocess.run([*ray, *words], capture_output=True, text=True, check=False, cwd=ROOT)
            assert done.returncode == 0, done.stdout + done.stderr
        yield f"127.0.0.1:{port}"
    finally:
        mine = [process for process in psutil.process_iter(["pid", "cmdline"]) if process.pid not in before]
        mine = [process for process in mine if str(session) in " ".join(process.info["cmdline"] or [])]
        for process in [*mine, *(child for one in mine for child in children(one))]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()


def children(process: psutil.Process) -> list[psutil.Process]:
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.children(recursive=True)
    return []


def corpus(folder: Path, executor: str, profile: Path | None = None) -> subprocess.Popen:
    """A started corpus stage with the executor."""
    recipe, runs = folder / "recipes" / "toy", folder / "runs"
    if not recipe.exists():
        recipe.mkdir(parents=True)
        shutil.copyfile(TOY / "collect.yaml", recipe / "collect.yaml")
        keys = yaml.safe_load((TOY / "corpus.yaml").read_text())
        (recipe / "corpus.yaml").write_text(
            yaml.safe_dump({**keys, "tasks": TASKS, "workers": 2, "executor": executor})
        )
    command = [sys.executable, "-m", "pipeline.run"]
    given = ["--recipe", str(recipe), "--runs", str(runs), *(["--cluster", str(profile)] if profile else [])]
    subprocess.run([*command, "collect", *given], cwd=ROOT, check=True, capture_output=True)
    return subprocess.Popen(
        [*command, "corpus", *given], cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def files(folder: Path) -> dict[str, bytes]:
    """What the stage wrote, without what holds its times."""
    found = artifacts(folder / "runs" / "toy")["corpus"]
    return {
        str(path.relative_to(found)): path.read_bytes()
        for path in sorted(found.rglob("*"))
        if path.is_file() and path.name not in ("manifest.json", "funnel.json", "metrics.json", "card.md")
    }


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    folder = tmp_path_factory.mktemp("local")
    process = corpus(folder, "local")
    out, _ = process.communicate(timeout=200)
    assert process.returncode == 0, out
    return files(folder)


def test_ray_writes_the_same_bytes_though_a_worker_is_killed(tmp_path, local, ray_address):
    profile = tmp_path / "ray.yaml"
    profile.write_text(yaml.safe_dump({"kind": "ray", "address": ray_address, "memory_gb": 0.5}))
    process = corpus(tmp_path, "ray", profile)
    killed: list[int] = []

    def kill_a_worker() -> bool:
        assert process.poll() is None, process.stdout.read()
        for one in psutil.process_iter(["cmdline"]):
            if "ray::RankWorker.run_for_rank" in " ".join(one.info["cmdline"] or []):
                with contextlib.suppress(psutil.NoSuchProcess):
                    one.kill()
                    killed.append(one.pid)
                    return True
        return False

    until(kill_a_worker, 120, lambda: "no worker came")
    out, _ = process.communicate(timeout=300)
    assert process.returncode == 0, out
    assert killed
    assert files(tmp_path) == local


def test_no_ray_at_the_address_is_one_message(tmp_path):
    profile = tmp_path / "ray.yaml"
    profile.write_text(yaml.safe_dump({"kind": "ray", "address": f"127.0.0.1:{free_port()}"}))
    process = corpus(tmp_path, "ray", profile)
    out, _ = process.communicate(timeout=200)
    assert process.returncode == 2, out
    assert "corpus: no Ray cluster at address = 127.0.0.1:" in out
