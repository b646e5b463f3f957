"""What several real engines need."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.launch import config, environment
from tests.real.slurm_cluster import SlurmCluster
from tests.real.slurm_lab import Lab, pretraining_alone


@pytest.fixture(scope="session")
def extensions(tmp_path_factory) -> Path:
    """DeepSpeed compiles its CPU communication at first use. In a folder of our own (or of TORCH_EXTENSIONS_DIR, which
    .ci/run makes), since a kill in the middle leaves a lock there for which the next run would wait for ever."""
    given = os.environ.get("TORCH_EXTENSIONS_DIR")
    folder = Path(given) if given else tmp_path_factory.mktemp("extensions")
    build = "from deepspeed.comm.torch import build_shm_op; build_shm_op()"
    env = {**environment(2, config("cpu_zero2")), "OMP_NUM_THREADS": "1", "TORCH_EXTENSIONS_DIR": str(folder)}
    subprocess.run([sys.executable, "-c", build], env=env, check=True, timeout=800)
    return folder


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with SlurmCluster(tmp_path_factory.mktemp("slurm") / "cluster") as running:
        yield running


@pytest.fixture(scope="module")
def finished(cluster, tmp_path_factory):
    """The toy recipe up to pretraining, on two nodes: what the others start from and are compared with."""
    folder = tmp_path_factory.mktemp("chain")
    lab = Lab(cluster, folder)
    lab.wait(lab.submit(pretraining_alone(folder)), 400)
    return lab
