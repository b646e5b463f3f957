"""SFT's data: four layouts, four kinds of file, mixtures by weight; and the models that it starts from."""

import gzip
import importlib.util
import json
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer, GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from pipeline import table
from pipeline.recipe import validate
from pipeline.sft.data import encode, mixture, read_table
from pipeline.sft.outside import identity
from pipeline.sft.recipe import Data, Recipe, Source
from pipeline.sft.train import run
from pipeline.stage import Job, UserError
from tests.toy_pairs import save_toy_model, write_jsonl

SHARED = Path(__file__).resolve().parent.parent.parent / "shared" / "data"
ASKED = [{"role": "user", "content": "fox?"}, {"role": "assistant", "content": "owl"}]
TOLD = [{"role": "system", "content": "be brief"}, *ASKED]


def source(folder, row, **keys):
    write_jsonl(folder / "rows.jsonl", [row])
    return validate(Source, {"path": str(folder / "rows.jsonl"), **keys}, "sft.yaml")


def chat(*texts):
    """User and assistant in turn."""
    roles = ("user", "assistant") * len(texts)
    return [{"role": role, "content": text} for role, text in zip(roles, texts, strict=False)]


def shared(**turns):
    return {"conversations": [{"from": who, "value": text} for who, text in turns.items()]}


ALPACA, SIDES, SHAREGPT = {"format": "alpaca"}, {"format": "prompt_completion"}, {"format": "sharegpt"}
TRANSCRIPT = {"format": "transcripts", "columns": {"transcript": "chosen"}}


@pytest.mark.parametrize(
    ("keys", "row", "messages"),
    [
        ({}, {"messages": ASKED}, ASKED),
        ({"columns": {"messages": "m", "role": "by"}}, {"m": [{"by": "user", "content": "a"}]}, chat("a")),
        (SIDES, {"prompt": "fox?", "completion": "owl", "system": "be brief"}, TOLD),
        (SIDES, {"prompt": TOLD[:2], "completion": TOLD[2:]}, TOLD),
        ({**SIDES, "columns": {"completion": "response"}}, {"prompt": "fox?", "response": "owl"}, ASKED),
        (ALPACA, {"instruction": "fox?", "input": "", "output": "owl"}, ASKED),
        (ALPACA, {"instruction": "a", "input": "b", "output": "c"}, chat("a\n\nb", "c")),
        (ALPACA, {"instruction": "c", "output": "d", "history": [["a", "b"]]}, chat("a", "b", "c", "d")),
        (SHAREGPT, {**shared(human="fox?", gpt="owl"), "system": "be brief"}, TOLD),
        ({**SHAREGPT, "roles": {"Q": "user"}}, shared(Q="a"), chat("a")),
        (TRANSCRIPT, {"chosen": "\n\nHuman: fox?\n\nAssistant: owl"}, ASKED),
        (TRANSCRIPT, {"chosen": "fox? \n\nHuman: owl"}, []),  # the gate counts it as empty
        (TRANSCRIPT, {"chosen": None}, []),
        (TRANSCRIPT, {"chosen": "\n\nHuman: a\n\nb \n\nAssistant: c:\n\nHuman: d"}, chat("a\n\nb", "c:", "d")),
    ],
)
def test_each_layout_becomes_the_same_messages(tmp_path, keys, row, messages):
    (talk,) = read_table(source(tmp_path, row, **keys))
    assert talk.messages == messages
    assert talk.where == f"{tmp_path / 'rows.jsonl'}, line 1"


@pytest.mark.parametrize(
    ("keys", "row", "message"),
    [
        (ALPACA, {"question": 1, "answer": 2}, "line 1: has no column 'instruction'. It has: question, answer."),
        ({**ALPACA, "columns": {"input": "q"}}, {"instruction": "a", "output": "b"}, "no column 'q'"),
        (ALPACA, {"instruction": 3, "output": "b"}, "must be texts"),
        (ALPACA, {"instruction": "a", "output": "b", "history": ["c"]}, "a list of [question, answer]"),
        (SIDES, {"prompt": 3, "completion": "b"}, "'prompt' is int, expected a text or a list of"),
        (SHAREGPT, {"conversations": "a"}, "'conversations' is str, expected a list of messages"),
        (SHAREGPT, {"conversations": [{"role": "user"}]}, "has no column 'from'. It has: role."),
        (TRANSCRIPT, {"rejected": "\n\nHuman: fox?"}, "has no column 'chosen'. It has: rejected."),
    ],
)
def test_a_row_without_the_columns_is_refused_with_those_it_has(tmp_path, keys, row, message):
    with pytest.raises(UserError) as error:
        read_table(source(tmp_path, row, **keys))
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({}, "give exactly one of path"),
        ({"path": "a", "hub": "b/c@" + "0" * 40}, "give exactly one of path"),
        ({"path": "a", "split": "test"}, "without `hub` they have no effect"),
        ({"hub": "org/name@main"}, "hub"),
        ({"path": "a", "format": "alpaca", "columns": {"outptu": "x"}}, "has no 'outptu'. Did you mean 'output'?"),
        ({"path": "a", "weight": 0}, "weight"),
    ],
)
def test_a_source_that_cannot_be_meant_is_refused(keys, message):
    with pytest.raises(UserError) as error:
        validate(Recipe, {"data": {"sources": [keys]}}, "sft.yaml")
    assert message in str(error.value)


def test_every_kind_of_file_gives_the_same_rows(tmp_path):
    rows = [{"messages": ASKED}, {"messages": TOLD}]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "a.jsonl").write_text(text)
    (tmp_path / "b.json").write_text(json.dumps(rows))
    with gzip.open(tmp_path / "c.jsonl.gz", "wt") as file:
        file.write(text)
    with gzip.open(tmp_path / "d.json.gz", "wt") as file:
        file.write(json.dumps(rows))
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "e.parquet")
    for name in "abcde":
        (path,) = tmp_path.glob(f"{name}.*")
        assert [row for row, _ in table.rows(table.Table(path=str(path)))] == rows, path.name
    assert len(list(table.rows(table.Table(path=str(tmp_path))))) == 10
    assert len({entry["sha256"] for entry in table.identity([table.Table(path=str(tmp_path))])}) == 5


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.jsonl", b'{"messages": []}\n{', "line 2: not JSON"),
        ("a.jsonl", b"\xff\xfe", "cannot be read as UTF-8 text"),
        ("a.jsonl.gz", gzip.compress(b'{"messages": []}\n' * 9)[:-9], "cannot be read"),
        ("a.jsonl", b"[1]", "line 1: is list, expected an object with columns"),
        ("a.json", b'{"a": 1}', "is dict, expected a list of objects"),
        ("a.json", b'{"a": 1}\n{"a": 2}', "One object a line belongs into a .jsonl file"),
        ("a.parquet", b"PAR1", "cannot be read as Parquet"),
        ("a.csv", b"a,b", "is none of those that can be read. Name a folder, or"),
        ("a.jsonl", b"", "holds no conversation"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path, name, data, message):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(UserError) as error:
        read_table(Source(path=str(tmp_path / name)))
    assert message in str(error.value)
    assert name in str(error.value)


def test_a_path_that_is_not_there_stops_the_driver_before_anything_starts(tmp_path):
    recipe = validate(Recipe, {"data": {"sources": [{"path": str(tmp_path / "none")}]}}, "sft.yaml")
    with pytest.raises(UserError, match="none: is not there"):
        identity(recipe)
    assert identity(Recipe()) is None


def test_the_hub_is_read_at_its_commit(monkeypatch):
    asked = {}

    def load_dataset(name, config, **keys):
        asked.update(name=name, config=config, **keys)
        if name == "org/none":
            raise ValueError("Couldn't find any data file.\nmore")
        return [{"messages": ASKED}]

    monkeypatch.setattr("datasets.load_dataset", load_dataset)
    ((row, where),) = table.rows(table.Table(hub="org/name@" + "a" * 40, split="test"))
    assert (row, where) == ({"messages": ASKED}, "org/name, row 1")
    assert asked == {"name": "org/name", "config": None, "revision": "a" * 40, "split": "test"}
    with pytest.raises(UserError, match=r"hub: org/none@.*Couldn't find any data file\. Check name, commit"):
        list(table.rows(table.Table(hub="org/none@" + "a" * 40)))


def talks(path, count, word):
    write_jsonl(path, [{"prompt": f"{word} {i}", "completion": f"{word} home {i}"} for i in range(count)])
    return {"path": str(path), "format": "prompt_completion"}


def test_a_mixture_takes_each_source_by_its_weight_and_holds_out_whole_prompts(tmp_path):
    few, many = talks(tmp_path / "few.jsonl", 40, "fox"), talks(tmp_path / "many.jsonl", 400, "owl")
    given = {"sources": [{**few, "weight": 2.5}, {**many, "weight": 0.5}], "heldout": 0.25}
    data = validate(Data, given, "sft.yaml")
    training, heldout, counts = mixture(data, seed=0)
    times = Counter(Counter(talk.where for talk in training if "few" in talk.where).values())
    held = sum("few" in talk.where for talk in heldout)
    assert times == {2: (40 - held) - round((40 - held) / 2), 3: round((40 - held) / 2)}
    owls = [talk.where for talk in training if "many" in talk.where]
    assert len(owls) == len(set(owls)) == counts["source_2_conversations"]
    assert 0.3 < len(owls) / 400 < 0.45
    assert 60 < len(heldout) < 160
    assert not {t.messages[0]["content"] for t in training} & {t.messages[0]["content"] for t in heldout}
    assert mixture(data, seed=0)[0] == training
    with pytest.raises(UserError, match=r"data: 0 conversations to train on|and 0 held out"):
        mixture(validate(Data, {"sources": [talks(tmp_path / "one.jsonl", 1, "a")]}, "x"), seed=0)


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    return save_toy_model(tmp_path_factory.mktemp("toy") / "model")


def test_rows_of_their_own_fault_are_left_out_by_choice_and_counted(tmp_path, toy):
    tokenizer = AutoTokenizer.from_pretrained(toy)
    rows = [{"messages": ASKED}] * 7 + [
        {"messages": [ASKED[0], {"role": "assistant", "content": ""}]},
        {"messages": [ASKED[0], {"role": "tool", "content": "x"}]},
        {"messages": [ASKED[0], {"role": "assistant", "content": "x<|im_end|>"}]},
    ]
    write_jsonl(tmp_path / "rows.jsonl", rows)
    read = read_table(Source(path=str(tmp_path / "rows.jsonl")))
    kept, left_out = encode(tokenizer, read, 128, max_left_out=0.3)
    assert len(kept) == 7
    assert left_out.counts == {"empty": 1, "unknown_role": 1, "special_token": 1}
    assert "rows.jsonl, line 8: message 2 (assistant) has no text" in left_out.examples[0]["what"]
    with pytest.raises(UserError, match=r"3 of 10 conversations cannot be trained on \(empty 1, special_token 1, unk"):
        encode(tokenizer, read, 128, max_left_out=0.2)
    with pytest.raises(UserError, match="line 8: message 2"):
        encode(tokenizer, read, 128)


def test_a_window_that_cuts_whole_answers_off_is_told(tmp_path, toy):
    long = {"path": str(tmp_path / "r.jsonl"), "format": "prompt_completion"}
    write_jsonl(tmp_path / "r.jsonl", [{"prompt": "fox " * 90, "completion": "owl"}] * 3)
    with pytest.raises(UserError, match=r"3 of 3 conv.* than the 64 tokens .*\(3 of them by their prompt alone"):
        encode(AutoTokenizer.from_pretrained(toy), read_table(validate(Source, long, "x")), 64)


TRAINER = {"learning_rate": 0.02, "per_device_train_batch_size": 8, "max_steps": 20, "logging_steps": 10}


def job(out, **keys):
    out.mkdir(parents=True, exist_ok=True)
    recipe = validate(Recipe, {"trainer": TRAINER, **keys}, "sft.yaml")
    return Job(stage="sft", recipe=recipe, out=out, inputs={}, seed=0, run_name="toy")


def gpt2(folder):
    """A GPT-2 as the Hub has it: no chat template, no pad token, end of text as its only special token."""
    tokenizer = Tokenizer(
        models.BPE(vocab={c: i for i, c in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}, merges=[])
    )
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    end = "<|endoftext|>"
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=end, bos_token=end)
    torch.manual_seed(0)
    GPT2LMHeadModel(GPT2Config(vocab_size=len(fast), n_embd=32, n_layer=1, n_head=2, n_positions=128)).save_pretrained(
        folder
    )
    fast.save_pretrained(folder)
    return folder  # fmt: skip


def test_any_local_model_is_taught_to_chat_from_data_of_ones_own(tmp_path):
    base = gpt2(tmp_path / "gpt2")
    data = {"sources": [talks(tmp_path / "a.jsonl", 60, "fox")], "heldout": 0.2}
    model = {"id": str(base)}
    with pytest.raises(UserError, match=r"pad token .* must be there"):
        run(job(tmp_path / "untaught", model=model, data=data))
    taught = job(tmp_path / "out", model={**model, "chat_template": "chatml"}, data=data)
    metrics = run(taught)
    assert metrics["conversations"] == metrics["source_1_conversations"]
    assert metrics["heldout_loss"] < 4.5
    saved = AutoTokenizer.from_pretrained(tmp_path / "out" / "model")
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "out" / "model")
    assert loaded.get_input_embeddings().weight.shape[0] == len(saved)
    assert saved.pad_token == "<|pad|>"
    assert saved.chat_template
    assert (tmp_path / "out" / "trained_tokens.json").is_file()
    first = identity(taught.recipe)
    (base / "config.json").write_text((base / "config.json").read_text() + " ")
    assert identity(taught.recipe) != first, "another model in the folder is another result"


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"id": "org/name"}, "needs `revision`, the commit"),
        ({"id": "./folder", "revision": "0" * 40}, "a folder has no revision"),
        ({"id": "org/name", "revision": "main"}, "model.revision"),
    ],
)
def test_a_model_is_a_folder_or_a_pinned_commit(model, message):
    with pytest.raises(UserError) as error:
        validate(Recipe, {"model": model}, "sft.yaml")
    assert message in str(error.value)


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"holds no \.safetensors"):
        identity(validate(Recipe, {"model": {"id": str(tmp_path)}}, "sft.yaml"))


def test_dora_merges_exactly_and_4_bits_without_bitsandbytes_are_refused(tmp_path, toy, monkeypatch):
    keys = {"model": {"id": str(toy)}, "data": {"sources": [talks(tmp_path / "a.jsonl", 60, "fox")], "heldout": 0.2}}
    metrics = run(job(tmp_path / "dora", lora={"r": 4, "use_dora": True}, **keys))
    assert metrics["merge_logit_difference"] < 1e-4
    config = json.loads((tmp_path / "dora" / "adapter" / "adapter_config.json").read_text())
    assert config["use_dora"] is True
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "bitsandbytes" else real(name))
    with pytest.raises(UserError, match=r"load_in_4bit: needs the package bitsandbytes, which is not installed"):
        run(job(tmp_path / "q", lora={"load_in_4bit": True}, **keys))


def test_keys_that_came_later_leave_old_fingerprints_alone():
    lora = validate(Recipe, {"lora": {"r": 4}}, "sft.yaml").hashed()["lora"]
    assert not {"use_dora", "load_in_4bit"} & set(lora)
    assert validate(Recipe, {"lora": {"use_dora": True}}, "x").hashed()["lora"]["use_dora"] is True
    assert set(Recipe().hashed()) == {"model", "lora", "max_rows", "screen", "trainer"}


@pytest.mark.skipif(not SHARED.is_dir(), reason="the sets of real data are not on this machine")
@pytest.mark.parametrize(
    ("name", "keys", "count"),
    [
        ("alpaca_5000/alpaca_5000.json.gz", {"format": "alpaca"}, 5000),
        ("lima/lima.json.gz", {"format": "alpaca"}, 1029),
        ("oasst_zh/oaast_sft_zh.json.gz", {"format": "alpaca"}, 766),
        ("llamafactory_demo/alpaca_zh_demo.json.gz", {"format": "alpaca"}, 1000),
        ("llamafactory_demo/glaive_toolcall_en_demo.json.gz", {"format": "sharegpt"}, 300),
    ],
)
def test_real_sets_are_read(name, keys, count):
    assert len(read_table(Source(path=str(SHARED / name), **keys))) == count
