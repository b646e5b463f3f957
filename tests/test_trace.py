"""make trace: every artifact of a run that holds a document, or why none does."""

import json

import numpy as np
import pytest

from pipeline import trace
from pipeline.artifact import manifest, write_json
from pipeline.collect.raw import write_jsonl
from pipeline.evaluate.exam import digest
from pipeline.reached import reached, steps
from pipeline.rows import Order
from pipeline.sft.data import read, sample
from pipeline.store import StoreWriter, open_split
from pipeline.trace_rows import chosen
from tests.toy_run import TEXTS, save_toy_run, seal


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return save_toy_run(tmp_path_factory.mktemp("trace") / "runs")


def told(run, document: str, capsys) -> str:
    status = trace.main(["--recipe", "toy", "--runs", str(run.parent), "--document", document])
    printed = capsys.readouterr()
    assert status == (1 if "no artifact" in printed.out else 0), printed.err
    return printed.out


def test_a_training_document_is_followed_from_the_raw_file_to_all_that_was_made_of_it(run, capsys):
    # One step of one row of 8 tokens: it holds 8 of this document's 9.
    text = told(run, "owl-1", capsys)
    for line in (
        "collect     raw/feed/00000.jsonl, record 0 (licence CC0-1.0)",
        "corpus      train/00000.parquet, row 0 (train)",
        "store/train.bin, document 0 of 2: tokens 0 to 8",
        "pretrain    was trained on 8 of the 9 tokens of it, in 1 row, each once",
        *(f"{stage:<11} was made from the model that was trained on it" for stage in ("sft", "preferences", "reward")),
        "dpo         was made from the model that was trained on it",
    ):
        assert line in text


def test_a_document_that_training_never_reached_is_not_said_to_have_been_trained_on(run, capsys):
    text = told(run, "fox.txt", capsys)
    assert "raw/books/fox.txt, record 0 (licence My own terms)" in text and "document 1 of 2" in text
    assert "pretrain    never reached it: its training, of 1 steps, ended before any row" in text
    assert "was trained on" not in text and "sft" not in text


@pytest.mark.parametrize("packing", ["documents", "stream"])
@pytest.mark.parametrize("more", [{}, {"short_first": 9}])
def test_what_was_reached_is_what_the_steps_read(tmp_path, packing, more):
    rng = np.random.default_rng(0)
    lengths = [int(n) for n in rng.integers(3, 30, 40)]  # some longer than a row
    ids = np.arange(1, sum(lengths) + 1)  # every token another one, so a target tells its document
    with StoreWriter(tmp_path / "store", vocabulary_size=len(ids) + 1, end_id=0) as writer:
        for part in np.split(ids, np.cumsum(lengths)[:-1]):
            writer.add("train", part.tolist(), 1)
    split = open_split(tmp_path / "store", "train")
    recipe = {"context": 16, "packing": packing, "batch_size": 3, **more}
    for last in (4, 40):  # a part of an epoch, and more than two
        log = [{"step": step} for step in range(1, last + 1)]
        log.insert(2, {"step": 2, "left_out": "its loss is a spike", "first_row": 6, "last_row": 8})
        (tmp_path / "log.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in log))
        order = Order(split, seed=7, batch=3, **{key: recipe[key] for key in ("context", "packing", *more)})
        read = np.concatenate([order[step][1].ravel() for step in range(last) if step != 2])
        sealed = {"recipe": recipe, "seeds": {"run": 7}}
        found = [reached(tmp_path, sealed, split, number) for number in range(len(lengths))]
        counts = np.bincount(read[read > 0], minlength=len(ids) + 1)
        for one, own in zip(found, np.split(counts[1:], np.cumsum(lengths)[:-1]), strict=True):
            # The end token is 0 like every other document's: it is left out of what is compared.
            assert int((own > 0).sum()) in (one.tokens, one.tokens - 1)
            assert one.length == len(own) + 1 and one.steps == last
            assert not one.tokens or max(own, default=0) in (0, one.most)
        if last == 4:
            assert any(not one.tokens for one in found) and any(one.tokens for one in found)
            assert any("stood in steps that were left out" in one.words for one in found)
        else:
            assert all(one.tokens == one.length and one.most >= 2 for one in found)


def test_the_best_evaluation_ends_what_counts():
    log = [{"step": 10, "heldout_bits_per_byte": 0.5}, {"step": 20, "heldout_bits_per_byte": 0.7}, {"step": 25}]
    assert steps(log, {"keep_best": True}) == 10 and steps(log, {"keep_best": False}) == 25


def test_a_held_out_document_trained_nothing(run, capsys):
    text = told(run, "owl-2", capsys)
    assert "raw/feed/00000.jsonl, record 1" in text and "heldout/00000.parquet, row 0 (heldout)" in text
    assert "pretrain    was never trained on it" in text and "evaluate" in text
    assert "sft" not in text


TALK = {"messages": [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "an owl"}]}
ASKED = {"prompt": [{"role": "user", "content": "tell of an owl"}]}


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    """A run with rows of every kind, whose SFT took two of its three conversations and dropped none."""
    run = save_toy_run(tmp_path_factory.mktemp("rows") / "runs")
    collect, evaluate = run / "collect", run / "evaluate"
    write_jsonl(collect / "conversations.jsonl", [{"id": f"talk-{n}", **TALK} for n in range(3)])
    write_jsonl(collect / "heldout_conversations.jsonl", [{"id": "quiz-0", **TALK}])
    write_jsonl(
        collect / "prompts" / "evaluate.jsonl",
        [{"id": "ask-0", **ASKED}, {"id": "ask-1", "prompt": [{"content": "x"}]}],
    )
    write_jsonl(collect / "prompts" / "preferences.jsonl", [{"id": "p3", **ASKED}, {"id": "p60", **ASKED}])
    write_jsonl(collect / "evaluation" / "toy.jsonl", [{"id": "toy-1", "text": "a b c"}])
    write_json(run / "corpus" / "certificates" / "toy.json", {"benchmark": "toy", "matches": [{"item": "toy-1"}]})
    scores = {"items": {"prompts": [digest("tell of an owl")], "documents": [digest(TEXTS["owl-2"])]}, "models": {}}
    write_json(evaluate / "scores.json", scores)
    recipe = {"model": None, "lora": None, "data": None, "max_rows": 2, "trainer": {"num_train_epochs": 3}}
    sealed = manifest(run / "sft")
    write_json(run / "sft" / "manifest.json", {**sealed, "recipe": recipe, "metrics": {"conversations": 2}})
    for stage, pairs in (("reward", 48), ("dpo", 9)):
        sealed = manifest(run / stage)
        trainer = {"trainer": {"num_train_epochs": 1}}
        write_json(run / stage / "manifest.json", {**sealed, "recipe": trainer, "metrics": {"pairs": pairs}})
    return run


@pytest.mark.parametrize(
    ("name", "lines", "never"),
    [
        ("quiz-0", ["heldout_conversations.jsonl, line 1", "sft         was never trained on it"], "made from"),
        ("ask-0", ["prompts/evaluate.jsonl, line 1", "evaluate    measured every model on it: 1 prompts"], "trained"),
        ("ask-1", ["prompts/evaluate.jsonl, line 2", "evaluate    did not measure on it"], "trained"),
        (
            "p3",
            [
                "prompts/preferences.jsonl, line 1",
                "preferences train.jsonl, line 4",
                "reward      was trained on them, once",
                "dpo         was trained on 9 pairs made of the 48 in that file; which of them is not kept",
            ],
            "never",
        ),
        ("p3/0-1", ["preferences train.jsonl, line 4", "reward      was trained on them"], "collect"),
        ("p60", ["preferences heldout.jsonl, line 13", "dpo         was never trained on them"], "was trained on"),
        ("toy-1", ["evaluation/toy.jsonl, line 1", "corpus      certificates/toy.json: searched for it"], "trained"),
        ("owl-2", ["evaluate    measured every model on it: 1 documents were drawn"], "was trained on"),
    ],
)
def test_rows_that_are_no_documents_are_found_with_what_was_done_with_them(full, capsys, name, lines, never):
    text = told(full, name, capsys)
    for line in lines:
        assert line in text
    assert never not in text


def test_a_conversation_was_trained_on_where_the_recipe_and_the_seed_say_so(full, capsys):
    taken = chosen(full / "collect" / "conversations.jsonl", 2, "0/sft/rows")
    table = read(full / "collect" / "conversations.jsonl")
    assert sorted(taken) == sorted(int(talk.where.split()[-1]) for talk in sample(table, 2, "0/sft/rows"))
    for number in (1, 2, 3):
        text = told(full, f"talk-{number - 1}", capsys)
        assert ("sft         was trained on it, 3 times" in text) == (number in taken)
        assert ("preferences was made from the model" in text) == (number in taken)
        assert ("was not trained on it: it is not among the 2 that max_rows took" in text) == (number not in taken)
    write_jsonl(
        full / "sft" / "dropped.jsonl", [{"reason": "too_long", "what": f"{table[max(taken) - 1].where}: 999 tokens"}]
    )
    assert "sft         was not trained on it: too_long" in told(full, f"talk-{max(taken) - 1}", capsys)
    (full / "sft" / "dropped.jsonl").unlink()


def test_a_dropped_document_has_its_reason(run, capsys):
    text = told(run, "spam-1", capsys)
    assert "raw/feed/00000.jsonl, record 2" in text and "corpus      dropped.jsonl: spam" in text
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
