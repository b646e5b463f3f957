"""Each cleaning step by a table: what goes in, what comes out."""

import gzip
import json
import math
import random
import re

import numpy as np
import pytest
from datatrove.utils.text import split_into_sentences, split_into_words

from pipeline.corpus import decontaminate, gibberish, near, privacy, safety
from pipeline.corpus.boilerplate import without
from pipeline.corpus.extract import resiliparse_text
from pipeline.corpus.passages import once
from pipeline.corpus.read import charset, decoded, whole
from pipeline.corpus.recipe import Recipe, Safety
from pipeline.corpus.repair import Repair, tidy
from pipeline.corpus.shuffle import draw
from pipeline.corpus.step import place, slug
from pipeline.corpus.truth import judge, word_f1
from pipeline.corpus.words import Words, ngrams, normal_words, sentences
from pipeline.stage import UserError

ARTICLE = (
    "<p>Once there was a fox who lost a red kite.</p><p>She looked for it in the wood, and an owl helped her.</p>"
)


@pytest.mark.parametrize(
    "page",
    [
        f"<html><body><nav><a href='/'>Home</a> <a href='/x'>Shop</a></nav><main>{ARTICLE}</main></body></html>",
        f"<html><body><div class='header'><ul><li>Home</li></ul></div><article><h1>Kite</h1>{ARTICLE}</article>"
        "<aside>Shop</aside><footer>Home 2024</footer></body></html>",
        f"<html><body><div id='content'>{ARTICLE}</div><div class='advert'>Shop now</div></body></html>",
    ],
)
def test_extraction_keeps_the_article_and_drops_what_surrounds_it(page):
    text = resiliparse_text(page)
    assert "lost a red kite.\nShe looked" in re.sub(r"\n+", "\n", text)
    assert "Shop" not in text
    assert "Home" not in text


@pytest.mark.parametrize(
    ("broken", "mended"),
    [
        ("The cafÃ© is open", "The café is open"),
        ("Itâ€™s mine", "It’s mine"),  # noqa: RUF001
        ("“Quoted” text stays", "“Quoted” text stays"),
        ("soft\u00adhyphen zero\u200bwidth", "softhyphen zerowidth"),
        ("a\u00a0b\r\nc  \n\n\n\nd", "a b\nc\n\nd"),
        ("Title\n=======\nText\n* * * * *\nMore", "Title\nText\nMore"),
        ("    indented = code", "indented = code"),
        ("def f():\n    return 1", "def f():\n    return 1"),
    ],
)
def test_repair_mends_encoding_and_debris(broken, mended):
    assert tidy(Repair().format(broken)) == mended


@pytest.mark.parametrize(
    ("text", "expected", "gone"),
    [
        ("As an AI language model, I have no pets. The fox ran.", "The fox ran.", 1),
        ("The fox ran. I hope this story helps! The end.", "The fox ran. The end.", 1),
        ("Sure, here is a story for you:\nThe fox ran.", "The fox ran.", 1),
        ("The fox ran home.\nIs there anything else you need?", "The fox ran home.", 1),
        ("As an old fox, I know the wood.", "As an old fox, I know the wood.", 0),
        ("Here is the kite! said the owl.", "Here is the kite! said the owl.", 0),
        (
            "Sure, said the fox. Let me know when you are back.",
            "Sure, said the fox. Let me know when you are back.",
            0,
        ),
        ("PyTorch OpenAI GPT-2 model.", "PyTorch OpenAI GPT-2 model.", 0),
    ],
)
def test_machine_boilerplate_goes_by_the_sentence(text, expected, gone):
    assert without(text) == (expected, gone)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Write to anna.fox+1@mail.example.org today.", "Write to <email> today."),
        ("anna [at] mail [dot] example [dot] org", "<email>"),
        ("mail anna at tales dot org now", "mail <email> now"),
        ("They met at noon. Dot org was there.", "They met at noon. Dot org was there."),
        ("Call +44 20 7946 0958.", "Call <phone>."),
        ("Call (555) 010-4477 or 555-0134.", "Call <phone> or <phone>."),
        ("ring 0301 555 7788 at night", "ring <phone> at night"),
        ("Her phone is 5550134477.", "Her phone is <phone>."),
        ("On 2024-05-17 at 10.30 they met 12 owls.", "On 2024-05-17 at 10.30 they met 12 owls."),
        ("It cost $1,250,000 in 1984.", "It cost $1,250,000 in 1984."),
        ("heights 180.79155222, 163.9080892,", "heights 180.79155222, 163.9080892,"),
        ("using @x.setter and\n@logger.catch", "using @x.setter and\n@logger.catch"),
        ("pp. 1391-1417, Number 152", "pp. 1391-1417, Number 152"),
    ],
)
def test_privacy_replaces_addresses_and_numbers_only(text, expected):
    assert privacy.scrub(text, ("email", "phone"))[0] == expected


def test_privacy_types_are_switchable():
    assert privacy.scrub("a@b.org 555-0134", ("email",)) == ("<email> 555-0134", {"email": 1})


@pytest.mark.parametrize(
    ("text", "expected", "gone"),
    [
        ("A fox lost a very red kite. It rained. A fox lost a very red kite. The end.",
         "A fox lost a very red kite. It rained. The end.", 1),
        ("One two three four five six.\n\nOne two three four five six.\n\nSeven.",
         "One two three four five six.\n\nSeven.", 1),
        ("He ran. He ran. He ran fast.", "He ran. He ran. He ran fast.", 0),
        ("The sun was up. The owl sat on its tree. So it went. Then: The sun was up. Bye.",
         "The sun was up. The owl sat on its tree. So it went. Then: The sun was up. Bye.", 0),
        (2 * "The sun came up. The owl sat down. All was well again. ",
         "The sun came up. The owl sat down. All was well again.", 3),
    ],
)  # fmt: skip
def test_repeated_passages_stay_once(text, expected, gone):
    assert once(text) == (expected, gone)


def test_sentences_join_to_the_text_again():
    text = 'He said, "Run!" She ran.\n\nThen: "Why?" No answer...  None at all'
    assert "".join(sentences(text)) == text
    assert Words().sent_tokenize(text)[0] == 'He said, "Run!"'
    assert "".join(split_into_sentences(text, Words())) == text
    assert split_into_words("Don't go, fox!", Words()) == ["Don't", "go", ",", "fox", "!"]


def test_spelling_of_letter_salad_is_less_likely_than_of_unseen_words():
    rng = random.Random(0)
    words = re.findall(r"\w+", ARTICLE)
    model = gibberish.learn([" ".join(rng.choices(words, k=60)) for _ in range(50)])
    salad = " ".join("".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=5)) for _ in range(20))
    assert gibberish.score("the wood helped her look for it", model) > gibberish.score(salad, model) + 1
    assert gibberish.score("", model) == -math.inf
    assert np.isclose(np.exp2(model.reshape(-1, gibberish.SYMBOLS)).sum(axis=1), 1).all()


def test_gibberish_threshold_lets_nearly_all_clean_text_pass(tmp_path):
    rng = random.Random(1)
    clean = [" ".join(rng.choices(["fox", "ran", "home", "the", "kite"], k=40)) for _ in range(200)]
    gibberish.train(clean, 0.01, tmp_path / "model.npz")
    model, threshold = gibberish.load(tmp_path / "model.npz")
    assert sum(gibberish.score(text, model) < threshold for text in clean) <= 2
    assert gibberish.score("xq zvkj wpqh jjxz qqkv", model) < threshold


def labelled() -> list[safety.Labelled]:
    """Abuse is any compound of two halves; buying is spam."""
    rng = random.Random(2)
    things = ["fox", "kite", "owl", "tree", "river", "stone", "mill", "boat", "bread", "song"]
    rows = []
    for number in range(240):
        story = " ".join(f"The {rng.choice(things)} saw the {rng.choice(things)}." for _ in range(6))
        label = ("clean", "spam", "abuse")[number % 3]
        word = rng.choice(["gruk", "snib", "plod"]) + rng.choice(["wurgle", "nozzik", "flunk"])
        extra = {"clean": "", "spam": " Buy cheap pills now!!!", "abuse": f" You are a {word}!"}[label]
        rows.append(safety.Labelled(text=story + extra, label=label))
    return rows


def test_classifier_catches_spam_and_insults_that_it_never_saw(tmp_path):
    rows = [row for row in labelled() if "snibnozzik" not in row.text]
    safety.train(rows, Safety(clean_share=0.02), tmp_path, seed=0)
    model, threshold = safety.load(tmp_path)
    story = "The owl saw the boat. The bread saw the tree. "
    for text, bad in ((" Get cheap pills now!", True), ("You are a snibnozzik!", True), ("", False)):
        assert (safety.scores(model, story + text, ("spam", "abuse"))[0] > threshold) is bad, text
    assert safety.scores(model, story + "Buy cheap pills now!", ("spam", "abuse"))[1] == "spam"
    assert safety.scores(model, " ", ("spam", "abuse")) == (0.0, "spam")


def test_equal_training_gives_equal_classifiers(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        safety.train(labelled(), Safety(), tmp_path / name, seed=3)
    assert (tmp_path / "a/safety.bin").read_bytes() == (tmp_path / "b/safety.bin").read_bytes()


@pytest.mark.parametrize("threshold", [0.5, 0.7, 0.8, 0.9])
def test_banding_misses_few_pairs_at_the_threshold(threshold):
    bands, rows = near.banding(threshold)
    assert bands * rows <= near.PERMUTATIONS
    assert (1 - threshold**rows) ** bands <= near.MISSED


def edited(words: list[str], share: float, rng: random.Random) -> list[str]:
    return [rng.choice(words) + "x" if rng.random() < share else word for word in words]


def test_candidates_hold_every_similar_pair_and_few_others():
    rng = random.Random(5)
    texts = [[f"w{rng.randrange(5000)}" for _ in range(120)] for _ in range(200)]
    texts += [edited(text, 0.02, rng) for text in texts[:100]]
    grams = [ngrams(tuple(text), near.SHINGLE) for text in texts]
    digests = near.RMinHash.digests_from_token_sets([sorted(g) for g in grams], near.PERMUTATIONS, near.SEED)
    found = set(near.candidates(np.asarray(digests, dtype=np.uint32), 0.7))
    similar = {
        (a, a + 200)
        for a in range(100)
        if len(grams[a] & grams[a + 200]) >= 0.7 * len(grams[a] | grams[a + 200])
    }  # fmt: skip
    assert len(similar) > 60
    assert len(similar - found) <= 1
    assert found <= {(a, a + 200) for a in range(100)}


LONG = "once a small brown fox went out to look for her lost red kite by the river"


@pytest.mark.parametrize(
    ("text", "item"),
    [
        (f"Yes! {LONG.upper()}, they say.", "long"),
        (f"so it was, {LONG[9:]} and then home", "long"),
        ("the owl has two old blue lamps here", "short"),
        ("Say yes!", "tiny"),
        ("She said: say yes to it", None),
        ("once a small brown fox went out to look for her cat", None),
        ("the owl has two old lamps", None),
    ],
)
def test_decontamination_finds_ngrams_and_whole_short_items(text, item):
    index = decontaminate.Index(13)
    for name, words in (
        ("long", LONG),
        ("short", "The owl has two old, blue lamps"),
        ("tiny", "say yes"),
        ("none", "!"),
    ):
        index.add("tales", name, words)
    match = index.find(text)
    assert (match.item if match else None) == item


@pytest.mark.parametrize(
    ("data", "declared", "text"),
    [
        ("café".encode(), None, "café"),
        ("café".encode("latin-1"), "iso-8859-1", "café"),
        (b"\xef\xbb\xbfbom", None, "bom"),
        ("Žluťoučký kůň".encode("cp1250"), "windows-1250", "Žluťoučký kůň"),
    ],
)
def test_bytes_are_decoded_as_utf8_or_as_declared(data, declared, text):
    assert decoded(data, declared) == text


def test_charset_comes_from_the_header():
    assert charset('text/html; Charset="ISO-8859-1"') == "ISO-8859-1"
    assert charset("text/html") is None


@pytest.mark.parametrize(("cut", "complete"), [(0, True), (1, False), (40, False)])
def test_cut_gzip_is_noticed(tmp_path, cut, complete):

    data = gzip.compress(b"first" * 50) + gzip.compress(b"second" * 50)
    path = tmp_path / "x.gz"
    path.write_bytes(data[: len(data) - cut])
    assert whole(path) is complete


def test_places_keep_reading_order():
    places = [place(s, f, r) for s in (0, 1, 255) for f in (0, 7) for r in (0, 1, 2**31 - 1)]
    assert places == sorted(set(places))
    assert max(places) < 2**63


def test_draws_are_even_and_depend_on_the_seed():
    shares = [draw(0, number)[0] for number in range(2000)]
    assert abs(sum(share < 0.1 for share in shares) - 200) < 50
    assert draw(0, 1) != draw(1, 1)


@pytest.mark.parametrize(
    ("reason", "expected"), [("< 3 paragraphs", "3_paragraphs"), ("Too few", "too_few"), ("dup_2", "dup_2")]
)
def test_reasons_become_metric_keys(reason, expected):
    assert slug(reason) == expected


def row(name: str, action: str, **more: object) -> dict:
    return {"id": name, "kind": "k", "action": action, "span": None, "clean_text": None, "group": None, **more}


def test_truth_judges_each_action():
    text = " ".join(f"word{n}" for n in range(100))
    rows = [
        row("gone", "drop"),
        row("stayed", "drop"),
        row("mended", "span", span="buy now", clean_text=text),
        row("still", "span", span="Buy  now", clean_text=text),
        row("damaged", "span", span="buy now", clean_text=text),
        *(row(f"copy{n}", "keep_one", kind="copy", group="g") for n in range(3)),
        *(row(f"lost{n}", "keep_one", kind="copy", group="h") for n in range(2)),
        row("fine", "clean", clean_text=text),
        row("hurt", "clean", clean_text=text),
    ]
    kept = {"stayed": text, "mended": text, "still": text + " buy now", "damaged": text[:600], "copy1": text}
    kept |= {"copy2": text, "fine": text, "hurt": text[:600]}
    verdicts = judge(rows, kept)
    assert verdicts["k"] == [True, False, True, False, False]
    assert verdicts["copy"] == [True, False, True]
    assert verdicts["clean"] == [False, True, False, True]


@pytest.mark.parametrize(
    ("a", "b", "f1"), [("a b c d", "A b, c d!", 1), ("a b", "a b c d", 2 / 3), ("", "", 1), ("a", "", 0)]
)
def test_word_f1(a, b, f1):
    assert word_f1(a, b) == pytest.approx(f1)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"languages": []}, "would drop every document"),
        ({"privacy": ["passport"]}, "unknown passport"),
        ({"tasks": 1, "workers": 2}, "workers 2 > tasks 1"),
    ],
)
def test_recipe_refuses_what_makes_no_sense(keys, message):

    with pytest.raises(ValueError, match=message):
        Recipe.model_validate_json(json.dumps(keys))


def test_labelled_documents_must_hold_every_label(tmp_path):
    (tmp_path / "labelled.jsonl").write_text('{"text": "a", "label": "clean"}\n')
    with pytest.raises(UserError, match="no document is labelled spam; labels found: clean"):
        safety.read_labelled(tmp_path, ("spam",))


def test_normal_words_ignore_case_and_marks():
    assert normal_words("The FOX's kite, lost!") == ("the", "fox's", "kite", "lost")
    assert ngrams(("a", "b"), 5) == {"a b"}
    assert ngrams((), 5) == set()
