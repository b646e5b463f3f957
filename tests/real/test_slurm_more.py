"""More on a real Slurm than `make test-real` has time for: ZeRO-2 on two nodes, a container's Python, preemption."""

import shutil
import sys
import sysconfig
from importlib.metadata import version
from pathlib import Path

import pytest

from pipeline.artifact import sha256
from tests.real.slurm_cluster import until
from tests.real.slurm_lab import PROFILE, Lab, drive, manifest, pretraining_alone, told_to_stop

pytestmark = [pytest.mark.clusters, pytest.mark.timeout(900)]


def test_two_nodes_under_zero2_train_to_the_loss_of_one_process(finished, extensions, tmp_path):
    """Two processes on each of them, with the gradients and the optimiser's state in four shares."""
    recipe = pretraining_alone(tmp_path, optimizer="adamw", micro_batch_size=1)
    setup = f"export MALLOC_ARENA_MAX=2 TORCH_EXTENSIONS_DIR={extensions}"
    lab = Lab(
        finished.cluster, tmp_path, stages={"pretrain": {"nodes": 2, "cpus": 2, "accel": "cpu_zero2"}}, setup=setup
    )
    lab.start_from(finished)
    alone = tmp_path / "alone"
    shutil.copytree(lab.runs, alone)
    lab.wait(lab.submit(recipe), 300)
    drive(recipe, alone)
    one, four = (manifest(runs, "pretrain") for runs in (alone, lab.runs))
    assert (one["processes"], four["processes"]) == (1, 4)
    for key in ("heldout_bits_per_byte", "final_loss"):
        assert four["metrics"][key] == pytest.approx(one["metrics"][key], rel=1e-5), key


def test_a_container_s_python_does_the_work_of_one_process_and_of_two_nodes(finished, tmp_path):
    """A container by hand: a name and files of its own, among which the package `evaluate` has another version."""
    (installed,) = Path(sysconfig.get_path("purelib")).glob("evaluate-*.dist-info")
    (tmp_path / "METADATA").write_text("Metadata-Version: 2.1\nName: evaluate\nVersion: 0.0.7\n")
    image = tmp_path / "image"
    image.write_text(
        "#!/bin/sh\nexec unshare --mount --uts sh -c 'hostname image && mount --bind "
        f'{tmp_path}/METADATA {installed}/METADATA && exec "$@"\' - "$@"\n'
    )
    image.chmod(0o755)
    lab = Lab(finished.cluster, tmp_path, python=f"{image} {sys.executable}").start_from(finished)
    shutil.rmtree(lab.runs / "toy" / "tokenizer")
    jobs = lab.submit(pretraining_alone(tmp_path))
    lab.wait(jobs, 300)
    assert "node 1 of 2, image, fits" in lab.log("check-toy")
    assert [manifest(lab.runs, stage)["packages"]["evaluate"] for stage in ("corpus", "tokenizer", "pretrain")] == [
        version("evaluate"), "0.0.7", "0.0.7",
    ]  # fmt: skip
    assert lab.weights() == finished.weights()


def test_a_preempted_job_writes_a_checkpoint_and_goes_on_when_the_node_is_free(cluster, finished, tmp_path):
    """Slurm itself takes the node away for a job of more urgency: TERM, then KillWait to end in."""
    given = {**PROFILE["default"], "partition": "spare"}
    lab = Lab(cluster, tmp_path, preemptible=True, stages={}, default=given).start_from(finished)
    recipe = pretraining_alone(tmp_path, tokens=400_000, checkpoint_every=1_000_000)
    undisturbed = tmp_path / "undisturbed"
    shutil.copytree(lab.runs, undisturbed)
    number = lab.submit(recipe)["pretrain"]
    until(lambda: lab.steps() > 1, 90, lambda: lab.log("pretrain"))
    with lab.still() as (worker,):
        urgent = cluster.say(
            "sbatch", "--parsable", "-p", "urgent", "-n1", "-c4", "--mem=1G", "-o/dev/null", "--wrap=sleep 1"
        )
        until(lambda: told_to_stop(worker), 60, lambda: lab.log("pretrain"))
    lab.wait({"urgent": int(urgent)}, 90)
    lab.wait({"pretrain": number}, 240)
    assert cluster.job(number)["Restarts"] == "1"
    assert "[toy/pretrain] resumes" in lab.log("pretrain"), "no step is a multiple of checkpoint_every"
    drive(recipe, undisturbed)
    assert lab.weights() == sha256(undisturbed / "toy" / "pretrain" / "model" / "model.safetensors")
