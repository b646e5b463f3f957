"""Profiles are checked as strictly as recipes; what is rendered from one is the same every time, and bash reads it."""

import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from pipeline.chain import CHAIN
from pipeline.cluster import follow, queue, sky, slurm
from pipeline.cluster import profile as profiles
from pipeline.cluster.__main__ import main
from pipeline.cluster.jobs import check, needed, plans
from pipeline.cluster.status import progress, table
from pipeline.recipe import load
from pipeline.stage import UserError
from tests.toy_run import save_toy_run

ROOT = Path(__file__).resolve().parent.parent
TOY = ROOT / "tests" / "toy"
EXAMPLES = sorted(path for path in (ROOT / "recipes" / "clusters").glob("*.yaml") if path.stem != "ray")
SLURM = {"kind": "slurm", "runs": "/shared/runs"}
SKY = {"kind": "skypilot", "bucket": "s3://my-runs"}


def write(folder: Path, **keys: object) -> str:
    path = folder / "lab.yaml"
    path.write_text(yaml.safe_dump(keys))
    return str(path)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"kind": "slrum", "runs": "/r"}, "kind = 'slrum': accepted here: slurm, skypilot, ray."),
        ({**SLURM, "partiton": "gpu"}, "unknown key 'partiton'"),
        ({**SLURM, "default": {"partiton": "gpu"}}, "unknown key 'default.partiton'. Did you mean"),
        ({**SLURM, "runs": "runs"}, "runs = \"runs\": must begin with /: a path that every node has"),
        ({**SLURM, "default": {"time": "4h"}}, "default.time = \"4h\": expected [days-]hours:minutes:seconds"),
        ({**SLURM, "default": {"nodes": 2}}, "default.nodes = 2: give more than one to single stages alone."),
        ({**SLURM, "default": {"gpus": 8}}, "default.gpus = 8: give more than one to single stages alone."),
        ({**SLURM, "stages": {"sft": {"gpus": 8}}}, "stages.sft.gpus = 8: this stage is one process, on one node and"),
        ({**SLURM, "default": {"time": "0:02:00"}}, "default.time = 0:02:00: no longer than warning = 120 s"),
        ({**SLURM, "warning": 90_000, "default": {"time": "2-00:00:00"}, "stages": {"sft": {"time": "1-01:00:00"}}},
         "stages.sft.time = 1-01:00:00: no longer than warning = 90000 s"),
        ({**SLURM, "default": {"gpu": "h100"}}, "gpu = h100 without gpus: say how many of them a node has"),
        ({**SLURM, "stages": {"pretrian": {}}}, "no stage 'pretrian'. Did you mean 'pretrain'?"),
        ({**SLURM, "stages": {"pretrain": {"node": 2}}}, "stages.pretrain: unknown key 'node'. Did you mean 'nodes'?"),
        ({**SLURM, "stages": {"corpus": {"nodes": 2}}}, "stages.corpus.nodes = 2: this stage is one process"),
        ({**SLURM, "options": ["--time=1:00:00"]}, "--time is set by groundup"),
        ({**SLURM, "options": ["-A lab"]}, "'-A lab' is no option of sbatch in the form --name=value"),
        ({**SLURM, "python": " "}, "is empty; leave it out for the Python of this environment"),
        ({**SLURM, "python": "apptainer 'exec"}, "cannot be split into words as a shell does it: No closing"),
        ({"kind": "skypilot"}, "give either bucket (one machine) or volume (any number)"),
        ({**SKY, "volume": "v"}, "give either bucket (one machine) or volume (any number)"),
        ({**SKY, "default": {"nodes": 2}}, "nodes = 2 need storage that they share, and a mounted bucket"),
        ({**SLURM, "default": {"memory": "64 GB"}}, "default.memory = \"64 GB\": expected whole gigabytes"),
        ({**SKY, "bucket": "my-runs"}, "bucket = \"my-runs\": expected s3://, gs:// or the like"),
        ({**SLURM, "default": {"time": 14_400}}, 'default.time = 14400: YAML reads a time without quotes as a number. '
         'Write "4:00:00", in quotes'),
        ({**SLURM, "stages": {"sft": {"time": 14_400}}}, 'stages.sft: time = 14400: YAML reads a time without quotes'),
        ({**SLURM, "default": {"memory": 64}}, "default.memory = 64: expected whole gigabytes with their unit: 64G"),
        ({**SLURM, "default": {"partition": "a/b"}}, 'default.partition = "a/b": expected a name as'),
        ({**SLURM, "default": {"partition": "a\n#SBATCH --wrap=x"}}, "expected a name as the cluster lists it"),
        ({**SLURM, "default": {"gpus": 1, "gpu": "h100 x"}}, 'default.gpu = "h100 x": expected a name as the'),
        ({**SLURM, "options": ["--account=lab\n"]}, "is no option of sbatch in the form --name=value"),
        ({**SLURM, "setup": "if true; then\nmodule load x"}, "bash cannot read it: /bin/bash: line"),
        ({**SLURM, "setup": "cat <<END\nx"}, "here-document"),
        ({**SLURM, "setup": "module load x \\"}, "ends with a backslash, which would join what comes after it"),
        ({**SKY, "setup": "echo 'x"}, "bash cannot read it"),
        ({"kind": "ray", "address": "nowhere"}, "address = \"nowhere\": expected auto, host:6379"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_profile_is_one_message(tmp_path, keys, message):
    with pytest.raises(UserError) as caught:
        profiles.load(write(tmp_path, **keys))
    assert message in str(caught.value)
    assert str(tmp_path / "lab.yaml") in str(caught.value)


def test_a_profile_is_found_by_name_and_the_nearest_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(profiles, "PROFILES", tmp_path)
    write(tmp_path, **SLURM)
    assert profiles.load("lab").runs == "/shared/runs"
    with pytest.raises(UserError, match=r"CLUSTER=lap: no .*lap\.yaml, and no such file\. Did you mean 'lab'\?"):
        profiles.load("lap")


def test_a_stage_is_given_the_default_but_for_its_own_keys(tmp_path):
    keys = {**SLURM, "default": {"cpus": 4, "time": "2:00:00"}, "stages": {"sft": {"cpus": 8}}}
    profile = profiles.load(write(tmp_path, **keys))
    assert (profile.resources("sft").cpus, profile.resources("sft").time) == (8, "2:00:00")
    assert profile.resources("dpo").cpus == 4


def scripts(folder: Path, cluster: Path, recipe: str) -> dict[str, str]:
    assert main(["render", "--recipe", recipe, "--cluster", str(cluster), "--out", str(folder)]) == 0
    return {path.name: path.read_text() for path in folder.iterdir()}


@pytest.mark.parametrize("cluster", EXAMPLES, ids=lambda path: path.stem)
def test_examples_render_the_same_twice_and_bash_reads_it(tmp_path, cluster):
    once, twice = (scripts(tmp_path / name, cluster, "storyworld") for name in "ab")
    assert once == twice
    for name, text in once.items():
        parts = [text] if name.endswith(".sbatch") else [yaml.safe_load(text)[key] for key in ("setup", "run")]
        for part in parts:
            subprocess.run(["bash", "-n"], input=part, text=True, check=True)


def test_a_stage_is_a_job_with_its_own_resources(tmp_path):
    rendered = scripts(tmp_path, ROOT / "recipes" / "clusters" / "slurm.yaml", str(TOY))
    assert sorted(rendered) == sorted(
        [f"toy-{stage.name}.sbatch" for stage in CHAIN] + ["check-cpu.sbatch", "check-gpu.sbatch"]
    )
    text = rendered["toy-pretrain.sbatch"]
    for line in ("--partition=gpu", "--nodes=2", "--gpus-per-node=h100:1", "--time=1-00:00:00", "--signal=B:USR1@180",
                 "--requeue", "--output=/shared/groundup/runs/toy/logs/pretrain-%j.log", "--account=lab"):  # fmt: skip
        assert f"#SBATCH {line}\n" in text
    assert "module load cuda\n" in text
    assert "--hosts slurm" in text
    assert "--hosts" not in rendered["toy-sft.sbatch"]
    assert "#SBATCH --gpus" not in rendered["check-gpu.sbatch"], "no GPU is held to find out that nodes do not fit"
    assert "#SBATCH --nodes=2\n" in rendered["check-gpu.sbatch"]


def test_a_failed_node_queues_a_job_again_only_where_the_profile_says_preemptible(tmp_path):
    profile = profiles.load(write(tmp_path, **SLURM))
    step = needed(load(str(TOY), CHAIN), tmp_path)[0]
    assert "#SBATCH --no-requeue\n" in slurm.stage_script(profile, step, "lab.yaml", "toy")
    preemptible = profile.model_copy(update={"preemptible": True})
    assert "#SBATCH --requeue\n" in slurm.stage_script(preemptible, step, "lab.yaml", "toy")


def test_the_nodes_python_may_be_a_container_s(tmp_path):
    keys = {**SLURM, "python": "apptainer exec --nv '/shared/my image.sif' python3"}
    profile = profiles.load(write(tmp_path, **keys))
    steps = needed(load(str(TOY), CHAIN), tmp_path)
    text = slurm.stage_script(profile, steps[0], "lab.yaml", "toy")
    assert """--python 'apptainer exec --nv '"'"'/shared/my image.sif'"'"' python3' &\n""" in text
    (check,) = slurm.check_scripts(profile, "toy", steps).values()
    assert "--ntasks-per-node=1 apptainer exec --nv '/shared/my image.sif' python3 -m pipeline.clu" in check
    corpus = steps[1].plan
    jobs_in_jobs = replace(corpus, recipe=corpus.recipe.model_copy(update={"executor": "slurm"}))
    with pytest.raises(UserError, match=r"corpus.yaml: executor = slurm submits jobs from within a job.*container"):
        slurm.stage_script(profile, replace(steps[1], plan=jobs_in_jobs), "lab.yaml", "toy")


def test_a_finished_stage_is_not_needed_and_the_rest_waits_for_what_is(tmp_path, monkeypatch):
    steps = needed(load(str(TOY), CHAIN), tmp_path)
    after = {step.plan.stage.name: [folder.name for folder in step.after] for step in steps}
    assert list(after) == [stage.name for stage in CHAIN]
    assert (after["collect"], after["pretrain"], after["dpo"]) == ([], ["tokenizer"], ["preferences", "sft"])
    monkeypatch.setattr(
        "pipeline.cluster.jobs.sealed", lambda todo: todo.stage.name in ("collect", "corpus", "tokenizer")
    )
    left = needed(load(str(TOY), CHAIN), tmp_path)
    assert [step.plan.stage.name for step in left][:2] == ["pretrain", "sft"]
    assert left[0].after == ()


def test_a_batch_that_does_not_divide_is_said_before_anything_is_queued(tmp_path, capsys):
    keys = {**SLURM, "runs": str(tmp_path), "stages": {"pretrain": {"nodes": 3}}}
    assert main(["submit", "--recipe", str(TOY), "--cluster", write(tmp_path, **keys)]) == 2
    assert (
        "batch_size = 4 does not divide by 3 processes, the 3 node(s) x 1 of the cluster's profile"
        in capsys.readouterr().err
    )
    keys["stages"] = {"ppo": {"nodes": 8}}
    with pytest.raises(
        UserError, match=r"ppo.yaml: batch_size = 8 does not divide by 8 processes.*num_mini_batches = 2"
    ):
        check(plans(load(str(TOY), CHAIN), tmp_path), profiles.load(write(tmp_path, **keys)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"runs": "/nowhere/at/all"}, "runs = /nowhere/at/all: no such folder here. Make it, on storage that every"),
        ({"runs": "{folder}/with blank"}, "sbatch wants paths without blanks and quotes"),
        ({}, "squeue is not found here: submit from a machine of the cluster, such as its login node"),
    ],
)
def test_what_hinders_a_submission_is_one_message(tmp_path, capsys, monkeypatch, change, message):
    monkeypatch.setenv("PATH", "/nowhere")
    (tmp_path / "with blank").mkdir()
    keys = {**SLURM, "runs": str(tmp_path), **{key: value.format(folder=tmp_path) for key, value in change.items()}}
    command = "render" if "blank" in message else "submit"
    assert main([command, "--recipe", str(TOY), "--cluster", write(tmp_path, **keys), "--out", str(tmp_path)]) == 2
    assert message in capsys.readouterr().err


def test_an_accelerate_config_that_is_not_there_is_said_before_anything_is_queued(tmp_path, capsys):
    keys = {**SLURM, "runs": str(tmp_path), "stages": {"ppo": {"accel": "tpu"}}}
    assert main(["submit", "--recipe", str(TOY), "--cluster", write(tmp_path, **keys)]) == 2
    assert "ACCEL=tpu: no such file under accelerate_configs/" in capsys.readouterr().err


def test_what_slurm_would_refuse_is_said_before_anything_is_queued(tmp_path, capsys, monkeypatch):
    refuses = (
        "#!/bin/bash\n[ $1 = --test-only ] || touch queued\necho 'sbatch: error: Node count is too high' >&2; exit 1\n"
    )
    for name, text in {"squeue": "#!/bin/bash\n", "sbatch": refuses}.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.chdir(tmp_path)
    cluster = write(tmp_path, **SLURM | {"runs": str(tmp_path)})
    assert main(["submit", "--recipe", str(TOY), "--cluster", cluster]) == 2
    assert "sbatch: sbatch: error: Node count is too high. Nothing was submitted." in capsys.readouterr().err
    assert not (tmp_path / "queued").exists()


def test_nobody_takes_part_in_a_stage_that_the_recipe_leaves_out(tmp_path, capsys):
    (tmp_path / "collect.yaml").write_text("storyworld: {}\n")
    assert follow.main(["ppo", "--recipe", str(tmp_path), "--hosts", "a,b", "--rank", "1"]) == 2
    assert "leaves 'ppo' out: there is nothing to take part in" in capsys.readouterr().err


def test_whoever_follows_goes_on_at_once_where_the_stage_is_done(tmp_path, monkeypatch):
    monkeypatch.setattr(follow, "sealed", lambda todo: {"fingerprint": todo.fingerprint})
    given = ["--recipe", str(TOY), "--runs", str(tmp_path), "--hosts", "a,b", "--rank", "1"]
    assert follow.main(["pretrain", *given]) == 0


def test_ray_takes_the_corpus_alone(tmp_path, capsys):
    assert main(["submit", "--cluster", write(tmp_path, kind="ray", address="auto")]) == 2
    assert "Ray takes the corpus stage alone: make corpus CLUSTER=" in capsys.readouterr().err


def test_sky_is_needed_and_said_how_to_install(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    assert main(["status", "--recipe", str(TOY), "--cluster", write(tmp_path, **SKY)]) == 2
    assert "sky is not found: install SkyPilot in an environment of its own" in capsys.readouterr().err


def test_a_task_for_the_cloud_holds_resources_storage_and_the_chain():
    profile = profiles.load(str(ROOT / "recipes" / "clusters" / "sky-spot.yaml"))
    task = yaml.safe_load(sky.task(profile, load("storyworld", CHAIN)))
    assert task["resources"] == {
        "accelerators": "H100:1", "cpus": "8+", "memory": "64+", "disk_size": 100, "use_spot": True,
        "image_id": "docker:nvidia/cuda:12.8.1-devel-ubuntu24.04",
    }  # fmt: skip
    assert task["file_mounts"] == {"/runs": {"source": "s3://my-groundup-runs", "mode": "MOUNT_CACHED"}}
    lines = task["run"].splitlines()
    assert lines[1] == ".venv/bin/python -m pipeline.run collect --recipe recipes/storyworld --runs /runs"
    assert lines[-1] == "sha256sum ./*/manifest.json | tee receipts.txt"
    with pytest.raises(UserError, match=r"base = storyworld: a run that takes stages from another holds links"):
        sky.task(profile, load("storyworld-lora", CHAIN))


def test_status_says_what_is_done_running_stopped_and_how_far(tmp_path):
    save_toy_run(tmp_path)
    found = plans(load(str(TOY), CHAIN), tmp_path)
    log = tmp_path / "pretrain-7.log"
    log.write_text("0: pretrain: 12/40 steps (30%)  2.5 steps/s  11 s left  loss 5.06\nerror: the disk is full\n")
    by_name = {todo.stage.name: todo for todo in found}

    def job(stage: str, number: int, state: str) -> queue.Job:
        todo = by_name[stage]
        return queue.Job(number=number, state=state, used="1:00", left="59:00", nodes="n1", reason="Dependency",
                         fingerprint=todo.fingerprint[:16], folder=todo.folder)  # fmt: skip

    jobs = [
        job("pretrain", 6, "FAILED"),
        job("pretrain", 7, "RUNNING"),
        job("sft", 8, "PENDING"),
        job("dpo", 9, "NODE_FAIL"),
    ]
    text = table(found, jobs, {by_name["pretrain"].folder: log, by_name["ppo"].folder: log})
    rows = {line.split()[0]: " ".join(line.split()[1:]) for line in text.splitlines()[1:]}
    assert rows["toy/pretrain"] == "running 7 12/40 steps (30%) 11 s on n1, 59:00 until its limit"
    assert rows["toy/sft"] == "pending 8 Dependency"
    assert rows["toy/dpo"] == "node fail 9 Dependency"
    assert rows["toy/ppo"] == "stopped 12/40 steps (30%) error: the disk is full"
    assert rows["toy/report"] == "not queued"


def test_status_says_why_the_nodes_of_a_partition_do_not_fit(tmp_path):
    """Its stages are no longer queued then, and nothing else would say why."""
    found = plans(load(str(TOY), CHAIN), tmp_path)
    logs = tmp_path / "toy" / "logs"
    logs.mkdir(parents=True)
    for name, text in {
        "check-gpu-7.log": "node 0 of 2 fits, 8 cores\n",
        "check-gpu-11.log": "1: error: the nodes do not fit together: node 1 (b, 10.0.0.2) has a clock\n"
        "srun: error: n2: task 1: Exited\n",
        "check-cpu-12.log": "node 0 of 1 fits, 8 cores\n",
        "check-old-3.log": "error: the nodes do not fit together: something\n",
    }.items():
        (logs / name).write_text(text)
        os.utime(logs / name, (int(name.split("-")[2][:-4]),) * 2)

    def check(partition: str, number: int, state: str) -> queue.Job:
        return queue.Job(number=number, state=state, used="0:01", left="1:00", nodes="n1", reason="NonZeroExitCode",
                         fingerprint="check", folder=tmp_path / "toy" / f"check-{partition}")  # fmt: skip

    jobs = [check("gpu", 7, "COMPLETED"), check("gpu", 11, "FAILED"), check("cpu", 12, "COMPLETED")]
    rows = table(found, jobs, slurm.newest_logs(tmp_path, ["toy"])).splitlines()
    assert [" ".join(line.split()) for line in rows if "check" in line] == [
        "toy/check-gpu failed 11 error: the nodes do not fit together: node 1 (b, 10.0.0.2) has a clock",
        "toy/check-old stopped error: the nodes do not fit together: something",
    ]


def test_progress_is_the_last_that_a_log_says():
    log = "corpus: clean: 1/2 tasks (50%)  0.1 tasks/s  10 s left\nx: 2/2 tasks (100%)  1 tasks/s  0 s left"
    assert progress(log) == (
        "2/2 tasks (100%)", "0 s",
    )  # fmt: skip
    assert progress("nothing yet") == ("", "")
