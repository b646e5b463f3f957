"""Every script that is rendered for a cluster passes shellcheck."""

import subprocess
from pathlib import Path

import pytest
import yaml

from pipeline.cluster.__main__ import main
from pipeline.cluster.profile import Slurm
from pipeline.corpus.engines import slurm_executor

ROOT = Path(__file__).resolve().parent.parent.parent
EXAMPLES = sorted(path for path in (ROOT / "recipes" / "clusters").glob("*.yaml") if path.stem != "ray")
pytestmark = pytest.mark.real


@pytest.mark.parametrize("recipe", ["storyworld", "pydocs"])
@pytest.mark.parametrize("cluster", EXAMPLES, ids=lambda path: path.stem)
def test_shellcheck_finds_nothing(tmp_path, cluster, recipe):
    assert main(["render", "--recipe", recipe, "--cluster", str(cluster), "--out", str(tmp_path)]) == 0
    if (task := tmp_path / "task.yaml").exists():
        for key in ("setup", "run"):
            (tmp_path / f"{key}.sh").write_text("#!/bin/bash\n" + yaml.safe_load(task.read_text())[key])
        task.unlink()
    found = sorted(tmp_path.iterdir())
    assert found
    done = subprocess.run(["shellcheck", *map(str, found)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("keys", [{}, {"preemptible": True}, {"python": "apptainer exec '/a b.sif' python3"}], ids=str)
def test_shellcheck_finds_nothing_in_the_other_branches(tmp_path, keys):
    profile = tmp_path / "lab.yaml"
    profile.write_text(yaml.safe_dump({"kind": "slurm", "runs": "/shared/runs", **keys}))
    assert main(["render", "--cluster", str(profile), "--out", str(tmp_path / "out")]) == 0
    found = sorted((tmp_path / "out").iterdir())
    done = subprocess.run(["shellcheck", *map(str, found)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_shellcheck_finds_nothing_in_an_array_of_tasks(tmp_path):
    profile = Slurm(kind="slurm", runs="/shared/runs", default={"partition": "cpu"}, setup="module load x")
    executor = slurm_executor([], tmp_path / "resume" / "clean.log", 3, 2, profile)
    path = tmp_path / "array.sbatch"
    path.write_text(executor.get_launch_file_contents(executor.get_sbatch_args(3), "srun true"))
    done = subprocess.run(["shellcheck", str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
