"""SFT: only the assistant's words are trained, what would mislead the model is refused, the artifact loads alone."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml
from peft import get_peft_model
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from pipeline.adapter import lora_config
from pipeline.lora import Lora
from pipeline.recipe import validate
from pipeline.sft.data import Conversation, encode, read
from pipeline.sft.recipe import Recipe
from pipeline.sft.train import run
from pipeline.stage import Job, UserError
from tests.toy_pairs import save_toy_model, write_jsonl

TRAINER = {"learning_rate": 0.02, "per_device_train_batch_size": 8, "max_steps": 30, "logging_steps": 5}
LORA = {"r": 4, "lora_alpha": 8}
ITEM = "the owl found the lake and smiled"


def conversation(index):
    """The answer is the question's first word twice: a copy that a toy model learns in a few steps."""
    word = ("fox", "owl", "kite", "lake")[index % 4]
    turns = [("user", f"{word} {index % 7}"), ("assistant", f"{word} and {word}")]
    return {"id": f"c{index}", "messages": [{"role": role, "content": content} for role, content in turns]}


def job(folder, out, trainer=TRAINER, **keys):
    """A job over a toy base model and toy conversations, of which one holds the only item of a benchmark."""
    collect = folder / "collect"
    if not collect.exists():
        save_toy_model(folder / "pretrain" / "model")
        leak = [{"role": "user", "content": "fox"}, {"role": "assistant", "content": f"Well: {ITEM.upper()}!"}]
        rows = [conversation(i) for i in range(64)]
        rows[0]["messages"][0]["content"] += " a@fox.example"
        write_jsonl(collect / "conversations.jsonl", [*rows, {"id": "leak", "messages": leak}])
        write_jsonl(collect / "evaluation" / "toy.jsonl", [{"id": "item", "text": ITEM}])
        write_jsonl(collect / "heldout_conversations.jsonl", [conversation(i) for i in range(64, 80)])
    recipe = validate(Recipe, {"trainer": trainer, **keys}, "sft.yaml")
    out.mkdir(parents=True, exist_ok=True)
    inputs = {"collect": collect, "pretrain": folder / "pretrain"}
    return Job(stage="sft", recipe=recipe, out=out, inputs=inputs, seed=0, run_name="toy")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sft")
    return folder, run(job(folder, folder / "full"))


@pytest.fixture
def tokenizer(trained):
    return AutoTokenizer.from_pretrained(trained[0] / "pretrain" / "model")


def test_training_lowers_the_heldout_loss(trained):
    folder, metrics = trained
    untouched = run(job(folder, folder / "untouched", {**TRAINER, "learning_rate": 1e-9, "max_steps": 1}))
    assert metrics["heldout_loss"] < 0.7 * untouched["heldout_loss"]
    assert metrics["heldout_loss_low"] <= metrics["heldout_loss"] <= metrics["heldout_loss_high"]
    assert metrics["heldout_loss_n"] == 16
    assert metrics["conversations"] == 64
    assert metrics["trained_parameters"] == metrics["parameters"]
    assert metrics["tokens_per_second"] > 0


def test_private_data_and_evaluation_items_are_not_trained_on(trained):
    folder, metrics = trained
    assert (metrics["edited_email"], metrics["dropped_leak_toy"]) == (1, 1)
    (dropped,) = (json.loads(line) for line in (folder / "full" / "dropped.jsonl").read_text().splitlines())
    assert dropped == {
        "id": "conversations.jsonl, line 65",
        "reason": "leak_toy",
        "text": "fox\nWell: THE OWL FOUND THE LAKE AND SMILED!",
    }
    certificate = json.loads((folder / "full" / "certificates" / "toy.json").read_text())
    assert (certificate["stage"], certificate["ngram"], certificate["matches"][0]["item"]) == ("sft", 13, "item")
    assert [(one["name"], one["rows"], one["kept"]) for one in certificate["data"]] == [
        ("conversations", 65, 64),
        ("held-out conversations", 16, 16),
    ]


def test_the_log_has_a_line_for_each_logged_step(trained):
    lines = [json.loads(line) for line in (trained[0] / "full" / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [5, 10, 15, 20, 25, 30]
    assert lines[-1]["loss"] < lines[0]["loss"]
    assert all({"learning_rate", "tokens", "tokens_per_second"} <= set(line) for line in lines)


def test_the_model_loads_without_this_project_and_knows_where_an_answer_ends(trained):
    script = (
        "import sys; from transformers import AutoModelForCausalLM, AutoTokenizer\n"
        "model = AutoModelForCausalLM.from_pretrained(sys.argv[1]); tok = AutoTokenizer.from_pretrained(sys.argv[1])\n"
        "ids = tok.apply_chat_template([{'role': 'user', 'content': 'fox 3'}], add_generation_prompt=True,"
        " return_tensors='pt', return_dict=True)\n"
        "model.generate(**ids, max_new_tokens=3)\n"
        "assert 'pipeline' not in sys.modules\n"
        "print([tok.convert_ids_to_tokens(i) for i in model.generation_config.eos_token_id])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(trained[0] / "full" / "model")],
        capture_output=True, text=True, timeout=100, cwd="/",
    )  # fmt: skip
    assert done.stdout.strip() == "['<|im_end|>', '<|endoftext|>']", done.stderr[-800:]


def test_equal_seeds_give_equal_weights(trained):
    folder, _ = trained
    run(job(folder, folder / "again"))
    first, again = (load_file(folder / name / "model" / "model.safetensors") for name in ("full", "again"))
    assert all(torch.equal(first[name], again[name]) for name in first)


def test_a_run_killed_in_its_third_epoch_goes_on_to_the_same_weights(trained):
    folder, _ = trained
    keys = {"learning_rate": 0.02, "per_device_train_batch_size": 8, "num_train_epochs": 3, "save_steps": 20}
    whole, killed = job(folder, folder / "whole", keys), job(folder, folder / "killed", keys)
    run(whole)
    (checkpoint,) = (path.relative_to(whole.out) for path in (whole.out / "resume").rglob("checkpoint-20"))
    shutil.copytree(whole.out / checkpoint, killed.out / checkpoint)
    run(killed)
    ends = [load_file(one.out / "model" / "model.safetensors") for one in (whole, killed)]
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])


def test_prompt_tokens_are_not_trained(trained, tokenizer):
    (row,), _ = encode(tokenizer, [Conversation(messages=conversation(0)["messages"], where="x")], 128)
    words = [token for token, label in zip(row["input_ids"], row["labels"], strict=True) if label != -100]
    assert tokenizer.decode(words) == "fox and fox<|im_end|>"
    assert all(label in (-100, token) for token, label in zip(row["input_ids"], row["labels"], strict=True))


def test_lora_trains_few_parameters_and_merges_exactly(trained):
    folder, full = trained
    metrics = run(job(folder, folder / "lora", {**TRAINER, "learning_rate": 0.05}, lora=LORA))
    assert metrics["merge_logit_difference"] < 1e-4
    assert metrics["trained_parameters"] < 0.25 * metrics["parameters"]
    assert metrics["parameters"] == full["parameters"]
    before = load_file(folder / "pretrain" / "model" / "model.safetensors")["model.embed_tokens.weight"]
    after = load_file(folder / "lora" / "model" / "model.safetensors")["model.embed_tokens.weight"]
    model = AutoModelForCausalLM.from_pretrained(folder / "lora" / "model")
    tokenizer = AutoTokenizer.from_pretrained(folder / "lora" / "model")
    chat = set(tokenizer.convert_tokens_to_ids(["<|im_start|>", "<|im_end|>"]))
    moved = set((before != after).any(1).nonzero()[:, 0].tolist())
    assert moved == chat
    assert torch.equal(model.lm_head.weight, model.get_input_embeddings().weight)
    assert (folder / "lora" / "adapter" / "adapter_model.safetensors").is_file()


def test_a_merge_beyond_its_tolerance_saves_no_model(trained):
    folder, _ = trained
    with pytest.raises(UserError, match=r"merging the adapter changed a logit by .*merge_tolerance = 1e-30"):
        run(job(folder, folder / "bad", {**TRAINER, "max_steps": 3}, lora={**LORA, "merge_tolerance": 1e-30}))
    assert not (folder / "bad" / "model").exists()


@pytest.mark.parametrize(
    ("lora", "message"),
    [
        ({"trainable_tokens": ["<|none|>"]}, "'<|none|>' is not in the model's vocabulary"),
        ({"target_modules": ["q_prj"]}, "no linear layer 'q_prj'. It has: down_proj"),
    ],
)
def test_an_adapter_that_does_not_fit_the_model_is_refused(trained, lora, message):
    folder, _ = trained
    with pytest.raises(UserError) as error:
        run(job(folder, folder / "misfit", lora=lora))
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "not JSON"),
        ("[1]", "is list, expected an object with columns"),
        ('{"id": "a", "text": "b"}', "has no column 'messages'. It has: id, text."),
        ('{"messages": []}', "holds no message"),
        ('{"messages": ["hello"]}', "the column 'messages' is list, expected a list of messages"),
        ('{"messages": [{"from": "user"}]}', "column 'messages': has no column 'role'. It has: from."),
        ('{"messages": [{"role": "bot", "content": "x"}]}', "message 1 has the role 'bot'"),
        ('{"messages": [{"role": "user", "content": " "}]}', "message 1 (user) has no text"),
        ('{"messages": [{"role": "user", "content": 3}]}', "message 1 (user) has no text"),
        ('{"messages": [{"role": "user", "content": "x"}]}', "the last message is the user's"),
    ],
)
def test_a_malformed_row_is_named_by_file_and_line(tokenizer, tmp_path, line, message):
    path = tmp_path / "conversations.jsonl"
    path.write_text(json.dumps(conversation(0)) + "\n" + line + "\n", encoding="utf-8")
    with pytest.raises(UserError) as error:
        encode(tokenizer, read(path), 128)
    assert f"{path}, line 2" in str(error.value)
    assert message in str(error.value)


def test_a_file_that_is_missing_or_empty_is_named(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        read(tmp_path / "conversations.jsonl")
    (tmp_path / "conversations.jsonl").write_text("")
    with pytest.raises(UserError, match="holds no conversation"):
        read(tmp_path / "conversations.jsonl")


def test_rows_longer_than_the_window_are_counted_and_many_are_an_error(tokenizer):
    short = [Conversation(messages=conversation(i)["messages"], where=str(i)) for i in range(39)]
    long = Conversation(messages=[short[0].messages[0], {"role": "assistant", "content": "fox " * 90}], where="long")
    rows, left_out = encode(tokenizer, [*short, long], 64)
    assert (len(rows), left_out.counts) == (39, {"too_long": 1})
    with pytest.raises(UserError, match="3 of 42 conversations are longer than the 64 tokens"):
        encode(tokenizer, [*short, long, long, long], 64)


def test_a_tokenizer_of_another_model_is_refused(tmp_path):
    toy = job(tmp_path, tmp_path / "out")
    other = AutoTokenizer.from_pretrained(tmp_path / "pretrain" / "model")
    other.add_tokens([f"extra{i}" for i in range(50)])
    other.save_pretrained(tmp_path / "pretrain" / "model")
    with pytest.raises(UserError, match="they do not belong together"):
        run(toy)


def test_a_recipe_names_one_model_to_start_from(tmp_path):
    named = {"id": "org/name", "revision": "0" * 40}
    with pytest.raises(UserError, match=r"trains a model of its own .* and names org/name"):
        run(job(tmp_path, tmp_path / "out", model=named))


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"trainer": {"learning_rte": 1e-3}}, "no key 'learning_rte'. Did you mean 'learning_rate'?"),
        ({"trainer": {"packing": True, "packing_strategy": "wrapped"}}, "leaks between conversations"),
        ({"model": {"id": "a/b", "revision": "main"}}, "model.revision"),
        ({"lora": {"target_modules": ["lm_head"]}}, "would never be trained"),
        ({"lora": {"target_modules": []}}, "names no module"),
        ({"lora": {"rank": 8}}, "unknown key 'lora.rank'"),
    ],
)
def test_a_recipe_that_cannot_work_is_refused(keys, message):
    with pytest.raises(UserError) as error:
        validate(Recipe, keys, "sft.yaml")
    assert message in str(error.value)


def test_packed_conversations_do_not_see_each_other(trained):
    folder, _ = trained
    metrics = run(job(folder, folder / "packed", {**TRAINER, "packing": True, "per_device_train_batch_size": 1}))
    assert metrics["heldout_loss"] < 3


def test_how_often_is_logged_does_not_change_the_fingerprint():
    one, other = ({"learning_rate": 1e-3, "logging_steps": steps, "save_steps": steps} for steps in (5, 50))
    assert validate(Recipe, {"trainer": one}, "x").hashed() == validate(Recipe, {"trainer": other}, "x").hashed()
    assert validate(Recipe, {"trainer": {"learning_rate": 1e-4}}, "x").hashed() != Recipe().hashed()


@pytest.mark.parametrize("stage", ["sft", "dpo"])
def test_the_adapters_of_smol_chat_are_2_percent_of_their_model_at_most(stage):
    """On SmolLM2-135M's shape, without weights."""
    lora = Lora(**yaml.safe_load(Path(f"recipes/smol-chat/{stage}.yaml").read_text(encoding="utf-8"))["lora"])
    shape = yaml.safe_load(Path("recipes/smollm-135m/pretrain.yaml").read_text(encoding="utf-8"))["model"]
    config = AutoConfig.for_model(**shape, vocab_size=49_154)
    tokenizer = SimpleNamespace(get_vocab=lambda: {"<|im_start|>": 1, "<|im_end|>": 2})
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
        trained, everything = get_peft_model(model, lora_config(lora, model, tokenizer)).get_nb_trainable_parameters()
    assert everything > 134e6
    assert 0.01 < trained / everything <= 0.02
