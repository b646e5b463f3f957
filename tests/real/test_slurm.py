"""A recipe on a real Slurm: a chain of jobs, two nodes, time limits, requeues, a dead node, a bad partition."""

import shutil
import subprocess
import sys
import sysconfig
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml

from pipeline.artifact import sha256
from tests.real.slurm_cluster import until
from tests.real.slurm_lab import ROOT, TOY, Lab, drive, manifest, pretraining_alone, told_to_stop

pytestmark = [pytest.mark.real, pytest.mark.timeout(900)]


def test_two_nodes_train_to_the_loss_of_one_process(finished, tmp_path):
    """They add up the same numbers in another order: float32 leaves them six digits."""
    lab = Lab(finished.cluster, tmp_path).start_from(finished)
    drive(TOY, lab.runs)
    one, two = (manifest(runs, "pretrain") for runs in (lab.runs, finished.runs))
    assert (one["processes"], two["processes"]) == (1, 2)
    assert two["metrics"]["heldout_bits_per_byte"] == pytest.approx(one["metrics"]["heldout_bits_per_byte"], rel=1e-5)
    assert two["metrics"]["final_loss"] == pytest.approx(one["metrics"]["final_loss"], rel=1e-5)
    assert two["cpu_seconds"] > 2, "what both nodes used is counted, not what srun did"


def test_nodes_that_do_not_fit_end_the_chain_before_it_begins_and_status_says_why(cluster, tmp_path):
    """The second node has another version of a package, and not the storage of the first."""
    lab = Lab(cluster, tmp_path)
    (installed,) = Path(sysconfig.get_path("purelib")).glob("numpy-*.dist-info")
    other = cluster.folder / "METADATA"
    other.write_text("Metadata-Version: 2.1\nName: numpy\nVersion: 0.0.7\n")
    alone = f'mount -t tmpfs none {tmp_path} && mount --bind {other} {installed}/METADATA && exec "$@"'
    cluster.kill("n2")
    cluster.start("n2", "slurmd", "-D", "-N", "n2", within=["unshare", "--mount", "sh", "-c", alone, "-"])
    try:
        until(lambda: cluster.say("sinfo", "-h", "-n", "n2", "-p", "toy", "-o", "%t") == "idle", 60, str)
        jobs = lab.submit()
        until(lambda: cluster.states()[jobs["check-toy"]] == "FAILED", 60, lambda: lab.log("check-toy"))
        until(lambda: {cluster.states()[n] for name, n in jobs.items() if name != "check-toy"} == {"CANCELLED"}, 30,
              lambda: str(cluster.states()))  # fmt: skip
        row = next(line for line in lab.make("status").stdout.splitlines() if line.startswith("toy/check-toy"))
        assert "failed" in row
        assert f"has other versions than node 0: numpy 0.0.7 for {version('numpy')}. Give both the same" in row
        mark = f"{lab.runs}/.nodes-check-{jobs['check-toy']}"
        assert f"does not see {mark}. Runs must lie on storage that all nodes share" in row
    finally:
        cluster.kill("n2")
        cluster.start("n2", "slurmd", "-D", "-N", "n2")


def test_a_requeued_job_on_two_nodes_ends_with_the_same_weights(cluster, finished, tmp_path):
    """Slurm takes the nodes away and queues the job again, as it does for one that is preempted."""
    lab = Lab(cluster, tmp_path, preemptible=True).start_from(finished)
    number = lab.submit(pretraining_alone(tmp_path))["pretrain"]
    until(lab.checkpointed, 90, lambda: lab.log("pretrain"))
    with lab.still():
        cluster.say("scontrol", "requeue", str(number))
    lab.wait({"pretrain": number}, 180)
    assert cluster.job(number)["Restarts"] == "1"
    assert "[toy/pretrain] resumes" in lab.log("pretrain")
    assert lab.weights() == finished.weights()


def test_a_job_at_its_time_limit_writes_a_checkpoint_and_queues_itself_again(cluster, finished, tmp_path):
    """Bit for bit the weights of a run that nobody disturbed, on this machine and without Slurm."""
    lab = Lab(cluster, tmp_path, stages={}).start_from(finished)
    recipe = pretraining_alone(tmp_path, tokens=400_000, checkpoint_every=1_000_000)
    undisturbed = tmp_path / "undisturbed"
    shutil.copytree(lab.runs, undisturbed)
    number = lab.submit(recipe)["pretrain"]
    until(lambda: lab.steps() > 1, 90, lambda: lab.log("pretrain"))
    with lab.still() as (worker,):
        cluster.say("scontrol", "update", f"JobId={number}", "TimeLimit=1")
        until(lambda: told_to_stop(worker), 120, lambda: lab.log("pretrain"))
    until(lambda: "reached its time limit" in lab.log("pretrain"), 60, lambda: lab.log("pretrain"))
    assert lab.checkpointed(), "no step is a multiple of checkpoint_every: only the warning can have written one"
    until(lambda: cluster.job(number)["Restarts"] == "1", 60, lambda: str(cluster.job(number)))
    cluster.say("scontrol", "update", f"JobId={number}", "TimeLimit=30")
    lab.wait({"pretrain": number}, 240)
    drive(recipe, undisturbed)
    assert "[toy/pretrain] resumes" in lab.log("pretrain")
    assert lab.weights() == sha256(undisturbed / "toy" / "pretrain" / "model" / "model.safetensors")


def test_a_dead_node_fails_the_job_and_submit_goes_on(cluster, finished, tmp_path):
    lab = Lab(cluster, tmp_path).start_from(finished)
    recipe = pretraining_alone(tmp_path)
    number = lab.submit(recipe)["pretrain"]
    until(lab.checkpointed, 90, lambda: lab.log("pretrain"))
    with lab.still():
        cluster.kill("n2")
    until(lambda: cluster.states()[number] not in ("RUNNING", "COMPLETING"), 90, lambda: lab.log("pretrain"))
    assert cluster.states()[number] in ("NODE_FAIL", "FAILED")
    assert "closed its wire without a word: its job or machine ended" in lab.log("pretrain")
    assert not (lab.runs / "toy" / "pretrain" / "manifest.json").exists()
    line = next(row for row in lab.make("status", recipe).stdout.splitlines() if row.startswith("toy/pretrain"))
    assert "node fail" in line or "failed" in line
    cluster.start("n2", "slurmd", "-D", "-N", "n2")
    again = lab.submit(recipe)["pretrain"]
    lab.wait({"pretrain": again}, 180)
    assert "[toy/pretrain] resumes" in lab.log("pretrain")
    assert lab.weights() == finished.weights()


def test_a_partition_that_is_not_there_is_named_and_nothing_is_submitted(cluster, tmp_path):
    lab = Lab(cluster, tmp_path, stages={"report": {"partition": "gpus"}})
    before = set(cluster.states())
    done = lab.make("submit")
    assert done.returncode != 0
    assert (
        f"error: {lab.profile}: partition = gpus: the cluster has spare, toy, urgent. Nothing was submitted."
        in done.stderr
    )
    assert {number for number, state in cluster.states().items() if state != "CANCELLED"} <= before


def test_cancel_takes_the_jobs_of_a_run_out_of_the_queue(cluster, tmp_path):
    lab = Lab(cluster, tmp_path)
    jobs = lab.submit()
    done = lab.make("cancel")
    assert f"toy/report: job {jobs['report']} is cancelled" in done.stdout
    until(
        lambda: {cluster.states()[n] for n in jobs.values()} <= {"CANCELLED", "COMPLETED"},
        60,
        lambda: str(cluster.states()),
    )
    assert lab.make("cancel").stdout == "toy: nothing of it is queued\n"


def test_the_stages_that_a_recipe_still_needs_become_a_chain_of_jobs(finished):
    jobs = finished.submit()
    assert list(jobs) == ["check-toy", "sft", "preferences", "reward", "dpo", "ppo", "grpo", "evaluate", "report"]
    assert "toy/report: is queued already, as job" in finished.make("submit").stdout
    finished.wait(jobs, 800)
    assert finished.make("submit").stdout == "toy: every stage is done\n"
    rows = finished.make("status").stdout.splitlines()
    assert [line.split()[1] for line in rows[1:]] == ["done"] * 12
    done = subprocess.run(
        [sys.executable, "-m", "pipeline.runs", "verify", "--recipe", "toy", "--runs", str(finished.runs)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout


def shared_out(folder: Path) -> Path:
    """The toy recipe up to the corpus, whose tasks are jobs."""
    recipe = pretraining_alone(folder)
    for stage in ("tokenizer", "pretrain"):
        (recipe / f"{stage}.yaml").unlink()
    keys = yaml.safe_load((TOY / "corpus.yaml").read_text())
    (recipe / "corpus.yaml").write_text(yaml.safe_dump({**keys, "executor": "slurm"}))
    return recipe


def test_an_array_of_tasks_ends_with_the_job_that_submitted_it(cluster, tmp_path):
    lab = Lab(cluster, tmp_path, setup="export MALLOC_ARENA_MAX=2; sleep 4")
    number = lab.submit(shared_out(tmp_path))["corpus"]

    def tasks() -> list[str]:
        rows = cluster.say("squeue", "--noheader", "--format=%F %T %k").splitlines()
        return [row for row in rows if f"groundup:tasks:{lab.runs}/toy/corpus:" in row]

    until(tasks, 120, lambda: lab.log("corpus"))
    cluster.say("scancel", str(number))
    until(lambda: not tasks(), 60, lambda: "\n".join([*tasks(), lab.log("corpus")]))


def test_corpus_tasks_as_jobs_write_the_bytes_of_the_local_executor(cluster, finished, tmp_path):
    """A job that submits jobs, waits for them and goes on."""
    recipe = shared_out(tmp_path)
    lab = Lab(cluster, tmp_path)
    before = len(cluster.states())
    jobs = lab.submit(recipe)
    lab.wait(jobs, 400)
    assert len(cluster.states()) > before + len(jobs), "the tasks were jobs of their own"
    assert corpus(lab.runs) == corpus(finished.runs)


def corpus(runs: Path) -> dict[str, str]:
    """What the stage wrote, by hash, but for its funnel, which holds times, and its card, which names the run."""
    outputs = manifest(runs, "corpus")["outputs"]
    own = ("funnel.json", "metrics.json", "card.md")
    return {one["file"]: one["sha256"] for one in outputs if one["file"] not in own}
