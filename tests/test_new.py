"""`make new`: a recipe sized to a folder and the machine; mistakes are one message and nothing is written."""

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline import new
from pipeline.chain import CHAIN
from pipeline.pretrain.size import intermediate_size
from pipeline.recipe import load
from pipeline.stage import UserError

TEXT = "The fox went down to the lake to look for the kite that it had lost. " * 40


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    """Twelve text files, a page, and a JSONL file of five rows."""
    folder = tmp_path / "my docs"
    (folder / "deep").mkdir(parents=True)
    for number in range(12):
        (folder / "deep" / f"{number}.txt").write_text(f"{number} {TEXT}", encoding="utf-8")
    (folder / "page.html").write_text(f"<html><body>{TEXT}</body></html>", encoding="utf-8")
    (folder / "rows.jsonl").write_text("".join(json.dumps({"text": TEXT}) + "\n" for _ in range(5)) + "\n")
    (folder / "picture.png").write_bytes(b"\x89PNG" * 1000)
    return folder


@pytest.fixture
def recipes(tmp_path: Path) -> Path:
    folder = tmp_path / "recipes"
    folder.mkdir()
    return folder


def test_the_recipe_loads_and_stops_after_the_base_model(docs, recipes, capsys):
    assert new.main(["--name", "mine", "--data", str(docs)], recipes) == 0
    said = capsys.readouterr().out
    assert "make all RECIPE=mine" in said and "conversations.jsonl" in said and "18 documents" in said
    recipe = load(str(recipes / "mine"), CHAIN)
    assert list(recipe.own) == ["collect", "corpus", "tokenizer", "pretrain", "evaluate", "report"]
    assert recipe.own["collect"].files.folder == str(docs)
    assert recipe.own["evaluate"].answers is None
    assert recipe.own["tokenizer"].vocab_size == 512
    assert recipe.own["pretrain"].num_steps >= 50
    assert recipe.own["corpus"].heldout_share == 0.3
    readme = (recipes / "mine" / "README.md").read_text(encoding="utf-8")
    assert "make all RECIPE=mine" in readme
    assert sorted(path.name for path in recipes.iterdir()) == ["mine"]


def test_packed_documents_are_counted_roughly(tmp_path):
    folder = tmp_path / "packed"
    folder.mkdir()
    rows = "".join(json.dumps({"text": f"{n} {TEXT}"}) + "\n" for n in range(50)).encode()
    (folder / "rows.jsonl.gz").write_bytes(gzip.compress(rows))
    (folder / "cut.jsonl.gz").write_bytes(gzip.compress(rows)[:-8])
    (folder / "damaged.parquet").write_bytes(b"x" * 1000)
    pq.write_table(pa.table({"text": [f"{n} {TEXT}" for n in range(30)]}), folder / "rows.parquet")
    (folder / "crawl.warc").write_bytes(b"x" * 600_000)
    (folder / "crawl.warc.wat.gz").write_bytes(b"x" * 600_000)
    (folder / "one.pdf").write_bytes(b"x" * 100_000)
    (folder / "code.py").write_bytes(b"x" * 1000)
    documents, text_bytes = new.measure(str(folder))
    assert 50 + 30 + 10 + 2 <= documents <= 50 + 50 + 30 + 10 + 2 and 75_000 <= text_bytes <= 120_000


def test_a_recipe_is_never_overwritten(docs, recipes, capsys):
    (recipes / "mine").mkdir()
    (recipes / "mine" / "collect.yaml").write_text("mine")
    assert new.main(["--name", "mine", "--data", str(docs)], recipes) == 2
    assert "this recipe exists, and is left as it is" in capsys.readouterr().err
    assert [path.name for path in (recipes / "mine").iterdir()] == ["collect.yaml"]


def test_tilde_stays_and_a_relative_folder_becomes_absolute(docs, recipes, monkeypatch):
    monkeypatch.setenv("HOME", str(docs.parent))
    assert new.main(["--name", "home", "--data", "~/my docs"], recipes) == 0
    assert load(str(recipes / "home"), CHAIN).own["collect"].files.folder == "~/my docs"
    monkeypatch.chdir(docs.parent)
    assert new.main(["--name", "2026", "--data", "my docs"], recipes) == 0
    assert load(str(recipes / "2026"), CHAIN).own["collect"].files.folder == str(docs)


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("mine", "nowhere", "DATA=nowhere: there is no folder"),
        ("mine", "", "give the folder that holds your documents"),
        ("mine", "empty", "no file there ends in .txt, .md"),
        ("mine", "few", "3 documents with 0 kB of text are too few"),
        ("../mine", "my docs", "NAME=../mine: a recipe's name has letters"),
        ("", "my docs", "NAME=: a recipe's name has letters"),
    ],
)
def test_a_mistake_is_one_message_and_nothing_is_written(docs, recipes, monkeypatch, capsys, name, data, message):
    monkeypatch.chdir(docs.parent)
    (docs.parent / "empty").mkdir()
    (docs.parent / "few").mkdir()
    for number in range(3):
        (docs.parent / "few" / f"{number}.txt").write_text("a")
    assert new.main(["--name", name, "--data", data], recipes) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ") and err.count("\n") == 1 and message in err
    assert list(recipes.iterdir()) == []


def test_outside_of_a_source_tree_is_refused(docs, tmp_path):
    with pytest.raises(UserError, match="Run this in the source tree"):
        new.write("mine", str(docs), tmp_path / "no recipes")


def test_an_unwritable_place_is_status_1(docs, recipes, capsys):
    (recipes / ".mine.draft").write_text("a file where the draft would be")
    assert new.main(["--name", "mine", "--data", str(docs)], recipes) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_more_text_and_more_cores_give_larger_models():
    cores = new.FLOPS_A_CORE
    sizes = [new.fit(100, text_bytes, 2 * cores) for text_bytes in (10**5, 10**6, 10**7, 10**8, 10**9)]
    assert [size.vocabulary for size in sizes] == sorted(size.vocabulary for size in sizes)
    assert sizes[0].parameters < sizes[1].parameters < sizes[2].parameters
    # Two cores bound what more text can buy.
    assert all(size.seconds <= new.BUDGET_SECONDS * 1.01 for size in sizes)
    assert new.fit(100, 10**9, 64 * cores).parameters > sizes[-1].parameters


@pytest.mark.parametrize("text_bytes", [2 * 10**4, 10**6, 3 * 10**7, 10**10])
@pytest.mark.parametrize("flops", [4e10, 3e13])
def test_every_size_is_a_run_that_can_be_made(text_bytes, flops):
    size = new.fit(50, text_bytes, flops)
    assert size.tokens >= size.batch_size * size.shape.context
    assert size.tokens <= max(new.MAX_EPOCHS * size.text_tokens, size.batch_size * size.shape.context)
    assert size.shape.hidden % size.shape.heads == 0
    steps = size.tokens / (size.batch_size * size.shape.context)
    assert 5 <= steps <= 6000 or text_bytes == 10**10


def test_parameters_are_counted_as_transformers_counts_them():
    from transformers import LlamaConfig, LlamaForCausalLM

    for shape in new.SHAPES[:3]:
        config = LlamaConfig(
            vocab_size=512,
            hidden_size=shape.hidden,
            intermediate_size=intermediate_size(shape.hidden),
            num_hidden_layers=shape.layers,
            num_attention_heads=shape.heads,
            num_key_value_heads=shape.heads,
            tie_word_embeddings=True,
        )
        counted = LlamaForCausalLM(config).num_parameters()
        assert shape.parameters(512) == pytest.approx(counted, rel=0.01)
