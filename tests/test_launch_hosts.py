"""How a stage's processes are started on several hosts, and what SkyPilot is told."""

import os
import sys
from pathlib import Path

import pytest

from pipeline import launch
from pipeline.chain import BY_NAME
from pipeline.cluster import sky
from pipeline.launch import Hosts, Place, agent_command, command, config
from pipeline.machine import provenance
from pipeline.stage import UserError

FOLDER = Path("/shared/runs/toy/pretrain")
SECOND = Place(rank=1, nodes=2, head="10.0.0.1", port=29_500)


def hosts(names: str) -> Hosts:
    return Hosts(names=names, port=29_500, quiet=60)


def test_a_stage_on_several_nodes_of_slurm_is_started_by_srun_on_each():
    line, _ = command(BY_NAME["pretrain"], FOLDER, config("cpu"), hosts("slurm"))
    assert line[:4] == ["srun", "--ntasks-per-node=1", "--kill-on-bad-exit=1", "--label"]
    assert line[4:8] == [sys.executable, "-m", "pipeline.cluster.node", str(FOLDER)]


def test_a_stage_on_named_hosts_starts_this_one_s_share():
    line, _ = command(BY_NAME["pretrain"], FOLDER, config("cpu"), hosts("10.0.0.1,10.0.0.2"))
    assert line[:4] == [sys.executable, "-m", "pipeline.cluster.node", str(FOLDER)]
    assert line[4:] == [
        "--hosts", "10.0.0.1,10.0.0.2", "--port", "29500", "--quiet", "60", "--accel", "cpu", "--driven",
    ]  # fmt: skip


def test_in_a_container_it_is_the_container_s_python_that_starts():
    image = ("apptainer", "exec", "image.sif", "python3")
    alone, _ = command(BY_NAME["sft"], FOLDER, config("cpu"), None, image)
    two, _ = command(BY_NAME["pretrain"], FOLDER, config("cpu_ddp2"), None, image)
    nodes, _ = command(BY_NAME["pretrain"], FOLDER, config("cpu"), hosts("slurm"), image)
    assert alone == [*image, "-m", "pipeline.worker", str(FOLDER)]
    assert two[:6] == [*image, "-m", "torch.distributed.run"]
    assert nodes[0] == "srun"
    assert nodes[4:10] == [*image, "-m", "pipeline.cluster.node"]


@pytest.mark.parametrize(
    ("python", "message"),
    [
        (
            ["/nowhere/apptainer", "python3"],
            "python = /nowhere/apptainer python3: No such file or directory: /nowhere",
        ),
        (
            ["sh", "-c", "echo no such image >&2; exit 255", "x"],
            "does not start a Python that has groundup's packages",
        ),
        (["true"], "status 0, and not a word"),
    ],
)
def test_a_container_that_does_not_start_is_said_before_the_stage_does(python, message):
    with pytest.raises(UserError) as caught:
        provenance(python)
    assert message in str(caught.value)
    if python[0] == "sh":
        assert "no such image" in str(caught.value)


def test_the_manifest_s_versions_are_those_of_the_python_that_does_the_work(tmp_path):
    other = tmp_path / "python"
    other.write_text('#!/bin/sh\necho \'{"python": "3.12.1", "torch": "2.9.0"}\'\n')
    other.chmod(0o755)
    found = provenance([str(other)])
    assert (found["python"], found["packages"]) == ("3.12.1", {"torch": "2.9.0"})
    assert provenance([sys.executable]) == provenance()


def test_a_stage_of_one_process_stays_where_the_driver_is():
    line, processes = command(BY_NAME["tokenizer"], FOLDER, config("cpu"), hosts("slurm"))
    assert (line, processes) == ([sys.executable, "-m", "pipeline.worker", str(FOLDER)], 1)


def test_on_cpu_torchrun_is_told_its_node_and_where_the_first_is():
    line, processes = agent_command(FOLDER, config("cpu_ddp2"), SECOND)
    assert processes == 2
    assert line[2:8] == [
        "torch.distributed.run", "--nnodes=2", "--node_rank=1", "--master_addr=10.0.0.1", "--master_port=29501",
        "--nproc_per_node=2",
    ]  # fmt: skip


@pytest.mark.parametrize(("cards", "accel", "total"), [(1, "single_gpu", 2), (8, "ddp", 16)])
def test_on_gpus_accelerate_takes_the_command_and_counts_all_processes(monkeypatch, cards, accel, total):
    """accelerate's own parser and checks read it; that it trains needs GPUs."""
    from accelerate.commands.launch import _validate_launch_command, launch_command_parser

    monkeypatch.setattr(launch, "gpus", lambda: ["NVIDIA H100 80GB HBM3"] * cards)
    line, processes = agent_command(FOLDER, config(accel), SECOND)
    assert (line[2], processes) == ("accelerate.commands.launch", cards)
    args, *_ = _validate_launch_command(launch_command_parser().parse_args(line[3:]))
    assert (args.num_processes, args.num_machines, args.machine_rank) == (total, 2, 1)
    assert (args.main_process_ip, args.main_process_port, args.multi_gpu) == ("10.0.0.1", 29_501, True)
    assert (args.module, args.training_script, args.training_script_args) == (True, "pipeline.worker", [str(FOLDER)])


@pytest.mark.parametrize(
    ("accel", "said"),
    [
        ("zero2", {"ACCELERATE_USE_DEEPSPEED": "true", "ACCELERATE_DEEPSPEED_ZERO_STAGE": "2"}),
        ("zero3", {"ACCELERATE_USE_DEEPSPEED": "true", "ACCELERATE_DEEPSPEED_ZERO_STAGE": "3"}),
        ("fsdp2", {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2"}),
    ],
)
def test_several_machines_keep_the_engine_that_the_config_names(monkeypatch, accel, said):
    """accelerate's own launcher up to the call of torchrun: its --multi_gpu would train unsharded without a word."""
    import torch.distributed.run
    from accelerate.commands.launch import launch_command, launch_command_parser

    told = {}
    monkeypatch.setattr(launch, "gpus", lambda: ["NVIDIA H100 80GB HBM3"] * 4)
    monkeypatch.setattr(torch.distributed.run, "run", lambda args: told.update(vars(args), env=dict(os.environ)))
    line, _ = agent_command(FOLDER, config(accel), SECOND)
    launch_command(launch_command_parser().parse_args(line[3:]))
    assert said.items() <= told["env"].items()
    assert (told["nproc_per_node"], told["nnodes"], int(told["node_rank"])) == ("4", "2", 1)
    assert told["rdzv_endpoint"] == "10.0.0.1:29501"


@pytest.mark.parametrize(("seen", "shown"), [(None, "0"), ("2,3", "2"), ("", ""), ("GPU-8f,GPU-9a", "GPU-8f")])
def test_a_stage_of_one_process_sees_one_of_several_cards(monkeypatch, seen, shown):
    monkeypatch.setattr(launch, "gpus", lambda: ["NVIDIA H100 80GB HBM3"] * 4)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if seen is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", seen)
    assert launch.first_gpu() == {"CUDA_VISIBLE_DEVICES": shown}


@pytest.fixture
def told(tmp_path, monkeypatch):
    """A `sky` that notes what it is told, and fails when told to cancel."""
    notes, program = tmp_path / "notes", tmp_path / "sky"
    program.write_text(
        f'#!/bin/bash\necho "$@" >> {notes}\n'
        '[ "$2" = cancel ] && { echo "no such job" >&2; exit 1; }\ncat "${@: -1}"\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return notes


def test_sky_launches_the_task_as_a_managed_job(told, monkeypatch):
    monkeypatch.delenv("HF_TOKEN", raising=False)
    assert sky.submit("name: toy\n", "toy") == "name: toy\n"
    assert told.read_text().startswith("jobs launch --yes --detach-run --name toy /")


def test_a_token_for_the_hub_goes_along_by_name(told, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_1234")
    sky.submit("name: toy\n", "toy")
    assert told.read_text().startswith("jobs launch --yes --detach-run --name toy --secret HF_TOKEN /")


def test_what_sky_refuses_is_said_in_its_words(told):
    with pytest.raises(UserError, match="sky jobs: no such job"):
        sky.cancel("toy")
    assert told.read_text() == "jobs cancel --yes --name toy\n"
