"""What an engine cannot do is said before anything is trained; the configurations for all of them are there."""

from types import SimpleNamespace

import pytest
import torch
import yaml
from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import DistributedType

from pipeline import engine
from pipeline.engine import start
from pipeline.launch import CONFIGS, config, environment
from pipeline.plan.__main__ import main as plan
from pipeline.pretrain import train as loop
from pipeline.pretrain.optimizer import check_shares
from pipeline.pretrain.recipe import Recipe
from pipeline.recipe import validate
from pipeline.stage import UserError
from tests.test_pretrain import job, source  # noqa: F401  (a fixture)


@pytest.fixture
def fresh(monkeypatch):
    """accelerate remembers its first configuration for the whole process."""
    AcceleratorState._reset_state(reset_partial_state=True)
    yield monkeypatch
    AcceleratorState._reset_state(reset_partial_state=True)
    assert PartialState._shared_state == {}


def test_processes_that_accelerate_does_not_see_are_an_error(fresh):
    alone = SimpleNamespace(num_processes=1, distributed_type="NO")
    fresh.setattr(engine, "Accelerator", lambda **_: alone)
    fresh.setenv("WORLD_SIZE", "2")
    with pytest.raises(RuntimeError, match="2 processes were launched, accelerate sees 1"):
        start("auto")


def test_an_engine_that_accelerate_does_not_take_is_an_error(fresh):
    """On a processor it drops FSDP without a word, and every process would hold the whole model."""
    fresh.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(RuntimeError, match="disagree about"):
        start("auto")


def test_precision_is_the_hardwares_or_as_asked(fresh):
    assert start("auto").mixed_precision == "no", "no GPU"
    AcceleratorState._reset_state(reset_partial_state=True)
    assert start("bfloat16").mixed_precision == "bf16"


def test_bfloat16_where_the_gpu_has_none_is_an_error(fresh):
    fresh.setattr(torch.cuda, "is_available", lambda: True)
    fresh.setattr(torch.cuda, "is_bf16_supported", lambda **_: False)
    with pytest.raises(UserError, match="precision = bfloat16: this GPU has none"):
        start("bfloat16")


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"optimizer": "muon"}, "optimizer = muon needs whole matrices, and ZeRO gives every process a share"),
        ({"optimizer": "adamw", "keep_best": True}, "keep_best takes the best weights back at the end, and ZeRO"),
    ],
)
def test_what_does_not_go_with_shares_is_an_error(keys, message):
    with pytest.raises(UserError, match=message):
        check_shares(validate(Recipe, {"steps": 1, **keys}, "pretrain.yaml"), DistributedType.DEEPSPEED)


def test_an_attention_that_is_not_installed_is_an_error(source, tmp_path):  # noqa: F811
    with pytest.raises(UserError, match="attention = flash_attention_2: "):
        loop.run(job(tmp_path, source, attention="flash_attention_2"))


def test_the_planner_does_not_guess_the_model_of_a_checkpoint(tmp_path, capsys):
    (tmp_path / "tokenizer.yaml").write_text("vocab_size: 400\n")
    (tmp_path / "pretrain.yaml").write_text("continue_from: {id: ./there}\nsteps: 1\n")
    assert plan(["--recipe", str(tmp_path), "--hardware", "h100"]) == 2
    assert "continue_from brings it" in capsys.readouterr().err


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_a_configuration_names_an_engine_and_no_batch(path):
    text = path.read_text(encoding="utf-8")
    usual = {"cpu": "NO", "single": "NO", "ddp": "MULTI_GPU", "fsdp2": "FSDP"}.get(
        path.stem.split("_")[0], "DEEPSPEED"
    )
    expected = {"cpu_ddp2": "MULTI_CPU", "cpu_zero2": "DEEPSPEED", "cpu_zero3": "DEEPSPEED"}.get(path.stem, usual)
    assert yaml.safe_load(text)["distributed_type"] == expected
    assert "batch" not in text and "clipping" not in text and "accumulation" not in text


@pytest.mark.parametrize(
    ("accel", "said"),
    [
        ("cpu_ddp2", {"ACCELERATE_USE_CPU": "true"}),
        ("cpu_zero3", {"ACCELERATE_USE_DEEPSPEED": "true", "ACCELERATE_DEEPSPEED_ZERO_STAGE": "3"}),
    ],
)
def test_torchrun_processes_are_told_their_engine(accel, said, monkeypatch):
    monkeypatch.delenv("ACCELERATE_USE_CPU", raising=False)
    given = environment(2, config(accel))
    assert said.items() <= given.items()
    assert ("ACCELERATE_USE_CPU" in given) == (accel == "cpu_ddp2")
