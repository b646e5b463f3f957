"""Training with TRL: kills and terminations resume to the same bytes, NaN stops, settings are checked beforehand."""

import json
import math
import os
import signal

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, TrainerCallback
from trl import SFTConfig, SFTTrainer

from pipeline import checkpoint, trl_keys
from pipeline.sft.train import run
from pipeline.stage import UserError
from pipeline.trainers import common, newest_checkpoint, score_trained_positions_only
from tests.test_sft import job
from tests.toy_pairs import save_toy_model

SETTINGS = {
    "learning_rate": 0.01,
    "per_device_train_batch_size": 8,
    "num_train_epochs": 2,
    "logging_steps": 1,
    "save_steps": 3,
}


class Killed(Exception):
    """Stands for SIGKILL: nothing of the trainer's runs after it."""


class AtStep(TrainerCallback):
    """Does something at the end of a step."""

    def __init__(self, step, act):
        self.step, self.act = step, act

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            self.act(kwargs)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trainers")
    run(job(folder, folder / "whole", SETTINGS))
    run(job(folder, folder / "lora-whole", SETTINGS, lora={"r": 2, "lora_dropout": 0.1}))
    return folder


def interrupt(monkeypatch, step, act):
    """Every SFTTrainer made from now on does `act` at the end of `step`."""
    original = SFTTrainer.__init__

    def made(self, *args, **kwargs):
        original(self, *args, **kwargs)
        self.add_callback(AtStep(step, act))

    monkeypatch.setattr(SFTTrainer, "__init__", made)


def kill(_):
    raise Killed


def weights(folder):
    return load_file(folder / "model" / "model.safetensors")


def assert_equal(one, other):
    assert set(one) == set(other)
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("keys", [{}, {"lora": {"r": 2, "lora_dropout": 0.1}}], ids=["full", "lora"])
def test_a_killed_run_resumes_to_the_same_weights_and_log(whole, monkeypatch, keys):
    out = whole / f"killed-{'lora' if keys else 'full'}"
    with monkeypatch.context() as patched:
        interrupt(patched, 8, kill)
        with pytest.raises(Killed):
            run(job(whole, out, SETTINGS, **keys))
    assert [path.name for path in checkpoint.numbered(out / "resume" / "trainer")] == ["checkpoint-6", "checkpoint-3"]
    run(job(whole, out, SETTINGS, **keys))
    reference = whole / ("lora-whole" if keys else "whole")
    assert_equal(weights(reference), weights(out))
    losses = [
        [(entry["step"], entry["loss"]) for entry in map(json.loads, (folder / "log.jsonl").read_text().splitlines())]
        for folder in (reference, out)
    ]
    assert losses[0] == losses[1]
    assert [step for step, _ in losses[0]] == list(range(1, 17))


def test_a_damaged_checkpoint_is_passed_over(whole, monkeypatch):
    out = whole / "damaged"
    with monkeypatch.context() as patched:
        interrupt(patched, 8, kill)
        with pytest.raises(Killed):
            run(job(whole, out, SETTINGS))
    newest = out / "resume" / "trainer" / "checkpoint-6"
    data = bytearray((newest / "optimizer.pt").read_bytes())
    data[len(data) // 2] ^= 1
    (newest / "optimizer.pt").write_bytes(data)
    (out / "resume" / "trainer" / "checkpoint-9").mkdir()
    found = newest_checkpoint(job(whole, out, SETTINGS))
    assert found is not None and found.endswith("checkpoint-3")
    run(job(whole, out, SETTINGS))
    assert_equal(weights(whole / "whole"), weights(out))


def test_sigterm_leaves_a_checkpoint_and_status_143(whole, monkeypatch):
    out = whole / "terminated"
    before = signal.getsignal(signal.SIGTERM)
    with monkeypatch.context() as patched:
        interrupt(patched, 7, lambda _: os.kill(os.getpid(), signal.SIGTERM))
        with pytest.raises(SystemExit) as ended:
            run(job(whole, out, SETTINGS))
    assert ended.value.code == 143
    assert signal.getsignal(signal.SIGTERM) == before
    assert not (out / "model").exists()
    found = newest_checkpoint(job(whole, out, SETTINGS))
    assert found is not None and found.endswith(("checkpoint-7", "checkpoint-8"))
    run(job(whole, out, SETTINGS))
    assert_equal(weights(whole / "whole"), weights(out))


def test_sigterm_in_the_last_step_loses_nothing(whole, monkeypatch):
    out = whole / "terminated-last"
    with monkeypatch.context() as patched:
        interrupt(patched, 16, lambda _: os.kill(os.getpid(), signal.SIGTERM))
        with pytest.raises(SystemExit):
            run(job(whole, out, SETTINGS))
    run(job(whole, out, SETTINGS))
    assert_equal(weights(whole / "whole"), weights(out))


def test_checkpoints_hold_no_pickled_settings(whole):
    (folder,) = {path.parent for path in (whole / "whole").rglob("sha256.json") if path.parent.name.endswith("-16")}
    assert (folder / "model.safetensors").is_file()
    assert not list((whole / "whole").rglob("training_args.bin"))


def test_a_gradient_that_is_no_number_stops_before_the_step(whole, monkeypatch):
    out = whole / "nan"
    seen = {}

    def poison(given):
        parameter = next(given["model"].parameters())
        handle = parameter.register_hook(lambda gradient: gradient * math.nan)
        seen.update(model=given["model"], handle=handle)

    with monkeypatch.context() as patched:
        interrupt(patched, 4, poison)
        with pytest.raises(UserError, match=r"a gradient is not a finite number at step 5 \(learning_rate 0\.0"):
            run(job(whole, out, SETTINGS))
    assert all(bool(torch.isfinite(parameter).all()) for parameter in seen["model"].parameters())
    assert not (out / "model").exists()
    assert [path.name for path in checkpoint.numbered(out / "resume" / "trainer")] == ["checkpoint-3"]


@pytest.mark.parametrize("fields", ["log_probs", "entropy", "is_top1", "mean_logits", "loss", "label_mask"])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_scoring_trained_positions_only_changes_no_number(tmp_path, fields, temperature):
    from trl.trainer.utils import add_fused_lm_head

    model = AutoModelForCausalLM.from_pretrained(save_toy_model(tmp_path / "model"))
    torch.manual_seed(0)
    ids = torch.randint(4, 100, (3, 12))
    labels = ids.masked_fill(torch.rand(3, 12) < 0.5, -100)
    add_fused_lm_head(model, outputs=("log_probs", "entropy", "is_top1", "mean_logits"), temperature=temperature)
    theirs = model(input_ids=ids, labels=labels, fused_lm_head=True)
    logits = model(input_ids=ids).logits
    assert score_trained_positions_only(model, temperature)
    ours = model(input_ids=ids, labels=labels, fused_lm_head=True)
    assert torch.allclose(ours[fields].float(), theirs[fields].float(), atol=1e-5)
    assert torch.equal(model(input_ids=ids).logits, logits)


def test_models_that_change_their_logits_keep_trls_own_head(tmp_path):
    model = AutoModelForCausalLM.from_pretrained(save_toy_model(tmp_path / "model"))
    model.config.final_logit_softcapping = 30.0
    assert not score_trained_positions_only(model)


def test_what_we_set_is_what_a_recipe_may_not(tmp_path):
    toy = job(tmp_path, tmp_path / "out")
    overridable = {"save_steps", "activation_checkpointing"}
    assert set(common(toy)) - overridable <= set(trl_keys.REFUSED)
    assert not overridable & set(trl_keys.REFUSED)
    assert SFTConfig(**common(toy)).report_to == []


def test_the_key_table_is_that_of_the_installed_classes():
    table = json.loads(trl_keys.TABLE.read_text(encoding="utf-8"))
    assert table == trl_keys.installed(), "run: python -m pipeline.trl_keys"


def test_every_refused_key_is_one_of_trls():
    table = json.loads(trl_keys.TABLE.read_text(encoding="utf-8"))
    assert set(trl_keys.REFUSED) <= set().union(*(table[config] for config in trl_keys.CONFIGS))


@pytest.mark.parametrize("key", ["output_dir", "seed", "report_to", "push_to_hub", "hub_token", "use_cpu", "bf16"])
@pytest.mark.parametrize("config", trl_keys.CONFIGS)
def test_keys_that_we_set_are_refused_by_name(config, key):
    with pytest.raises(ValueError, match=f"the key '{key}' cannot be given here: "):
        trl_keys.check(config, {key: None})


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"learning_rte": 1e-3}, "SFTConfig has no key 'learning_rte'. Did you mean 'learning_rate'?"),
        ({"max_seq_length": 8}, "Did you mean 'max_length'?"),
        ({"packing": "False"}, "packing = 'False': trl's SFTConfig takes bool here, not str."),
        ({"learning_rate": "3e-4"}, "takes float here, not str"),
        ({"learning_rate": True}, "takes float here, not bool"),
        ({"max_steps": 1.5}, "takes int here, not float"),
        ({"max_length": {}}, "takes int or null here, not dict"),
        ({"lr_scheduler_type": "cosin"}, "Did you mean 'cosine'?"),
        ({"lr_scheduler_type": 3}, "takes text here, not int"),
        ({"parallelism_config": {}}, "not dict"),
    ],
)
def test_a_mistake_in_the_trainer_section_is_named(section, message):
    with pytest.raises(ValueError) as error:
        trl_keys.check("SFTConfig", section)
    assert message in str(error.value)


def test_a_correct_section_passes_unchanged():
    section = {"learning_rate": 1, "lr_scheduler_type": "cosine", "max_length": None, "warmup_steps": 0.1}
    assert trl_keys.check("SFTConfig", section) is section
