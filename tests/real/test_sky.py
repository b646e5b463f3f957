"""What is rendered for SkyPilot is read and planned by the real SkyPilot, which lives in an environment of its own.

Its optimiser fetches a catalogue of machines and prices where it finds none: it is given one of four machines on two
clouds, so nothing here needs a network. On Kubernetes it would ask the cluster; that task is read and not planned.
"""

import json
import os
import subprocess
from pathlib import Path

import pytest

from pipeline.cluster import sky
from pipeline.cluster.__main__ import main

ROOT = Path(__file__).resolve().parent.parent.parent
CLUSTERS = ROOT / "recipes" / "clusters"
pytestmark = [pytest.mark.clusters, pytest.mark.timeout(600)]
HEAD = "InstanceType,AcceleratorName,AcceleratorCount,vCPUs,MemoryGiB,GpuInfo,Price,SpotPrice,Region,AvailabilityZone"
CATALOGUE = {
    # The cheapest has too few processors, the next no GPU, the third is Lambda's, which has no spot machines.
    "runpod/vms.csv": [HEAD, "small,H100,1.0,4,60,,2.0,0.5,US,US-TX-1", "cpu,,,16,128,,0.3,0.1,US,US-TX-1",
                       "fit,H100,1.0,16,128,,3.0,1.5,US,US-TX-1"],
    "lambda/vms.csv": [HEAD, "other,H100,1.0,26,200,,2.5,,us-east-1,"],
    "common/accelerators.csv": ["AcceleratorName,Clouds", 'H100,"runpod,lambda"'],
}  # fmt: skip
READ = """
import json, os, pathlib, sys
import sky, sky.check
from sky.client.cli import command
from sky.clouds import Lambda, RunPod
from sky.optimizer import Optimizer
from sky.skylet import constants

asked = json.load(sys.stdin)
folder = pathlib.Path.home() / ".sky" / "catalogs" / constants.CATALOG_SCHEMA_VERSION
for name, lines in asked["catalogue"].items():
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("\\n".join(lines) + "\\n")
sky.check.get_cached_enabled_clouds_or_refresh = lambda *args, **given: [RunPod(), Lambda()]
found = {"tasks": {}}
for path in asked["tasks"]:
    with sky.Dag() as dag:
        task = sky.Task.from_yaml(path)
    (resources,) = task.resources
    found["tasks"][path] = read = {
        "name": task.name, "nodes": task.num_nodes, "accelerators": resources.accelerators, "spot": resources.use_spot,
        "cpus": resources.cpus, "memory": resources.memory, "cloud": str(resources.cloud) if resources.cloud else None,
        "image": list((resources.image_id or {}).values()), "volumes": task.volumes,
        "storage": {path: [str(s.source), s.mode.value] for path, s in task.storage_mounts.items()},
    }
    if resources.cloud is None:
        Optimizer.optimize(dag, quiet=True)
        read["plan"] = [str(task.best_resources.cloud), task.best_resources.instance_type]
found["commands"] = [
    command.cli.commands[words[0]].commands[words[1]].make_context(words[1], words[2:]).params
    for words in asked["commands"]
]
print(json.dumps(found, default=str))
"""


@pytest.fixture(scope="module")
def read(tmp_path_factory):
    """What SkyPilot makes of the tasks of two recipes and both examples, and of the commands that are given to it."""
    folder, tasks = tmp_path_factory.mktemp("sky"), {}
    for recipe in ("storyworld", "pydocs"):
        for cluster in ("sky-spot", "sky-kubernetes"):
            out = folder / recipe / cluster
            assert (
                main(["render", "--recipe", recipe, "--cluster", str(CLUSTERS / f"{cluster}.yaml"), "--out", str(out)])
                == 0
            )
            tasks[recipe, cluster] = str(out / "task.yaml")
    commands: list[tuple[str, ...]] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sky, "call", lambda *words: commands.append(words) or "")
        patch.setenv("HF_TOKEN", "hf_1234")
        sky.submit(Path(tasks["storyworld", "sky-spot"]).read_text(), "storyworld")
        sky.status("storyworld")
        sky.cancel("storyworld")
    commands[0] = (*commands[0][:-1], tasks["storyworld", "sky-spot"])  # submit's own file is gone by now
    python = os.environ.get("SKY_PYTHON")
    assert python, "make test-clusters installs SkyPilot and says where"
    done = subprocess.run(
        [python, "-c", READ], cwd=ROOT, capture_output=True, text=True, check=False,
        input=json.dumps({"tasks": list(tasks.values()), "commands": commands, "catalogue": CATALOGUE}),
        env={**os.environ, "HOME": str(folder), "SKYPILOT_DISABLE_USAGE_COLLECTION": "1", "HF_TOKEN": "hf_1234"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    return {name: found["tasks"][path] for name, path in tasks.items()}, found["commands"]


@pytest.mark.parametrize("recipe", ["storyworld", "pydocs"])
def test_sky_reads_the_task_as_it_was_meant(read, recipe):
    spot, kubernetes = (read[0][recipe, cluster] for cluster in ("sky-spot", "sky-kubernetes"))
    for task in (spot, kubernetes):
        assert (task["name"], task["accelerators"], task["cpus"], task["memory"]) == (recipe, {"H100": 1}, "8+", "64+")
        assert task["image"] == ["docker:nvidia/cuda:12.8.1-devel-ubuntu24.04"]
    assert (spot["nodes"], spot["spot"]) == (1, True)
    assert spot["storage"] == {"/runs": ["s3://my-groundup-runs", "MOUNT_CACHED"]}
    assert (kubernetes["nodes"], kubernetes["cloud"]) == (2, "Kubernetes")
    assert kubernetes["volumes"] == {"/runs": "groundup-runs"}


def test_the_optimiser_takes_the_cheapest_spot_machine_that_is_large_enough(read):
    assert read[0]["storyworld", "sky-spot"]["plan"] == ["RunPod", "fit"]


def test_sky_s_own_parser_takes_every_command_that_is_given_to_it(read):
    launch, _, cancel = read[1]
    assert (launch["name"], launch["yes"], launch["detach_run"]) == ("storyworld", True, True)
    assert "HF_TOKEN" in str(launch["secret"])
    assert (cancel["name"], cancel["yes"]) == ("storyworld", True)
