"""Every kind of tokenizer: what comes back, what is lost and counted, what a recipe may say, equal runs."""

import json
import math
import os
import random
import subprocess
import sys
from collections import Counter

import pytest
from transformers import AutoTokenizer

from pipeline import chat
from pipeline.recipe import validate
from pipeline.stage import UserError
from pipeline.tokenizer import kinds, unigram
from pipeline.tokenizer.recipe import Recipe
from pipeline.tokenizer.train import check_plain_text, plain, wrap
from tests.test_tokenizer import SPELT_OUT, WORDS, stories

KINDS = ("bpe", "unigram", "wordpiece", "byte", "char")
EXACT = ("bpe", "unigram", "wordpiece", "byte")
SIZES = {"bpe": 400, "unigram": 400, "wordpiece": 640, "byte": None, "char": 60}
TEXTS = [*stories(0, 300), SPELT_OUT, "In 1984 and 20262027 it cost 12345."]
HARD = [
    "", " ", "\n\n \t x", "naïve ﬁ 東京 👩‍👩‍👧 e\u0301", "\x00\x01\ufffd\U0010ffff", SPELT_OUT,
    "## ####a \u2040x\u2040 \u2581y <0x41>", "x" * 777, "日" * 150, "  two  spaces ",
]  # fmt: skip


def recipe(kind, **keys):
    return Recipe(kind=kind, vocab_size=SIZES[kind], **keys)


def tokenizer(kind, texts=TEXTS, **keys):
    return wrap(kinds.train(recipe(kind, **keys), iter([texts[:100], texts[100:]])))


@pytest.fixture(scope="module", params=KINDS)
def made(request):
    return request.param, tokenizer(request.param)


@pytest.mark.parametrize("kind", EXACT)
def test_any_unicode_text_comes_back_exactly(kind):
    found = tokenizer(kind)
    rng = random.Random(0)
    points = [p for p in (rng.randrange(0x110000) for _ in range(4000)) if not 0xD800 <= p <= 0xDFFF]
    for text in [*HARD, *("".join(map(chr, points[i : i + 40])) for i in range(0, len(points), 40))]:
        ids = chat.encode_text(found, text)
        assert found.decode(ids, skip_special_tokens=False) == text
        assert not set(ids) & set(range(len(chat.SPECIAL_TOKENS)))


def test_characters_come_back_and_others_are_one_unknown_token_each():
    found = tokenizer("char")
    text = "the owl was happy"
    assert found.decode(chat.encode_text(found, text)) == text
    assert found.convert_ids_to_tokens(chat.encode_text(found, "a東京b")) == ["a", "<|unk|>", "<|unk|>", "b"]
    letters = found.convert_ids_to_tokens(list(range(5, len(found))))
    assert letters == sorted(letters) and all(len(c) == 1 for c in letters)


def test_the_rarest_characters_are_left_out_of_a_small_vocabulary():
    found = kinds.train(Recipe(kind="char", vocab_size=7), iter([["aaabbbc"]]))
    assert set(found.get_vocab()) == {*chat.SPECIAL_TOKENS, kinds.UNKNOWN, "a", "b"}


def test_a_special_token_spelt_out_is_text_in_every_kind(made):
    _, found = made
    special = {found.convert_tokens_to_ids(token) for token in chat.SPECIAL_TOKENS}
    assert special == {0, 1, 2, 3}
    for token in chat.SPECIAL_TOKENS:
        for text in (token, f"x{token}y", f"{token}{token} {token}"):
            assert not special & set(chat.encode_text(found, text))
            assert not special & set(plain(found).encode(text).ids), "as the token store encodes it"
            assert found.convert_tokens_to_ids(token) in found.encode(text), "where special tokens are meant"


def test_a_tokenizer_whose_pieces_hold_a_special_token_is_refused():
    merged = kinds.train(recipe("byte"), iter([TEXTS]))
    spec = json.loads(merged.to_str())
    for left, right in (("<", "|"), ("<|", "p"), ("<|p", "|"), ("<|p|", ">")):
        spec["model"]["merges"].append([left, right])
        spec["model"]["vocab"].setdefault(left + right, max(spec["model"]["vocab"].values()) + 1)
    found = wrap(type(merged).from_str(json.dumps(spec)))
    check_plain_text(found)
    found.add_special_tokens({"pad_token": "<|p|>"})
    with pytest.raises(UserError, match=r"'<\|p\|>' becomes the special token"):
        check_plain_text(found)


def test_a_chat_is_rendered_with_every_kind(made):
    _, found = made
    messages = [{"role": "user", "content": "the fox"}, {"role": "assistant", "content": f"a red {SPELT_OUT}"}]
    ids, mask = chat.render_conversation(found, messages)
    assert ids.count(1) == 2 and ids.count(2) == 2 and ids[-1] == 2 and mask[-1] == 1


def test_every_kind_loads_where_the_pipeline_is_not_installed(tmp_path):
    text, expected = "the owl was happy, 3 times", {}
    for kind in KINDS:
        found = tokenizer(kind)
        found.save_pretrained(tmp_path / kind)
        expected[kind] = chat.encode_text(found, text)
    code = (
        "import sys, json\nfrom transformers import AutoTokenizer\n"
        "found = {k: AutoTokenizer.from_pretrained(k) for k in sys.argv[2:]}\n"
        "ids = {k: t.encode(sys.argv[1], add_special_tokens=False) for k, t in found.items()}\n"
        "assert all(t.eos_token_id == 0 and t.pad_token_id == 3 and t.chat_template for t in found.values())\n"
        "assert all(t.decode(ids[k]) == sys.argv[1] for k, t in found.items() if k != 'char')\n"
        "assert not [m for m in sys.modules if m.split('.')[0] == 'pipeline']\nprint(json.dumps(ids))"
    )
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", code, text, *KINDS], cwd=tmp_path, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == expected


@pytest.mark.parametrize("kind", KINDS)
def test_two_runs_give_equal_tokenizers_whatever_the_batches(kind):
    one = kinds.train(recipe(kind), iter([TEXTS]))
    other = kinds.train(recipe(kind), iter([[text] for text in TEXTS]))
    assert one.to_str() == other.to_str()


@pytest.mark.parametrize("kind", ["bpe", "unigram", "wordpiece"])
@pytest.mark.parametrize(
    ("digits", "longest"), [("together", 6), ("single", 1), ("threes", 3)], ids=["together", "single", "threes"]
)
def test_digits_are_split_as_the_recipe_says(kind, digits, longest):
    found = tokenizer(kind, [f"item 123456 {word}" for word in WORDS * 20], digits=digits)
    pieces = [piece.strip() for piece in map(found.decode, ([i] for i in chat.encode_text(found, "item 123456 fox")))]
    assert max(len(piece) for piece in pieces if piece.isdigit()) == longest
    text = "at 3.14159, not 0042"
    assert found.decode(chat.encode_text(found, text)) == text


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("keys", "text", "back"),
    [
        ({"normalization": "nfc"}, "cafe\u0301", "café"),
        ({"normalization": "nfkc"}, "ﬁ \uff12", "fi 2"),
        ({"lowercase": True}, "The OWL", "the owl"),
    ],
)
def test_text_is_normalised_as_the_recipe_says(kind, keys, text, back):
    found = tokenizer(kind, [*TEXTS, "café fi 2"], **keys)
    assert found.decode(chat.encode_text(found, text)) == back


def test_pieces_cover_words_better_than_bytes_do():
    text = " ".join(stories(9, 20))
    lengths = {kind: len(chat.encode_text(tokenizer(kind), text)) for kind in KINDS}
    assert lengths["byte"] == lengths["char"] == len(text)
    assert all(lengths[kind] < len(text) / 3 for kind in ("bpe", "unigram", "wordpiece"))


def test_wordpiece_takes_the_longest_piece_first_and_no_word_is_too_long():
    found = tokenizer("wordpiece")
    assert found.unk_token is None
    ids = chat.encode_text(found, " becauseé" + "é" * 500)
    assert found.convert_ids_to_tokens(ids)[:3] == ["Ġbecause", "⁀Ã", "⁀©"]


def test_unigram_cuts_a_text_the_likeliest_way():
    """By hand: the log probability of the chosen cut is not below that of any other of a short word."""
    counts = Counter({"abab": 10, "ab": 30, "aab": 5, "b": 7})
    pieces = dict(unigram.learn(counts, ["a", "b"], 3))
    assert set(pieces) == {"a", "b", "ab"}, "the piece that saves most"
    # ab 55 times (two in each abab), a five, b seven.
    total = 55 + 5 + 7
    assert pieces == pytest.approx({p: math.log(n / total) for p, n in zip(("ab", "a", "b"), (55, 5, 7), strict=True)})


def test_unigram_keeps_every_byte_and_the_size_asked_for():
    counts = unigram.count_words([TEXTS], kinds.words(recipe("unigram")), None)
    pieces = unigram.learn(counts, kinds.alphabet(), 300)
    assert 290 <= len(pieces) <= 300 and set(kinds.alphabet()) <= {piece for piece, _ in pieces}
    assert counts[" owl"] == sum(text.count(" owl") for text in TEXTS)


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"kind": "byte", "vocab_size": 300}, "always has 260 tokens"),
        ({"kind": "wordpiece", "vocab_size": 320}, "wants 576 or more"),
        ({"vocab_size": 100}, "vocab_size = 100 is too small: kind: bpe wants 320"),
        ({"kind": "char", "digits": "single"}, "takes every digit by itself anyway"),
        ({"kind": "sentencepiece"}, "'bpe', 'unigram', 'wordpiece', 'byte' or 'char'"),
        ({"extend": {"tokenizer": "there", "new_tokens": 9}, "vocab_size": 900}, "'vocab_size' is the extended"),
        ({"extend": {"tokenizer": "there", "new_tokens": 9}, "digits": "single"}, "'digits' is the extended"),
        ({"compare": ["org/name@main"]}, "compare.0"),
        ({"compare": ["here", "here"]}, "stands twice"),
        ({"vocabsize": 900}, "Did you mean 'vocab_size'"),
    ],
)
def test_a_recipe_that_contradicts_itself_is_refused(keys, words):
    with pytest.raises(UserError, match=r"tokenizer\.yaml") as error:
        validate(Recipe, keys, "tokenizer.yaml")
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("keys", "size"),
    [({}, 2048), ({"vocab_size": 400}, 400), ({"kind": "byte"}, 260), ({"kind": "char", "vocab_size": 70}, 70)],
)
def test_the_recipe_knows_the_size_of_its_vocabulary(keys, size):
    assert Recipe(**keys).vocabulary == size


def test_saved_tokenizer_has_no_path_of_this_machine(made, tmp_path):
    kind, found = made
    found.save_pretrained(tmp_path)
    assert AutoTokenizer.from_pretrained(tmp_path).get_vocab() == found.get_vocab(), kind
    assert all(str(tmp_path) not in path.read_text() for path in tmp_path.iterdir())
