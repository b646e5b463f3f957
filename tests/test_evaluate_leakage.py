"""Leakage: longest runs against a simple search, and the exam with a model beside held-out text."""

import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.evaluate import leakage
from pipeline.evaluate.leakage import OPENING, SEED_RUN, Leakage, longest_runs, openings
from pipeline.evaluate.models import candidates
from pipeline.evaluate.recipe import Recipe
from pipeline.stage import UserError
from tests.toy_pairs import save_toy_model


def simply(text: str, documents: list[str]) -> int:
    """By the definition: the longest stretch of the text's words that stands in a document, from all stretches."""
    a, best = text.split(), 0
    for start in range(len(a)):
        for end in range(start + SEED_RUN, len(a) + 1):
            if any(f" {' '.join(a[start:end])} " in f" {document} " for document in documents):
                best = max(best, end - start)
    return best


def test_the_longest_run_is_the_definitions():
    rng = random.Random(0)
    for _ in range(60):
        texts = [" ".join(rng.choices("abc", k=rng.randrange(0, 14))) for _ in range(3)]
        documents = [" ".join(rng.choices("abc", k=rng.randrange(0, 20))) for _ in range(3)]
        assert longest_runs(texts, iter(documents)) == [simply(text, documents) for text in texts]
    assert longest_runs(["The OWL, sat still today."], iter(["so the owl sat still today"])) == [5]


def test_models_go_on_from_training_documents_beside_held_out_text(tmp_path):
    (tmp_path / "train").mkdir()
    story = "the owl and the fox went home to the lake " * 4
    pq.write_table(pa.table({"text": [story, "too short", story + "happily"]}), tmp_path / "train" / "0.parquet")
    save_toy_model(tmp_path / "sft" / "model")
    (candidate,) = candidates({"sft": tmp_path / "sft"})
    held = ["never seen words stand here " * 6, story]
    exam = Leakage(tmp_path, held, Recipe(answers=None, leakage=2, max_new_tokens=8, temperature=0.0), 0)
    assert exam.measure(candidate, candidate.load()) == {}
    exam.said["sft"] = ["nothing of it at all and again nothing", "we went home to the lake the owl said"]
    found = exam.afterwards()
    assert found["sft"]["verbatim_words"].values == [0.0, 7.0]
    assert found["heldout"]["verbatim_words"].values[0] == 0.0 < found["heldout"]["verbatim_words"].values[1]
    assert len(exam.items_by_kind["openings"]) == 2


def test_openings_are_those_of_a_sample_of_the_whole_list_and_the_corpus_is_streamed(tmp_path, monkeypatch):
    (tmp_path / "train").mkdir()
    texts = [f"{number} " + "word " * (number % 40) for number in range(200)]
    for part in range(2):
        pq.write_table(
            pa.table({"text": texts[100 * part : 100 * part + 100]}), tmp_path / "train" / f"{part}.parquet"
        )
    long = [text for text in texts if len(text.split()) > 2 * OPENING]
    expected = [" ".join(text.split()[:OPENING]) for text in random.Random("3/leakage").sample(long, 20)]
    held = most = 0

    class Text(str):
        def __del__(self) -> None:
            nonlocal held
            held -= 1

    def counted(corpus):
        nonlocal held, most
        for text in texts:
            held, most = held + 1, max(most, held + 1)
            yield Text(text)

    assert openings(tmp_path, 20, 3) == expected
    monkeypatch.setattr(leakage, "train_texts", counted)
    assert openings(tmp_path, 20, 3) == expected
    assert most < 5, "documents at once"


def test_leakage_needs_a_corpus_with_documents(tmp_path):
    with pytest.raises(UserError, match="the run has none"):
        Leakage(None, [], Recipe(leakage=2), 0)
    with pytest.raises(UserError, match="needs documents of more than 24 words"):
        Leakage(tmp_path, ["short"], Recipe(leakage=2), 0)
