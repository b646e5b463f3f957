"""The steps that replace, compare and classify: private text, copies, quality by example, coarse words, languages."""

import json
import random

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datatrove.data import Document
from datatrove.pipeline.filters import GopherQualityFilter, GopherRepetitionFilter

from pipeline import coarse_words, labelled
from pipeline.corpus import across, card, classifier, extract, gopher, language, near, outside
from pipeline.corpus.recipe import Classifier, Dedup, Recipe
from pipeline.corpus.words import Words
from pipeline.screen import privacy
from pipeline.secrets import KINDS
from pipeline.stage import UserError

ALL = tuple(privacy.KINDS)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("pay 4111 1111 1111 1111 now", "pay <card> now"),
        ("pay 4111 1111 1111 1112 now", "pay 4111 1111 1111 1112 now"),  # no Luhn digit
        ("since 1700000000000 milliseconds", "since 1700000000000 milliseconds"),
        ("to GB82 WEST 1234 5698 7654 32 and on", "to <iban> and on"),
        ("to gb82west12345698765432.", "to <iban>."),
        ("to GB83 WEST 1234 5698 7654 32", "to GB83 WEST 1234 5698 7654 32"),  # not 1 modulo 97
        ("from 192.0.2.146 to 2001:db8::8a2e:370:7334", "from <ip> to <ip>"),
        ("on 127.0.0.1 and ::1, a[::2]", "on 127.0.0.1 and ::1, a[::2]"),
        ("see section 7.8.2.1 of version 10.15.70.3", "see section 7.8.2.1 of version 10.15.70.3"),
        ("the server 8.8.8.8 answers", "the server <ip> answers"),
        ("at 12:30:45:10 o'clock", "at 12:30:45:10 o'clock"),
        ("SSN 078-05-1121 and 666-12-3456", "SSN <national_id> and 666-12-3456"),
        ("social security 219 09 9998", "social security <national_id>"),
        ("rows 219 09 9998", "rows 219 09 9998"),
        ("NINO AB 12 34 56 C", "NINO <national_id>"),
        ("CPF 390.533.447-05", "CPF <national_id>"),
        ("CPF 390.533.447-06", "CPF 390.533.447-06"),
        ("her PESEL is 44051401359", "her PESEL is <national_id>"),
        ("part 44051401359", "part 44051401359"),
        ("Aadhaar 2341 2341 2346, UID 999941057058", "Aadhaar <national_id>, UID <national_id>"),
        ("rows 2341 2341 2346", "rows 2341 2341 2346"),
        ("codice fiscale rssmra85t10a562s", "codice fiscale <national_id>"),
        ("key AKIA" + "ABCDEFGH12345678", "key <secret>"),
        ("export HF=hf_" + "a1B2" * 9, "export HF=<secret>"),
        ("see https://example.org/a?b=1, and www.example.com.", "see <url>, and <url>."),
        ("office 9761 9808, 97 111421 fax", "office <phone>, <phone> fax"),
        ("916.972.1680x22008 or +1-203-305-2492", "<phone> or <phone>"),
        ("You can call 33 93 31", "You can call <phone>"),
        ("call a taxi to 03 2657 Lane", "call a taxi to 03 2657 Lane"),
        ("a@b.org, 4111111111111111", "<email>, <card>"),
        ("call 1-800-555-0199 or 1 (800) 555-0199", "call <phone> or <phone>"),
        ("call 212-5550 or (11) 91234-5678", "call <phone> or <phone>"),
        ("500-1000 people, pages 150-1200", "500-1000 people, pages 150-1200"),
        ("it reached 500-1000 people", "it reached 500-1000 people"),
        ("so called from 1987-1991", "so called from 1987-1991"),
        ("(1939) 1234567", "(1939) 1234567"),
        ("Phys. Rev. Lett. (1998) 80 1234", "Phys. Rev. Lett. (1998) 80 1234"),
        ("The answer: there were 1150-150 hens", "The answer: there were 1150-150 hens"),
        ("1234567 x 89", "1234567 x 89"),
        ("(most recent call last):\nError: 8814275", "(most recent call last):\nError: 8814275"),
    ],
)
def test_private_text_of_every_kind_goes_and_what_looks_like_it_stays(text, expected):
    assert privacy.scrub(text, ALL)[0] == expected


def test_every_kind_of_key_can_be_found():
    made = {
        "a Hugging Face token": "hf_" + "x" * 34,
        "a GitHub token": "ghp_" + "x" * 36,
        "a GitLab token": "glpat-" + "x" * 20,
        "an AWS access key": "ASIA" + "X" * 16,
        "a Google key": "AIza" + "x" * 35,
        "an API key": "sk-proj-" + "x" * 40,
        "a Stripe key": "sk_live_" + "x" * 24,
        "a Slack token": "xoxb-" + "1" * 24,
        "a SendGrid key": "SG." + "x" * 22 + "." + "x" * 43,
        "a PyPI token": "pypi-" + "x" * 70,
        "an npm token": "npm_" + "x" * 36,
        "an AWS secret key": "x" * 40,
        "a Telegram token": "123456789:AA" + "x" * 33,
        "a JSON web token": "eyJ" + "x" * 20 + ".eyJ" + "x" * 20 + "." + "x" * 30,
        "a password in an address": "hunter2",
        "a private key": "-----BEGIN RSA PRIVATE KEY-----",
    }
    beside = {
        "an AWS secret key": ("aws_secret_access_key = ", ""),
        "a password in an address": ("db://me:", "@a.org"),
    }
    assert set(made) == set(KINDS)
    for kind, key in made.items():
        before, after = beside.get(kind, ("", ""))
        found = privacy.scrub(f"it is {before}{key}{after} here", ("secret",))[0]
        assert found == f"it is {before}<secret>{after} here", kind


BODY = "\n".join(["MIIEpAIBAAKCAQEAx1y2z3Ab/+"] * 4 + ["abcdefghijkl=="])
BLOCK = f"-----BEGIN RSA PRIVATE KEY-----\n{BODY}\n-----END RSA PRIVATE KEY-----"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"A {BLOCK} B", "A <secret> B"),
        (f"A {BLOCK} B".replace("\n", "\\n"), "A <secret> B"),
        (f"A {BLOCK[: BLOCK.index('abc')]}B, and so on", "A <secret>\nB, and so on"),
        ("begins with -----BEGIN PRIVATE KEY----- and ends", "begins with <secret> and ends"),
        (f"sk-ant-api03-{'aB3-' * 12}z", "<secret>"),
        (f"sk-proj-{'aB3-' * 12}z", "<secret>"),
        (
            "sk-proj-your-api-key-goes-here-please-replace-me-now",
            "sk-proj-your-api-key-goes-here-please-replace-me-now",
        ),
        (f"xapp-1-A0123-456-{'ab1' * 8} ya29.{'aB3' * 10}", "<secret> <secret>"),
        (f"SecretAccessKey: {'x' * 30}EXAMPLEKEY", f"SecretAccessKey: {'x' * 30}EXAMPLEKEY"),
        ("db://scott:tiger@a.org, db://me:password@a.org", "db://scott:tiger@a.org, db://me:password@a.org"),
        ("http://a.org:8080/x@y, http://a.org/b:c", "http://a.org:8080/x@y, http://a.org/b:c"),
    ],
)
def test_keys_go_whole_and_examples_of_them_stay(text, expected):
    assert privacy.scrub(text, ("secret",))[0] == expected


def test_a_secret_inside_an_address_of_a_page_is_replaced_once():
    text = "see https://me:hunter22@tales.org/a now"
    assert privacy.scrub(text, ALL)[0] == "see <url>:<secret>@tales.org/a now"


@pytest.mark.parametrize(
    "text",
    [f"-----BEGIN PRIVATE KEY-----{' ' * 500_000}", "http://a:secret/" * 50_000],
    ids=["blanks", "one line of addresses"],
)
def test_hostile_texts_are_searched_in_one_pass(text):
    """Read anew from every place, either would take hours; this way it is a second."""
    assert len(privacy.find(text, ("secret",))) == text.count("PRIVATE KEY")


def test_a_fragment_of_the_page_is_not_taken_for_it(monkeypatch):
    article = " ".join(f"word{number}" for number in range(200))
    page = f"<html><body><nav>{'menu ' * 100}</nav><article><p>{article}</p></article></body></html>"
    for second, expected in (("word1 word2", article), ("better " * 150, "better " * 150)):
        monkeypatch.setattr(extract, "trafilatura_text", lambda html, second=second: second)
        assert extract.either_text(page) == expected


def test_gopher_verdicts_are_datatroves():
    rng = random.Random(0)
    words = ["the", "of", "and", "fox", "kite", "went", "a", "12", "--", "#", "...", "owl,", "tree.", "x"]
    texts = ["", "one", "- a\n- b\n- c", "word " * 60]
    for number in range(300):
        drawn = rng.choices(words[: rng.randint(2, len(words))], k=rng.randint(1, 120))
        texts.append(rng.choice([" ", "\n", "\n\n"]).join(drawn) if number % 3 else " ".join(drawn) * 2)
    ours = gopher.Repetition(language=Words()), gopher.Quality(language=Words(), min_doc_words=5)
    theirs = GopherRepetitionFilter(language=Words()), GopherQualityFilter(language=Words(), min_doc_words=5)
    verdicts = set()
    for one, other in zip(ours, theirs, strict=True):
        for text in texts[1:]:
            doc = Document(text=text, id="")
            assert one.filter(doc) == other.filter(doc), text
            verdicts.add(str(one.filter(doc)))
    assert len(verdicts) >= 8  # the rules were met, not passed by


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        ("https://www.example.org/a/?utm_source=x#top", "http://example.org/a", True),
        ("https://example.org/?b=2&a=1", "https://example.org?a=1&b=2", True),
        ("https://example.org/a", "https://example.org/b", False),
        ("https://example.org:8080/a", "https://example.org/a", False),
        ("no address", "no address", True),
        ("http://[bad", "http://[bad", True),
    ],
)
def test_addresses_of_one_page_are_equal(a, b, same):
    assert (near.normal_url(a) == near.normal_url(b)) is same


def rows_of(tmp_path, texts, urls):
    docs = [
        Document(text=text, id=str(n), metadata={"place": n, "url": url})
        for n, (text, url) in enumerate(zip(texts, urls, strict=True))
    ]
    folder, clean = tmp_path / "signatures", tmp_path / "clean"
    for path in (folder, clean):
        path.mkdir()
    list(near.Signatures(folder).run(iter(docs)))
    pq.write_table(pa.table({"place": list(range(len(texts))), "text": texts}), clean / "0.parquet")
    return folder, clean


def test_no_document_goes_as_the_copy_of_one_that_goes(tmp_path):
    rng = random.Random(1)
    first, second = ([f"w{rng.randrange(900)}" for _ in range(100)] for _ in range(2))
    near_second = [*second[:-3], "x", "y", "z"]
    texts = [" ".join(words) for words in (first, second, near_second, first)] + ["\n".join(second)]
    urls = ["http://a.org/1", "http://www.a.org/1", "", "", ""]
    folder, clean = rows_of(tmp_path, texts, urls)
    # 1 has the address of 0; 4 would be 1's exact copy and 2 its near-copy, but 1 is gone: 4 is 2's near-copy.
    assert near.removals(folder, clean, Dedup()) == {
        1: ("url_copy", 0),
        3: ("exact_copy", 0),
        4: ("near_copy", 2),
    }
    assert near.removals(folder, clean, Dedup(url=False, exact=False, near=None)) == {}


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        ("A fox ran.\n\nHome.", "  A fox\tran. Home.\n", True),
        ("caf\u00e9", "cafe\u0301", True),
        ("total = a + b", "total = a - b", False),
        ("A fox ran.", "A FOX RAN.", False),
        ("A fox ran.", "A fox ran!", False),
        ("!!!", "???", False),
    ],
)
def test_exact_copies_are_equal_but_for_layout(a, b, same):
    assert (near.same_text(a) == near.same_text(b)) is same


@pytest.mark.parametrize(
    ("dedup", "share", "note"),
    [
        ({}, 0.1, ""),
        ({"near": None}, 0.0, ""),
        ({"near": None}, 0.1, "Its near-copies were not looked for"),
        ({"near": None, "exact": False}, 0.1, "Its copies were not looked for"),
    ],
)
def test_a_split_that_copies_may_straddle_is_called_so(dedup, share, note):
    found = card.split_note(Dedup(**dedup).model_dump(), share)
    assert found.startswith(note) and bool(found) is bool(note)


def test_a_line_of_many_documents_stays_in_the_first_of_those_that_stay(tmp_path):
    shared = "please subscribe to our weekly letter for more of these stories"
    docs = [
        Document(text=f"Story {n}.\n{shared.title()}!\nShort line.", id=str(n), metadata={"place": n})
        for n in range(5)
    ]
    notes = tmp_path / "passages"
    notes.mkdir()
    list(across.Notes(notes).run(iter(docs)))
    for least, cut in ((4, 3), (5, 0)):
        rows = across.repeated(notes, np.array([0]), least)  # the document at place 0 is a copy and goes
        np.save(tmp_path / f"{least}.npy", rows)
        step = across.DropRepeated(tmp_path / f"{least}.npy", None)
        found = [Document(text=doc.text, id=doc.id, metadata=dict(doc.metadata)) for doc in docs[1:]]
        assert all(step.filter(doc) is True for doc in found)
        assert [shared in doc.text.lower() for doc in found] == [True] + [not cut] * 3
    alone = Document(text=shared, id="x", metadata={"place": 9})
    assert across.DropRepeated(tmp_path / "4.npy", None).filter(alone) == (False, "repeated_only")


def test_quality_learns_from_labelled_text_and_the_model_is_reused(tmp_path):
    rng = random.Random(3)
    good, bad = ("the owl sat in the tall tree and sang", "click here buy now win big prizes free")
    rows = [
        {"text": " ".join(rng.choices(text.split(), k=20)), "label": label}
        for text, label in ((good, "good"), (bad, "bad"))
        for _ in range(60)
    ]
    listing = tmp_path / "labelled.jsonl"
    listing.write_text("\n".join(map(json.dumps, rows)))
    classifier.prepare(Classifier(labelled=str(listing), keep=("good",)), tmp_path, seed=0)
    (tmp_path / "again").mkdir()
    given = Classifier(model=str(tmp_path / "quality.bin"), keep=("good",))
    classifier.prepare(given, tmp_path / "again", seed=0)
    step = classifier.QualityFilter(tmp_path / "again" / "quality.bin", given, None)
    doc = Document(text="the owl sang in the tree", id="")
    assert step.filter(doc) is True
    assert doc.metadata["scores"]["quality"] > 0.5
    assert step.filter(Document(text="win free prizes, click now", id="")) == (False, "low_quality")
    with pytest.raises(UserError, match=r"knows no label nice\. Known: bad, good"):
        classifier.prepare(Classifier(model=given.model, keep=("nice",)), tmp_path, seed=0)
    with pytest.raises(UserError, match=r"is one to keep\. Add others"):
        classifier.prepare(Classifier(labelled=str(listing), keep=("good", "bad")), tmp_path, seed=0)
    listing.write_text("not json")
    with pytest.raises(UserError, match=r"line 1: no .*text"):
        labelled.read(listing, (), "safety")
    with pytest.raises(UserError, match="is no fastText model"):
        classifier.prepare(Classifier(model=str(listing), keep=("good",)), tmp_path, seed=0)
    with pytest.raises(UserError, match="is no fastText model"):
        language.check(("en",), listing)


def test_files_that_the_recipe_names_are_part_of_its_identity(tmp_path):
    assert outside.identity(Recipe()) is None
    model = tmp_path / "lid.bin"
    recipe = Recipe(language_model=str(model))
    with pytest.raises(UserError, match="language_model: there is no file"):
        outside.identity(recipe)
    with pytest.raises(UserError, match="there is no file"):
        language.check(("en",), model)
    model.write_bytes(b"one")
    before = outside.identity(recipe)
    model.write_bytes(b"two")
    assert set(before) == {"language_model"} and before != outside.identity(recipe)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"safety": {"coarse_share": None}}, "nothing would be dropped"),
        ({"safety": {"labelled": "a.jsonl"}}, "only read where labels are given"),
        ({"quality": {"classifier": {"keep": ["good"]}}}, "exactly one of labelled .* and model"),
        ({"quality": {"classifier": {"keep": [], "model": "a.bin"}}}, "keep"),
    ],
)
def test_sections_without_effect_are_refused(keys, message):
    with pytest.raises(ValueError, match=message):
        Recipe.model_validate_json(json.dumps(keys))


def test_a_text_full_of_coarse_words_scores_and_a_single_one_does_not():
    coarse = sorted(word for word in coarse_words.words() if word.isalpha())[:5]
    assert len(coarse) == 5
    assert coarse_words.share(" ".join(coarse)) == 1
    assert coarse_words.share(f"the owl said {coarse[0]}") == 0
    assert coarse_words.share("") == 0


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("The committee will publish the minutes of its last meeting on the website tomorrow.", "en"),
        ("Комитет опубликует протокол последнего заседания на сайте завтра утром.", "ru"),
        ("委员会将于明天在网站上公布上次会议的记录,欢迎大家阅读。", "zh"),
        ("\ud800 broken", None),
    ],
)
def test_language_of_a_sentence(text, code):
    found, probability = language.identify(text)
    assert 0 <= probability <= 1
    assert code is None or found == code
