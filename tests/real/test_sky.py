"""What is rendered for SkyPilot is read by the real SkyPilot, which lives in an environment of its own."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from pipeline.cluster.__main__ import main

ROOT = Path(__file__).resolve().parent.parent.parent
EXAMPLES = sorted((ROOT / "recipes" / "clusters").glob("sky-*.yaml"))
pytestmark = pytest.mark.clusters
READ = """
import json, sky, sys
task = sky.Task.from_yaml(sys.argv[1])
(resources,) = task.resources
print(json.dumps({
    "name": task.name, "nodes": task.num_nodes, "accelerators": resources.accelerators, "spot": resources.use_spot,
    "cpus": resources.cpus, "memory": resources.memory, "cloud": str(resources.cloud) if resources.cloud else None,
    "image": list((resources.image_id or {}).values()), "volumes": task.volumes,
    "storage": {path: [str(s.source), s.mode.value] for path, s in task.storage_mounts.items()},
}))
"""


@pytest.mark.parametrize("recipe", ["storyworld", "pydocs"])
@pytest.mark.parametrize("cluster", EXAMPLES, ids=lambda path: path.stem)
def test_sky_reads_the_task_as_it_was_meant(tmp_path, cluster, recipe):
    assert main(["render", "--recipe", recipe, "--cluster", str(cluster), "--out", str(tmp_path)]) == 0
    python = os.environ.get("SKY_PYTHON")
    assert python, "make test-clusters installs SkyPilot and says where"
    done = subprocess.run(
        [python, "-c", READ, str(tmp_path / "task.yaml")],
        cwd=ROOT, env={**os.environ, "HOME": str(tmp_path), "SKYPILOT_DISABLE_USAGE_COLLECTION": "1"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    read = json.loads(done.stdout.splitlines()[-1])
    assert (read["name"], read["accelerators"], read["cpus"], read["memory"]) == (recipe, {"H100": 1}, "8+", "64+")
    if cluster.stem == "sky-spot":
        assert (read["nodes"], read["spot"]) == (1, True)
        assert read["storage"] == {"/runs": ["s3://my-groundup-runs", "MOUNT_CACHED"]}
    else:
        assert (read["nodes"], read["cloud"], read["volumes"]) == (2, "Kubernetes", {"/runs": "groundup-runs"})
        assert read["image"] == ["docker:nvidia/cuda:12.8.1-devel-ubuntu24.04"]
