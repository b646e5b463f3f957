"""Toxicity of continuations: by terms of one's own, by the list that ships, by a classifier of labelled text."""

import numpy as np
import pytest
from pydantic import ValidationError

from pipeline import coarse_words
from pipeline.evaluate import prompt_sets
from pipeline.evaluate.models import candidates
from pipeline.evaluate.recipe import Recipe, Safety
from pipeline.evaluate.toxicity import by_classifier, by_list, continuations
from pipeline.stage import UserError
from tests.toy_pairs import save_toy_model, write_jsonl

NOUNS = ("fox", "owl", "hare", "mole", "toad", "wren")


def labelled(folder, clean=True):
    """Sentences of two kinds that share all words but the verbs."""
    rows = [{"text": f"The {a} greeted the {b}.", "label": "clean"} for a in NOUNS for b in NOUNS]
    rows += [{"text": f"The {a} cursed the {b}, you filth.", "label": "abuse"} for a in NOUNS for b in NOUNS]
    write_jsonl(folder / "labelled.jsonl", rows if clean else rows[-1:])
    return str(folder / "labelled.jsonl")


def test_terms_are_found_as_whole_words_in_any_case(tmp_path):
    (tmp_path / "words.txt").write_text("# a list\nass\nrotten egg\nf**k\n")
    listed = by_list(tmp_path / "words.txt")
    found = [listed(text) for text in ("An ASS.", "a class", "Rotten egg!", "oh f**k", "fine")]
    assert found == [True, False, True, True, False]
    (tmp_path / "words.txt").write_text("# nothing\n")
    with pytest.raises(UserError, match="holds no term"):
        by_list(tmp_path / "words.txt")


def test_the_list_that_ships_knows_coarse_words_and_their_plurals():
    word = sorted(word for word in coarse_words.words() if word.isalpha() and word + "s" not in coarse_words.words())[
        0
    ]
    assert coarse_words.coarse(f"Such {word.upper()}s!") and not coarse_words.coarse("The owl found the lake.")


def test_a_classifier_of_labelled_text_tells_toxic_from_clean(tmp_path):
    look = by_classifier(labelled(tmp_path), tmp_path, seed=0)
    assert look("The wren cursed the toad, you filth.") > 0.9 > 0.1 > look("The wren greeted the toad.")
    drowned = (
        "The fox greeted the owl. " * 8 + "The mole cursed the hare, you filth. " + "The owl greeted the fox. " * 8
    )
    assert look(drowned) > 0.5, "one bad sentence does not drown among good ones"


def test_every_text_is_gone_on_with_several_times_and_the_worst_counts_too(tmp_path, monkeypatch):
    save_toy_model(tmp_path / "sft" / "model", seed=1)
    (candidate,) = candidates({"sft": tmp_path / "sft"})
    write_jsonl(tmp_path / "openings.jsonl", [{"id": i, "prompt": f"tell of the fox {i}"} for i in range(2)])
    (tmp_path / "words.txt").write_text("filth\n")
    keys = Safety(
        continuations=str(tmp_path / "openings.jsonl"), words=str(tmp_path / "words.txt"),
        labelled=labelled(tmp_path), continuations_per_prompt=3,
    )  # fmt: skip
    exam = continuations(Recipe(answers=None, safety=keys, num_samples=5), keys, 0, tmp_path)
    assert candidate.tokenizer.decode(exam.asked(candidate, exam.rows[0])) == "<|endoftext|>tell of the fox 0"
    bad, good = "The owl cursed the fox, you filth.", "The owl greeted the fox."
    said = [good, good, bad, good, good, good]  # both texts, three times: the first one's second continuation is bad
    asked = []
    monkeypatch.setattr(prompt_sets, "say", lambda candidate, model, ids, *told: asked.extend(ids) or said)
    found = exam.measure(candidate, None)
    assert len(asked) == 6 and asked[0] == asked[2] == asked[4] != asked[1]
    assert found["toxic"].values == [1 / 3, 0.0] and not found["toxic"].share
    assert found["toxic_any"].values == [1.0, 0.0] and found["toxic_any"].share
    assert found["toxicity_max"].values[0] > 0.9 > 0.5 > found["toxicity"].values[0] > found["toxicity"].values[1]
    assert np.allclose(found["continuation_words"].values, [(5 + 7 + 5) / 3, 5.0])
    assert set(found) == set(exam.titles)
    assert [sample["answers"]["sft"] for sample in exam.results()["continuations_samples"]] == [good, good]


def test_one_continuation_a_text_needs_no_list_and_has_no_highest(tmp_path):
    write_jsonl(tmp_path / "openings.jsonl", [{"id": 0, "prompt": "the fox"}])
    keys = Safety(continuations=str(tmp_path / "openings.jsonl"))
    assert set(continuations(Recipe(answers=None, safety=keys), keys, 0, tmp_path).titles) == {
        "toxic",
        "continuation_words",
    }


def test_labels_that_tell_nothing_apart_are_refused(tmp_path):
    with pytest.raises(UserError, match="no document is labelled clean"):
        by_classifier(labelled(tmp_path, clean=False), tmp_path, 0)
    write_jsonl(tmp_path / "clean.jsonl", [{"text": "fine", "label": "clean"}])
    with pytest.raises(UserError, match="every text is labelled clean"):
        by_classifier(str(tmp_path / "clean.jsonl"), tmp_path, 0)
    with pytest.raises(UserError, match=r"evaluate\.yaml: safety\.labelled needs labelled text"):
        by_classifier(str(tmp_path / "none.jsonl"), tmp_path, 0)
    with pytest.raises(ValidationError, match="temperature 0 gives every continuation the same words"):
        Recipe(answers=None, temperature=0.0, safety=Safety(continuations="x", continuations_per_prompt=2))
