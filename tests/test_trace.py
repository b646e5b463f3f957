"""make trace: every artifact of a run that holds a document, or why none does."""

import json

import pytest

from pipeline import trace
from pipeline.artifact import manifest, write_json
from tests.toy_run import save_toy_run, seal


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return save_toy_run(tmp_path_factory.mktemp("trace") / "runs")


def told(run, document: str, capsys) -> str:
    status = trace.main(["--recipe", "toy", "--runs", str(run.parent), "--document", document])
    printed = capsys.readouterr()
    assert status == (1 if "no artifact" in printed.out else 0), printed.err
    return printed.out


def test_a_training_document_is_followed_from_the_raw_file_to_the_models(run, capsys):
    text = told(run, "fox.txt", capsys)
    offsets = [2, 3]
    for line in (
        "collect    raw/books/fox.txt, record 0 (licence My own terms)",
        "corpus     train/00000.parquet, row 1 (train)",
        "store/train.bin, document 1 of 2: tokens ",
        "pretrain   was trained on it",
        "dpo        was made from the model that was trained on it",
    ):
        assert line in text, offsets


def test_a_held_out_document_trained_nothing(run, capsys):
    text = told(run, "owl-2", capsys)
    assert "raw/feed/00000.jsonl, record 1" in text and "heldout/00000.parquet, row 0 (heldout)" in text
    assert "pretrain   was never trained on it" in text and "evaluate" in text
    assert "sft" not in text


def test_a_dropped_document_has_its_reason(run, capsys):
    text = told(run, "spam-1", capsys)
    assert "raw/feed/00000.jsonl, record 2" in text and "corpus     dropped.jsonl: spam" in text
    assert "tokenizer" not in text


def test_an_unknown_document_is_said_to_be_nowhere(run, capsys):
    assert "nothing: no artifact of" in told(run, "nothing", capsys)


def test_a_published_artifact_is_named(run, capsys):
    path = run / "corpus" / "manifest.json"
    sealed = manifest(run / "corpus")
    write_json(path, {**sealed, "published": [f"datasets/org/text@{'a' * 40}"]})
    assert f"published as datasets/org/text@{'a' * 40}" in told(run, "fox.txt", capsys)
    write_json(path, sealed)


def test_tracing_leaves_no_file_behind(run, capsys):
    before = sorted(run.rglob("*"))
    told(run, "fox.txt", capsys)
    assert sorted(run.rglob("*")) == before


def test_a_model_of_another_corpus_is_left_out(tmp_path, capsys):
    run = save_toy_run(tmp_path / "runs")
    (run / "tokenizer" / "fertility.json").write_text(json.dumps({}))
    sealed = manifest(run / "corpus")
    write_json(run / "corpus" / "manifest.json", {**sealed, "fingerprint": "f" * 64})
    assert trace.main(["--recipe", "toy", "--runs", str(run.parent), "--document", "owl-1"]) == 0
    printed = capsys.readouterr()
    assert "pretrain" not in printed.out and "tokenizer" not in printed.out
    assert "tokenizer: was made from other inputs than the run has now" in printed.err


@pytest.mark.parametrize(
    ("document", "recipe", "words"), [("", "toy", "DOC= is empty"), ("x", "no", "Run `make corpus")]
)
def test_a_mistake_is_one_message(run, capsys, document, recipe, words):
    assert trace.main(["--recipe", recipe, "--runs", str(run.parent), "--document", document]) == 2
    assert words in capsys.readouterr().err


def test_a_pulled_corpus_does_not_know_why_it_dropped(tmp_path, capsys):
    run = save_toy_run(tmp_path / "runs")
    (run / "corpus" / "dropped.jsonl").unlink()
    seal(run / "corpus", {"collect": run / "collect"}, {"documents_kept": 3})
    assert "what it dropped is not published" in told(run, "spam-1", capsys)
