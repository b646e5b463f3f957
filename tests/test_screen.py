"""Conversations, prompts and pairs: private data replaced, evaluation items dropped, certificates of both."""

import hashlib
import json

import pytest

from pipeline.artifact import canonical, sha256
from pipeline.recipe import validate
from pipeline.screen.chats import KEPT_SAMPLES, Screening
from pipeline.screen.keys import Screen
from pipeline.stage import UserError
from tests.toy_pairs import write_jsonl

QUESTION = "A farmer has seven hens, and each of them lays three eggs a day."
ANSWER = "So there are twenty-one eggs on the table every evening."
ITEMS = {
    "sums": [
        {"id": "hens", "text": f"{QUESTION} {ANSWER}"},  # 22 words
        {"id": "mail", "text": "Send the long report about the red barn to anna@farm.example before noon on Friday."},
        {"id": "eight", "text": "How many legs do four small ducks have?"},
        {"id": "yes", "text": "Yes."},
    ],
    "tales": [{"id": "owl", "text": "who lives in the oldest of all the old oaks by the quiet lake"}],
}


@pytest.fixture
def collect(tmp_path):
    for name, rows in ITEMS.items():
        write_jsonl(tmp_path / "collect" / "evaluation" / f"{name}.jsonl", rows)
    return tmp_path / "collect"


def talk(*texts):
    """A conversation of these texts in turn."""
    return [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(texts)]


def begun(collect, **keys):
    screening = Screening(validate(Screen, keys, "sft.yaml"), collect)
    screening.begin("rows")
    return screening


@pytest.mark.parametrize(
    ("texts", "item"),
    [
        (("Tell me of hens.", "They lay three eggs a day."), None),
        ((QUESTION.upper().replace(",", " ;"), "No idea."), ("sums", "hens")),
        # Nine words of the question and nine of the answer, of which neither side alone is enough.
        (
            ("Hens: and each of them lays three eggs a day", "so there are twenty one eggs on the table"),
            ("sums", "hens"),
        ),
        (("Hi", "Hello", "First: how many legs do four small ducks have", "8"), ("sums", "eight")),
        (("Many legs do four small ducks have", "8"), None),
        # Whose address becomes a placeholder still is the item.
        (("the red barn to anna@farm.example before noon on Friday, and about that barn", "ok"), None),
        (("the long report about the red barn to anna@farm.example before noon on", "ok"), ("sums", "mail")),
        (("Do ducks swim?", "Yes."), None),  # an answer that half of all conversations hold
        (("yes!", "What do you mean?"), ("sums", "yes")),
        (("An owl", "who lives in the oldest of all the old oaks by the quiet lake"), ("tales", "owl")),
    ],
)
def test_what_is_an_evaluation_item(collect, texts, item):
    screening = begun(collect)
    kept = screening.screened(talk(*texts), "here")
    found = [(match["benchmark"], match["item"]) for match in screening.matches]
    assert (kept is None, found) == (item is not None, [item] if item else [])


@pytest.mark.parametrize(
    ("keys", "content", "expected", "counts"),
    [
        (
            {},
            "Mail anna@farm.example or ring +49 30 901820.",
            "Mail <email> or ring <phone>.",
            {"email": 1, "phone": 1},
        ),
        ({}, f"The token is hf_{'a' * 34}.", "The token is <secret>.", {"secret": 1}),
        ({}, "See https://farm.example/hens.", "See https://farm.example/hens.", {}),
        ({"privacy": ["url"]}, "a@farm.example: https://farm.example/a", "a@farm.example: <url>", {"url": 1}),
        ({"privacy": []}, "Mail anna@farm.example.", "Mail anna@farm.example.", {}),
        ({}, None, None, {}),  # for the chat gate to refuse
    ],
)
def test_private_data_become_placeholders_in_every_turn(collect, keys, content, expected, counts):
    screening = begun(collect, **keys)
    messages = [{"role": "system", "content": content, "name": "x"}, *talk("Hens?", content)]
    assert screening.screened(messages, "here") == [
        {"role": "system", "content": expected, "name": "x"},
        *talk("Hens?", expected),
    ]
    assert screening.edits == {kind: 2 * count for kind, count in counts.items()}


def test_a_certificate_says_what_was_searched_for_in_which_data(collect, tmp_path):
    screening = begun(collect, decontaminate_ngram=12)
    kept = [screening.screened(talk(f"Hen {n}?", "A hen of b@farm.example."), f"a.jsonl, line {n}") for n in range(3)]
    assert screening.screened(talk(QUESTION, ANSWER), "a.jsonl, line 4") is None
    screening.begin("held-out rows")
    screening.screened(talk("Ducks?", "Ducks."), "b.jsonl, line 1")
    assert screening.finish("sft", tmp_path) == {"edited_email": 3, "dropped_leak_sums": 1}
    sums, tales = (json.loads((tmp_path / "certificates" / f"{name}.json").read_text()) for name in ITEMS)
    lines = "".join(canonical(messages) + "\n" for messages in kept)
    assert "<email>" in lines
    assert sums == {
        "benchmark": "sums",
        "items": 4,
        "items_as_whole_lines_only": 1,
        "items_not_searchable": 0,
        "items_sha256": sha256(collect / "evaluation" / "sums.jsonl"),
        "ngram": 12,
        "documents_matched_and_dropped": 1,
        "matches": [
            {
                "document": "a.jsonl, line 4",
                "item": "hens",
                "passage": "a farmer has seven hens and each of them lays three eggs",
            }
        ],
        "stage": "sft",
        "data": [
            {"name": "rows", "rows": 4, "kept": 3, "sha256": hashlib.sha256(lines.encode()).hexdigest()},
            {
                "name": "held-out rows",
                "rows": 1,
                "kept": 1,
                "sha256": hashlib.sha256((canonical(talk("Ducks?", "Ducks.")) + "\n").encode()).hexdigest(),
            },
        ],
    }
    assert (tales["documents_matched_and_dropped"], tales["matches"], tales["data"]) == (0, [], sums["data"])


def test_a_row_that_leaks_two_benchmarks_stands_in_both_certificates_and_is_counted_once(collect, tmp_path):
    screening = begun(collect)
    (tale,) = (item["text"] for item in ITEMS["tales"][:1])
    assert screening.screened(talk(f"{QUESTION} And: {tale}", ANSWER), "line 1") is None
    screening.screened(talk("Ducks?", "Ducks."), "line 2")
    (reason,) = screening.finish("sft", tmp_path)
    assert reason.startswith("dropped_leak_")
    for name in ITEMS:
        certificate = json.loads((tmp_path / "certificates" / f"{name}.json").read_text())
        assert [match["document"] for match in certificate["matches"]] == ["line 1"], name


def test_of_what_is_dropped_a_bounded_sample_is_kept_without_private_data(collect):
    screening = begun(collect)
    for number in range(KEPT_SAMPLES + 5):
        screening.screened(talk(QUESTION, f"{ANSWER} Ask {number}@farm.example. {'More. ' * 100}"), f"line {number}")
    assert screening.dropped == {"sums": KEPT_SAMPLES + 5} and len(screening.matches) == KEPT_SAMPLES + 5
    assert len(screening.examples) == KEPT_SAMPLES
    assert screening.examples[0]["reason"] == "leak_sums" and len(screening.examples[0]["text"]) == 300
    assert "Ask <email>." in screening.examples[0]["text"]


@pytest.mark.parametrize("off", ["null", "no collect", "no benchmark", "another process"])
def test_without_a_search_there_is_no_certificate(collect, tmp_path, off, monkeypatch):
    if off == "no benchmark":
        for path in (collect / "evaluation").iterdir():
            path.unlink()
    if off == "another process":
        monkeypatch.setenv("RANK", "1")
    keys = {"decontaminate_ngram": None} if off == "null" else {}
    screening = begun(None if off == "no collect" else collect, **keys)
    kept = screening.screened(talk(QUESTION, "Ask a@farm.example."), "here")
    assert (kept is None) == (off == "another process")
    if kept is None:
        screening.screened(talk("Hens?", "Ask a@farm.example."), "here")
    assert screening.finish("sft", tmp_path)["edited_email"] == (2 if off == "another process" else 1)
    assert not (tmp_path / "certificates").exists()


def test_data_of_which_nothing_is_left_are_refused(collect, tmp_path):
    screening = begun(collect)
    screening.screened(talk(QUESTION), "here")
    with pytest.raises(
        UserError, match=r"sft: not one of 1 rows \(rows\) is left: each shares 13 words .* \(sums 1\)"
    ):
        screening.finish("sft", tmp_path)
    assert not (tmp_path / "certificates").exists()


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"privacy": ["passport"]}, "unknown passport; accepted: email, phone"),
        ({"decontaminate_ngram": 3}, "greater than or equal to 4"),
        ({"decontaminate": 13}, "Did you mean 'decontaminate_ngram'"),
    ],
)
def test_a_key_that_cannot_be_meant_is_refused(keys, message):
    with pytest.raises(UserError, match=message):
        validate(Screen, keys, "sft.yaml")


def test_a_benchmark_without_items_is_named_with_its_line(collect):
    write_jsonl(collect / "evaluation" / "bad.jsonl", [{"id": "a"}])
    with pytest.raises(UserError, match=r"bad.jsonl, line 1: no item"):
        begun(collect)
