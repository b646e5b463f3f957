"""Instructions that code checks, refusals, toxic continuations: pure functions by table, and the sets as exams."""

import pytest
from pydantic import ValidationError

from pipeline.evaluate.checks import KINDS, follows, num_sentences, validate
from pipeline.evaluate.models import candidates
from pipeline.evaluate.prompt_sets import instructions, read, refuses, safety
from pipeline.evaluate.recipe import Recipe, Safety
from pipeline.stage import UserError
from tests.toy_pairs import save_toy_model, write_jsonl

TABLE = [
    ("min_words", 3, "one two three", "one two"),
    ("max_words", 2, "it's well-known", "one two three"),
    ("min_sentences", 2, "Yes. No!", "Yes and no."),
    ("max_sentences", 1, "It costs 3.50 now.", "Yes. No"),
    ("paragraphs", 2, "a\n\nb", "a\nb"),
    ("bullets", 2, "- a\n* b\ntext", "- a"),
    ("contains", "red fox", "The Red fox!", "a red, quick fox"),
    ("excludes", "fox", "foxes run", "a fox runs"),
    ("starts_with", "Dear", " dear owl", "My dear"),
    ("ends_with", "the end.", "And so: The end.", "the end. Or not"),
    ("lowercase", True, "all small, 3", "Not small"),
    ("uppercase", True, "LOUD 3", "Loud"),
    ("json", True, '```json\n{"a": 1}\n```', "{a: 1}"),
    ("matches", r"\d{4}", "in 1999", "in 99"),
]


@pytest.mark.parametrize(("kind", "value", "good", "bad"), TABLE, ids=[row[0] for row in TABLE])
def test_a_check_tells_the_good_answer_from_the_bad(kind, value, good, bad):
    check = {"kind": kind, "value": value}
    validate(check, "here")
    assert follows(good, check) and not follows(bad, check) and not follows("  ", check)


def test_every_kind_is_in_the_table():
    assert {row[0] for row in TABLE} == set(KINDS)
    assert [num_sentences(text) for text in ("", "a", "a.", "a. b", "Wait... what?!")] == [0, 1, 1, 2, 2]


@pytest.mark.parametrize(
    ("check", "message"),
    [
        ("max_words", r'a check is \{"kind", "value"\}'),
        ({"kind": "longer", "value": 3}, "no check is called 'longer'. There are: min_words"),
        ({"kind": "max_words", "value": "3"}, "max_words wants a value of type int, found '3'"),
        ({"kind": "json", "value": 1}, "json wants a value of type bool"),
        ({"kind": "matches", "value": "("}, "no regular expression"),
    ],
)
def test_a_check_that_is_none_is_named_with_its_place(check, message):
    with pytest.raises(UserError, match="set.jsonl, line 1: .*" + message):
        validate(check, "set.jsonl, line 1")


@pytest.mark.parametrize(
    ("text", "refused"),
    [
        ("I'm sorry, but I can't help with that.", True),
        ("I cannot assist you.", True),
        ("As an AI language model, I am unable to do so.", True),
        ("That would be against my guidelines.", True),
        ("Sure! First, take the pan.", False),
        ("The owl said: sorry is a small word.", False),
        ("You cannot boil it longer than a minute.", False),
        ("", False),
        ("Take it. " * 40 + "I cannot say more.", False),
    ],
)
def test_refusals_are_known_by_their_opening(text, refused):
    assert refuses(text) == refused


def test_prompt_sets_are_answered_and_scored(tmp_path):
    save_toy_model(tmp_path / "sft" / "model", seed=1)
    (candidate,) = candidates({"sft": tmp_path / "sft"})
    rows = [{"id": i, "prompt": f"tell of the fox {i}"} for i in range(3)]
    write_jsonl(tmp_path / "plain.jsonl", rows)
    limits = [{"kind": "max_words", "value": 500}, {"kind": "min_words", "value": 400}]
    write_jsonl(tmp_path / "checked.jsonl", [{**row, "checks": limits[: 1 + row["id"] % 2]} for row in rows])
    plain = str(tmp_path / "plain.jsonl")
    keys = Safety(harmful=plain, harmless=plain)
    recipe = Recipe(
        answers=None, max_new_tokens=12, instructions=str(tmp_path / "checked.jsonl"), safety=keys, num_samples=1
    )
    model = candidate.load()
    exam = instructions(recipe, 0)
    found = exam.measure(candidate, model)
    assert found["instructions_followed"].values == [1.0, 0.0, 1.0] and found["instructions_followed"].share
    assert found["checks_followed"].values == [1.0, 0.5, 1.0]
    assert len(exam.results()["instructions_samples"]) == 1 and len(exam.items_by_kind["instructions"]) == 3
    sets = safety(recipe, keys, 0)
    metrics = {metric: m for one in sets for metric, m in one.measure(candidate, model).items()}
    assert list(metrics) == ["refused", "over_refused"] and metrics["refused"].values == [0.0] * 3
    long = [{"id": "long", "prompt": "the fox " * 100}]
    write_jsonl(tmp_path / "plain.jsonl", long)
    (one,) = safety(recipe, Safety(harmful=plain), 0)
    with pytest.raises(UserError, match=r"the prompt long has .* whose context leaves 116"):
        one.fits(candidate)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", r"set\.jsonl, line 2: no prompt"),
        ('{"id": 1}', r"line 2: no prompt"),
        ('{"id": 1, "prompt": ""}', r"line 2: no prompt"),
        ('{"id": 1, "prompt": "x"}', r"line 2: an instruction needs checks"),
    ],
)
def test_a_bad_line_of_a_prompt_set_is_named(tmp_path, line, message):
    path = tmp_path / "set.jsonl"
    path.write_text('{"id": 0, "prompt": "x", "checks": [{"kind": "json", "value": true}]}\n' + line + "\n")
    with pytest.raises(UserError, match=message):
        read(str(path), "instructions")
    path.write_text("\n")
    with pytest.raises(UserError, match="holds no prompt"):
        read(str(path), "instructions")
    with pytest.raises(UserError, match="there is no file"):
        read(str(tmp_path / "none"), "instructions")


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({}, "names no prompt set"),
        ({"words": "x"}, "words would be ignored without continuations"),
        (
            {"harmful": "x", "labelled": "y", "continuations_per_prompt": 2},
            "labelled, continuations_per_prompt would be",
        ),
    ],
)
def test_a_safety_section_without_effect_is_refused(keys, message):
    with pytest.raises(ValidationError, match=message):
        Safety(**keys)
