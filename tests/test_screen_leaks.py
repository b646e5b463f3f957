"""Leaks: which texts hold items of a benchmark, in which scripts, and what a certificate claims of the search."""

import json

import pytest

from pipeline.corpus import near
from pipeline.corpus.words import ngrams
from pipeline.screen import leaks, privacy
from pipeline.words import length, normal_words

APPLES = "小明有三个苹果,他又买了五个,现在一共有几个苹果?"
LONG = "once a small brown fox went out to look for her lost red kite by the river"


@pytest.mark.parametrize(
    ("text", "item"),
    [
        (f"Yes! {LONG.upper()}, they say.", "long"),
        (f"so it was, {LONG[9:]} and then home", "long"),
        ("the owl has two old blue lamps here", "short"),
        ("Say yes!", "tiny"),
        ("She said: say yes to it", None),
        ("It began so.\nSay: yes!\nThen it went on.", "tiny"),
        ("Quiz: who discovered penicillin first? Fleming", "four"),
        ("who discovered penicillin", None),
        (f"今天我们做题。{APPLES}答案是八。", "apples"),
        (f"題目{APPLES[:14]}", "apples"),
        (f"題目{APPLES[:10]}", None),
        ("他说,你好吗", None),
        ("他说\n你好吗", "hello"),
        ("once a small brown fox went out to look for her cat", None),
        ("the owl has two old lamps", None),
    ],
)
def test_decontamination_finds_ngrams_and_whole_short_items(text, item):
    index = leaks.Index(13)
    for name, words in (
        ("long", LONG),
        ("short", "The owl has two old, blue lamps"),
        ("tiny", "say yes"),
        ("four", "Who discovered penicillin first?"),
        ("apples", APPLES),
        ("hello", "你好吗"),
        ("none", "!"),
    ):
        index.add("tales", name, words)
    assert [match.item for match in index.find(text)] == ([] if item is None else [item])


@pytest.mark.parametrize(
    ("kinds", "found"), [((), [False] * 3), (("phone",), [False] * 3), (("email", "phone"), [True, True, False])]
)
def test_items_are_searched_for_as_the_privacy_step_leaves_them(kinds, found):
    index = leaks.Index(8, kinds)
    items = (
        "Write an email to bob@example.com asking for a refund today",
        "Ask x@a.example of it",
        "Write: bob@example.com!",  # of which nothing is left that would be a sign of it
    )
    for number, item in enumerate(items):
        index.add("mails", str(number), item)
    clean = [privacy.scrub(f"First. {item} And so on.", ("email",))[0] for item in items]
    assert all("<email>" in text for text in clean)
    assert [bool(index.find(text)) for text in clean] == found
    assert all(index.find(item) for item in items)


def test_a_certificate_says_of_how_many_items_it_claims_less(tmp_path):
    texts = ("say yes", "a b c", "!", "ask a@b.example", "who asked a@b.example of it", "你好吗")
    path = tmp_path / "b.jsonl"
    path.write_text("".join(json.dumps({"id": "x", "text": text}) + "\n" for text in texts))
    assert leaks.how(path, ()) == {"items_as_whole_lines_only": 2, "items_not_searchable": 1}
    assert leaks.how(path, ("email",)) == {"items_as_whole_lines_only": 2, "items_not_searchable": 2}


def test_a_text_that_leaks_several_benchmarks_is_told_of_each():
    index = leaks.Index(8)
    song = "ten green bottles standing on the old garden wall"
    for benchmark, item, text in (
        ("songs", "s1", song), ("songs", "s2", song), ("rhymes", "r1", song), ("riddles", "q", "say yes"),
        ("riddles", "lamps", "the owl has two old blue lamps"), ("tiny", "t", "say yes"),
    ):  # fmt: skip
        index.add(benchmark, item, text)
    found = index.find(f"{song}, and the owl has two old, blue lamps")
    assert [(match.benchmark, match.item) for match in found] == [
        ("songs", "s1"),
        ("rhymes", "r1"),
        ("riddles", "lamps"),
    ]
    assert found[0].passage == "ten green bottles standing on the old garden"
    assert [(match.benchmark, match.item) for match in index.find("Say yes!")] == [("riddles", "q"), ("tiny", "t")]


def test_normal_words_ignore_case_and_marks():
    assert normal_words("The FOX's kite, lost!") == ("the", "fox's", "kite", "lost")
    assert normal_words("L'Été’s DÉJÀ-vu") == ("l'été’s", "déjà", "vu")  # noqa: RUF001
    assert normal_words("e\u0301te\u0301") == normal_words("ÉTÉ")


def test_letters_of_scripts_without_spaces_are_words():
    assert normal_words("GPT用户,3个!") == ("gpt", "用", "户", "3", "个")
    assert normal_words("かな カナ ไป") == ("か", "な", "カ", "ナ", "ไ", "ป")
    assert normal_words("한국어 문장") == ("한국어", "문장")
    assert length(normal_words("GPT用户,3个!")) == 3.5
    # A copy of which one letter in thirty differs is a near copy; as two clauses it would have shared nothing.
    text = APPLES * 3
    grams = [ngrams(normal_words(one), near.SHINGLE) for one in (text, text.replace("现", "那", 1))]
    assert len(grams[0] & grams[1]) / len(grams[0] | grams[1]) > 0.7
