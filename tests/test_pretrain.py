"""Pretraining: it learns, resumes exactly, stops cleanly, and what it saves loads without this package."""

import json
import math
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from pipeline import chat
from pipeline.intervals import slugs
from pipeline.plan import count, predict
from pipeline.pretrain import train as loop
from pipeline.pretrain.fields import LISTED, TABLE, installed
from pipeline.pretrain.model import build
from pipeline.pretrain.optimizer import ITERATIONS, A, B, C, orthogonalise
from pipeline.pretrain.recipe import Recipe
from pipeline.pretrain.schedule import factor
from pipeline.recipe import validate
from pipeline.stage import Job, UserError
from pipeline.store import StoreWriter, open_split

REPOSITORY = Path(__file__).parent.parent
TINY = {
    "model_type": "llama", "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2,
    "num_attention_heads": 2, "num_key_value_heads": 1, "tie_word_embeddings": True,
}  # fmt: skip
TINY_GPT2 = {"model_type": "gpt2", "n_embd": 16, "n_layer": 2, "n_head": 2, "resid_pdrop": 0.2, "embd_pdrop": 0.2}
DEFAULTS = {
    "model": TINY, "context": 32, "batch_size": 4, "steps": 12, "evaluate_every": 1000, "checkpoint_every": 3,
    "log_every": 2,
}  # fmt: skip


@pytest.fixture(scope="session")
def source(tmp_path_factory):
    """A tokenizer's artifact over a language of six words, in which two follow each other always."""
    folder = tmp_path_factory.mktemp("source")
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer, backend.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    rng = random.Random(0)
    texts = [
        " ".join(rng.choice(("red fox", "old owl", "big bear")) for _ in range(rng.randint(3, 12))) for _ in range(300)
    ]
    trainer = trainers.BpeTrainer(
        vocab_size=290, special_tokens=list(chat.SPECIAL_TOKENS), initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    backend.train_from_iterator(texts, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        eos_token=chat.END_OF_TEXT,
        pad_token=chat.PAD,
        extra_special_tokens=[chat.START_OF_TURN, chat.END_OF_TURN],
    )
    tokenizer.chat_template = chat.TEMPLATE.read_text()
    tokenizer.save_pretrained(folder / "tokenizer")
    with StoreWriter(folder / "store", vocabulary_size=len(tokenizer), end_id=0) as writer:
        for number, text in enumerate(texts):
            split, source = "heldout" if number % 10 == 0 else "train", "web" if number % 20 == 0 else "old books"
            writer.add(split, backend.encode(text).ids, len(text), source)
    return folder


def job(out, source, **keys):
    out.mkdir(exist_ok=True)
    recipe = validate(Recipe, {**DEFAULTS, **keys}, "pretrain.yaml")
    return Job(stage="pretrain", recipe=recipe, out=out, inputs={"tokenizer": source}, seed=0, run_name="toy")


def weights(out):
    return load_file(out / "model" / "model.safetensors")


def assert_equal_weights(one, other):
    assert one.keys() == other.keys()
    for name in one:
        assert torch.equal(one[name], other[name]), name


@pytest.fixture(scope="session")
def whole(source, tmp_path_factory):
    """An uninterrupted run."""
    out = tmp_path_factory.mktemp("whole")
    return out, loop.run(job(out, source, evaluate_every=5))


def test_it_learns_the_language(source, tmp_path):
    metrics = loop.run(job(tmp_path, source, steps=150, learning_rate=2e-2))
    assert metrics["heldout_bits_per_byte"] < 0.6 * metrics["unigram_bits_per_byte"]
    assert (
        metrics["heldout_bits_per_byte_low"] < metrics["heldout_bits_per_byte"] < metrics["heldout_bits_per_byte_high"]
    )
    assert metrics["tokens"] == 150 * 4 * 32


def test_names_of_metrics_are_never_alike_nor_those_of_an_interval():
    assert slugs(["web-a", "web a", "Low", "web low", "??"]) == {
        "web-a": "web_a", "web a": "web_a_2", "Low": "low_source", "web low": "web_low_source", "??": "unnamed",
    }  # fmt: skip


def test_held_out_text_is_measured_by_source_as_each_document_by_itself(source, whole):
    out, metrics = whole
    model = AutoModelForCausalLM.from_pretrained(out / "model").eval()
    split = open_split(source / "store", "heldout")
    nats = []
    for ids in split.documents():
        # As the rows are cut: a context of targets at a time, the token before them in front.
        led = torch.tensor([split.end_id, *ids.tolist()])
        total = 0.0
        for start in range(0, len(ids), DEFAULTS["context"]):
            part = led[start : start + DEFAULTS["context"] + 1]
            with torch.no_grad():
                logits = model(part[None, :-1]).logits[0]
            total += float(torch.nn.functional.cross_entropy(logits, part[1:], reduction="sum"))
        nats.append(total)
    for number, name in enumerate(split.source_bytes):
        own = sum(value for value, source in zip(nats, split.sources, strict=True) if source == number)
        key = f"heldout_bits_per_byte_{name.replace(' ', '_')}"
        assert metrics[key] == pytest.approx(own / math.log(2) / split.source_bytes[name], rel=1e-4)
        assert metrics[f"{key}_low"] < metrics[key] < metrics[f"{key}_high"]
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "heldout_bits_per_byte_old_books" in line] == [5, 10]


@pytest.mark.parametrize(
    ("optimizer", "rate", "schedule"), [("adamw", 2e-2, "wsd"), ("sgd", 1.0, "linear")], ids=["adamw", "sgd"]
)
def test_other_optimisers_learn_too(source, tmp_path, optimizer, rate, schedule):
    keys = {"optimizer": optimizer, "learning_rate": rate, "schedule": schedule}
    metrics = loop.run(job(tmp_path, source, steps=60, **keys))
    assert metrics["heldout_bits_per_byte"] < metrics["unigram_bits_per_byte"]


def test_log_has_every_logged_step_once(whole):
    out, metrics = whole
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "loss" in line] == [2, 4, 6, 8, 10, 12]
    assert [line["step"] for line in lines if "heldout_bits_per_byte" in line] == [5, 10]
    assert lines[-1]["tokens"] == metrics["tokens"] == 12 * 4 * 32
    assert lines[-1]["loss"] == metrics["final_loss"]
    assert all(line["learning_rate"] > 0 and 0 < line["mfu"] < 1 for line in lines if "loss" in line)
    assert lines[0]["step"] == 0 and lines[0]["units"].keys() >= lines[1].keys() - {"step"}
    (evaluated, _) = (line for line in lines if "samples" in line)
    beginning, written = evaluated["samples"][0].split("|")
    assert beginning and len(written) > 0 and len(evaluated["samples"]) == 2


def test_the_metrics_hold_what_was_measured_against_what_was_predicted(whole):
    _, metrics = whole
    assert metrics["peak_memory_bytes"] == pytest.approx(metrics["predicted_peak_memory_bytes"], rel=0.1)
    assert metrics["seconds_per_step"] == pytest.approx(metrics["seconds"] / 12, rel=0.01)
    assert metrics["predicted_seconds_per_step"] > 0


@pytest.mark.parametrize("unknown", ["machine", "model"])
def test_what_the_planner_does_not_know_is_not_predicted(unknown, source, tmp_path, monkeypatch):
    if unknown == "machine":
        monkeypatch.setattr(predict, "this_device", lambda: None)
    else:
        monkeypatch.setattr(count, "_experts", lambda config: (0, 0))
    experts = {**TINY, "model_type": "mixtral", "num_local_experts": 2}
    model = experts if unknown == "model" else TINY
    metrics = loop.run(job(tmp_path, source, steps=2, model=model, optimizer="adamw"))
    assert metrics["peak_memory_bytes"] > 0
    assert not [name for name in metrics if name.startswith("predicted")]


def test_model_loads_and_stops_without_this_package(whole):
    out, metrics = whole
    code = (
        "import sys; from transformers import AutoModelForCausalLM, AutoTokenizer\n"
        "model, tokenizer = (c.from_pretrained(sys.argv[1]) for c in (AutoModelForCausalLM, AutoTokenizer))\n"
        "print(model.num_parameters(), model.generation_config.eos_token_id, model.generation_config.pad_token_id,"
        " model.config.eos_token_id, tokenizer.model_max_length, len(tokenizer.chat_template) > 0,"
        " model.config.use_cache, 'pipeline' in sys.modules, sep=';')"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code, out / "model"], capture_output=True, text=True, check=True, cwd=out
    ).stdout.strip()
    assert shown == f"{metrics['parameters']};[2, 0];3;0;32;True;True;False"


def test_a_run_stopped_by_sigterm_and_resumed_ends_with_equal_weights(source, tmp_path, monkeypatch):
    """Dropout is on, so that the random numbers matter too."""
    keys = {"model": TINY_GPT2, "micro_batch_size": 2}
    loop.run(job(tmp_path / "whole", source, **keys))
    stopped = job(tmp_path / "stopped", source, **keys)
    before = signal.getsignal(signal.SIGTERM)
    with monkeypatch.context() as patch:

        def factor_and_sigterm(step, *rest):
            if step == 7:
                os.kill(os.getpid(), signal.SIGTERM)
            return factor(step, *rest)

        patch.setattr(loop, "factor", factor_and_sigterm)
        with pytest.raises(SystemExit) as stop:
            loop.run(stopped)
    assert stop.value.code == 143
    assert signal.getsignal(signal.SIGTERM) is before
    assert sorted(path.name for path in stopped.resume.glob("step-*")) == ["step-6", "step-8"]
    assert not (stopped.out / "model").exists()
    loop.run(stopped)
    assert_equal_weights(weights(stopped.out), weights(tmp_path / "whole"))


KILLED = """
import sys
from tests.test_pretrain import job
from pipeline.pretrain import train as loop
from pathlib import Path
loop.run(job(Path(sys.argv[1]), Path(sys.argv[2]), steps=1000000 if sys.argv[3] == "endless" else 12))
"""


def test_a_killed_run_goes_on_from_its_newest_valid_checkpoint(source, whole, tmp_path, caplog):
    """SIGKILL after the first checkpoint; then the newest one is damaged, and the one before it is used."""
    out = tmp_path / "killed"
    slow = KILLED.replace(
        "loop.run(",
        "import time\nfactor = loop.factor\nloop.factor = lambda *a: (time.sleep(0.05), factor(*a))[1]\nloop.run(",
        1,
    )
    process = subprocess.Popen(
        [sys.executable, "-c", slow, out, source, "short"], cwd=REPOSITORY, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 90
    while not list(out.glob("resume/step-6/sha256.json")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.005)
    process.kill()
    process.wait()
    assert not (out / "model").exists()
    newest = max(out.glob("resume/step-*"), key=lambda path: int(path.name.partition("-")[2].partition(".")[0]))
    with (newest / "optimizer.safetensors").open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\xff")
    loop.run(job(out, source))
    assert f"{newest.name} is passed over: optimizer.safetensors" in caplog.text
    assert_equal_weights(weights(out), weights(whole[0]))
    steps = [json.loads(line)["step"] for line in (out / "log.jsonl").read_text().splitlines()]
    assert steps == sorted(set(steps)), "no step is logged twice"


def test_a_checkpoint_of_another_recipe_is_refused(source, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(loop.heldout, "score", lambda *a, **k: pytest.fail("stop here"))
        with pytest.raises(pytest.fail.Exception):
            loop.run(job(tmp_path, source))
    with pytest.raises(UserError, match=r"another run \(learning_rate: 0\.01 -> 0\.002\)"):
        loop.run(job(tmp_path, source, learning_rate=0.002))
    other = tmp_path / "source"
    shutil.copytree(source, other)
    tokenizer = json.loads((other / "tokenizer" / "tokenizer.json").read_text())
    (other / "tokenizer" / "tokenizer.json").write_text(json.dumps(tokenizer))
    with pytest.raises(UserError, match="another run \\(tokenizer_sha256: "):
        loop.run(job(tmp_path, other))


def test_accumulated_gradients_equal_those_of_the_whole_batch(source, tmp_path, whole):
    """Plain AdamW's first steps divide by the gradient's size and blow rounding up; so the gradients are compared."""
    seen = []
    real = loop.forward_backward

    def spy(model, *rest):
        loss = real(model, *rest)
        seen.append((loss, [p.grad.clone() for p in model.parameters()]))
        return loss

    for micro_batch_size in (4, 2, 1):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(loop, "forward_backward", spy)
            loop.run(job(tmp_path / str(micro_batch_size), source, micro_batch_size=micro_batch_size, steps=1))
    (loss, gradients), *others = seen[::2]  # every run makes another step at its end, to measure memory
    for other_loss, other_gradients in others:
        assert torch.allclose(loss, other_loss, atol=1e-6)
        for one, other in zip(gradients, other_gradients, strict=True):
            assert torch.allclose(one, other, atol=1e-6)


@pytest.mark.parametrize("broken", [{4}, {4, 5, 7}])
def test_a_step_with_a_gradient_that_is_no_number_is_left_out(source, tmp_path, monkeypatch, caplog, broken):
    metrics = run_with_broken_steps(source, tmp_path, monkeypatch, broken)
    assert metrics["skipped_steps"] == len(broken)
    assert all(tensor.isfinite().all() for tensor in weights(tmp_path).values())
    assert "step 4 is left out" in caplog.text and "rows 16 to 19" in caplog.text


def test_three_such_steps_in_a_row_stop_the_run_before_they_spoil_the_weights(source, tmp_path, monkeypatch):
    with pytest.raises(UserError, match=r"steps \[4, 5, 6\] were not finite.*Lower learning_rate = 0\.01"):
        run_with_broken_steps(source, tmp_path, monkeypatch, {4, 5, 6})
    assert sorted(path.name for path in tmp_path.glob("resume/step-*")) == ["step-3", "step-6"]
    for path in tmp_path.glob("resume/step-*/model.safetensors"):
        assert all(tensor.isfinite().all() for tensor in load_file(path).values())
    assert not (tmp_path / "model").exists()


def run_with_broken_steps(source, out, monkeypatch, broken):
    real = loop.forward_backward
    calls = iter(range(1000))

    def poisoned(model, *rest):
        loss = real(model, *rest)
        if next(calls) in broken:
            next(iter(model.parameters())).grad[0, 0] = float("nan")
            return loss * float("nan")
        return loss

    monkeypatch.setattr(loop, "forward_backward", poisoned)
    return loop.run(job(out, source))


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"model": {**TINY, "hiden_size": 64}}, "no field 'hiden_size'. Did you mean 'hidden_size'?"),
        ({"model": {**TINY, "eos_token_id": 0}}, "'eos_token_id' cannot be given: it is read from the tokenizer"),
        ({"model": {"hidden_size": 16}}, "'model_type' is missing"),
        ({"tokens": 4096}, "exactly one of 'tokens' and 'steps'"),
        ({"steps": None}, "exactly one of 'tokens' and 'steps'"),
        ({"steps": None, "tokens": 100}, "less than one step: batch_size x context = 128"),
        ({"optimizer": "lion"}, 'optimizer = "lion"'),
        ({"continue_from": {"id": "./there"}}, "model would have no effect beside continue_from"),
        ({"continue_from": {"id": "org/name"}}, "a model of the Hub needs one, the commit (40 hex digits)"),
        ({"continue_from": {"id": "./there", "revision": "a" * 40}}, "has no revision"),
    ],
)
def test_a_mistake_in_the_recipe_is_named_before_anything_starts(source, tmp_path, keys, message):
    with pytest.raises(UserError) as error:
        job(tmp_path, source, **keys)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"model": {"model_type": "lama"}}, "no model_type 'lama'. Did you mean 'llama'?"),
        ({"model": {**TINY, "num_attention_heads": 3}}, "not a multiple of the number of attention heads"),
        ({"model": {**TINY, "hidden_size": "16"}}, "expected int, got str"),
        ({"model": {**TINY, "vocab_size": 100}}, "vocab_size = 100 is smaller than the tokenizer's"),
        ({"model": {**TINY, "max_position_embeddings": 16}}, "context = 32 is longer than the model's 16 positions"),
        ({"model": {"model_type": "gpt2", "n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 16}}, "longer than"),
        ({"micro_batch_size": 3}, "batch_size = 4 must be a multiple of 1 process(es) x micro_batch_size = 3"),
    ],
)
def test_a_model_that_does_not_stand_is_named(source, tmp_path, keys, message):
    with pytest.raises(UserError) as error:
        loop.run(job(tmp_path, source, **keys))
    assert message in str(error.value)


def test_fresh_weights_are_as_large_as_the_width_asks_for(source):
    tokenizer = AutoTokenizer.from_pretrained(source / "tokenizer")
    embeddings = build({**TINY, "hidden_size": 64}, tokenizer, 32, seed=0).get_input_embeddings().weight
    assert embeddings.std().item() == pytest.approx(0.125, rel=0.05)
    assert build({**TINY, "initializer_range": 0.03}, tokenizer, 32, seed=0).config.initializer_range == 0.03
    assert build(TINY_GPT2, tokenizer, 32, seed=0).config.initializer_range == 0.02


def test_the_table_of_model_fields_is_that_of_the_installed_transformers():
    assert json.loads(TABLE.read_text()) == {name: installed(name) for name in LISTED}


@pytest.mark.parametrize(
    ("schedule", "step", "expected"),
    [
        ("cosine", 0, 0.1), ("cosine", 9, 1.0), ("cosine", 10, 1.0), ("cosine", 55, 0.5),
        ("cosine", 99, (1 + math.cos(math.pi * 89 / 90)) / 2),
        ("linear", 4, 0.5), ("linear", 55, 0.5), ("linear", 99, 1 / 90),
        ("wsd", 10, 1.0), ("wsd", 72, 1.0), ("wsd", 82, 2 / 3), ("wsd", 99, 1 / 27),
    ],
)  # fmt: skip
def test_learning_rate_over_100_steps_with_a_tenth_of_warmup(schedule, step, expected):
    assert factor(step, 100, schedule, 0.1) == pytest.approx(expected)


@pytest.mark.parametrize("shape", [(3, 16, 16), (2, 8, 24), (24, 8), (2, 3, 8, 16)])
def test_orthogonalised_matrices_have_singular_values_near_one(shape):
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(orthogonalise(matrices))
    assert values.min() > 0.3
    assert values.max() < 1.3
    u, _, v = torch.linalg.svd(matrices, full_matrices=False)
    assert (orthogonalise(matrices) * (u @ v)).sum() / (u @ v).norm() ** 2 == pytest.approx(0.9, abs=0.2)


def test_iterating_the_gram_matrix_gives_what_iterating_the_matrix_gives():
    torch.manual_seed(0)
    tall, noise = torch.randn(3, 64, 4), 1e-3 * torch.randn(3, 64, 16)  # a few large singular values, many small ones
    matrices = tall @ torch.randn(3, 4, 16) + noise
    x = (matrices / matrices.norm(dim=(-2, -1), keepdim=True)).mT
    for _ in range(ITERATIONS):
        gram = x @ x.mT
        x = A * x + B * gram @ x + C * gram @ gram @ x
    torch.testing.assert_close(orthogonalise(matrices), x.mT, atol=1e-4, rtol=1e-3)
