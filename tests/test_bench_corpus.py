"""The bench of the corpus steps: its yardstick of similarity, what it makes up, and a smoke run of every section."""

import csv
import gzip
import io
import json
import random
import re
import tomllib
import zipfile
from pathlib import Path

import pytest
from stdnum import iban, luhn
from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

from bench import (
    corpus_archives,
    corpus_classes,
    corpus_copies,
    corpus_growth,
    corpus_language,
    corpus_leaks,
    corpus_near,
    corpus_outside,
    corpus_pages,
    corpus_privacy,
    corpus_secrets,
    corpus_speed,
    corpus_stock,
)
from bench.corpus import table
from bench.corpus_data import ROOT
from pipeline.corpus import near

WORDS = re.findall(r"\w+", "The river ran past an old mill where seven boats lay and nobody asked whose they were.")


def prose(number, seed=0):
    """So many words."""
    rng = random.Random(seed)
    return " ".join(rng.choice(WORDS) + rng.choice(("", "", "", ",", ".")) for _ in range(number))


def packed(path: Path, text: str):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(text.encode()))


def rows(path: Path, *values):
    packed(path, "".join(json.dumps(value) + "\n" for value in values))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A folder like that of the labelled sets, a few short documents each."""
    root = tmp_path_factory.mktemp("data")
    page = f"<html><body><nav>Home</nav><article><p>{prose(120)}</p></article></body></html>"
    truth = {"main_content": prose(120)}
    rows(
        root / "wcxb_dev/ground-truth.jsonl.gz",
        {"file_id": "1", "_internal": {"page_type": {"primary": "article"}}, "ground_truth": truth},
    )
    packed(root / "wcxb_dev/html/1.html.gz", page)
    packed(root / "readability_pages/one/source.html.gz", page)
    packed(root / "readability_pages/one/expected.html.gz", f"<p>{prose(120)}</p>")
    (root / "udhr2").mkdir()
    with zipfile.ZipFile(root / "udhr2/udhr2.zip", "w") as archive:
        archive.writestr("udhr2/eng.txt", prose(100))
    tweets = io.StringIO()
    writer = csv.writer(tweets)
    writer.writerow(("class", "tweet"))
    writer.writerows(
        (number % 3, f"{prose(8, number)} {'damn shit' if number % 3 < 2 else ''}") for number in range(12)
    )
    packed(root / "hate_davidson/labeled.csv.gz", tweets.getvalue())
    mails = "".join(f"{'spam' if number % 2 else 'ham'}\t{prose(8, number)}\n" for number in range(12))
    packed(root / "sms_spam/sms.tsv.gz", "label\ttext\n" + mails)
    both = {"original": [prose(20, 1), prose(20, 2)] * 3, "sampled": [prose(20, 3), prose(20, 4)] * 3}
    packed(root / "ai_text_fastdetect/a_gpt.json.gz", json.dumps(both))
    mail = {"full_text": "Write to me@tales.org.", "spans": [
        {"entity_type": "EMAIL_ADDRESS", "start_position": 9, "end_position": 21}]}  # fmt: skip
    packed(root / "pii_presidio_large/large.json.gz", json.dumps([mail]))
    for name in ("classic_books", "kids_classics", "python_peps"):
        rows(root / name / f"{name}.jsonl.gz", {"text": "\n".join(prose(40, seed) for seed in range(60))})
    packed(root / "mrpc/msr_train.txt.gz", "Quality\t1\t2\ta\tb\n" + f"1\t1\t2\t{prose(12)}\t{prose(12)}\n" * 3)
    rows(root / "gsm8k_train/train.jsonl.gz", {"question": prose(20, 7)})
    packed(root / "lima/lima.json.gz", json.dumps([{"instruction": prose(20, 7)}]))
    packed(root / "alpaca_5000/alpaca.json.gz", json.dumps([{"instruction": prose(20, 8)}]))
    packed(root / "llamafactory_demo/alpaca_en.json.gz", json.dumps([{"instruction": prose(20, 8)}]))
    packed(root / "neardup_grimm_editions/1.txt.gz", f"{prose(60)}\n\n{prose(70, 1)}")
    packed(root / "neardup_grimm_editions/2.txt.gz", f"{prose(60)}\n\n{prose(70, 2)}")
    levels = [{"file": f"Mill-{level}.txt", "level": level, "text": prose(90)} for level in ("Int", "Adv")]
    rows(root / "onestop_levels/onestop.jsonl.gz", *levels)
    (root / "warc").mkdir()
    with (root / "warc/one.warc.gz").open("wb") as file:
        archive = WARCWriter(file, gzip=True)
        head = StatusAndHeaders("200 OK", [("Content-Type", "text/html")], protocol="HTTP/1.0")
        for kind, url in (("response", "http://one.org/"), ("request", "http://one.org/")):
            body = io.BytesIO(page.encode())
            archive.write_record(archive.create_warc_record(url, kind, payload=body, http_headers=head))
    return root


SECTIONS = {
    "pages": corpus_pages.measure,
    "language": corpus_language.measure,
    "classes": lambda data: corpus_classes.measure(data, num_folds=2),
    "privacy": corpus_privacy.measure,
    "outside": lambda data: corpus_outside.measure(data, number=5),
    "secrets": lambda data: corpus_secrets.measure(data, number=2, megabytes=0.05),
    "copies": lambda data: corpus_copies.measure(data, num_documents=12),
    "leaks": corpus_leaks.measure,
    "archives": corpus_archives.measure,
    "speed": lambda data: corpus_speed.measure(data, megabytes=0.02, num_shared=2),
    "growth": lambda data: [corpus_growth.line((50, 100), [corpus_growth.one(50), corpus_growth.one(100)])],
}
# What the tiny sets say of themselves.
EXPECTED = {
    "pages": "1.000 (1.000)",
    "language": "1.000",
    "classes": "1.000",
    "privacy": "email 1.000 of 1",
    "outside": "email 1.000",
    "secrets": "1.000 on average",
    "copies": "1.000",
    "leaks": "1 of 1",
    "archives": "read 1, kept 1, dropped 0, lost 0; skipped 1; 0 files crash or do not add up",
    "speed": "documents/s",
    "growth": "",
}


@pytest.mark.parametrize("name", SECTIONS)
def test_every_section_runs(name, data):
    found = SECTIONS[name](data)
    assert found and any(EXPECTED[name] in row.value for row in found), found
    assert table(found).count("\n") == len(found) + 1, "a line a row below the two of the head"


@pytest.mark.parametrize(("seconds", "reached"), [(1000.0, True), (1e-6, False)])
def test_speed_beside_stock_counts_the_whole_of_near_duplicates(data, monkeypatch, seconds, reached):
    """Stock needs spacy, which the suite does without: its blocks are stood in for."""
    monkeypatch.setattr(corpus_stock, "stock_blocks", lambda: {"c4": lambda doc: doc.text.split()})
    monkeypatch.setattr(corpus_stock, "copies", lambda texts: (0, {"signatures": seconds / 2, "removal": seconds / 2}))
    found = {row.what: row for row in corpus_speed.measure(data, megabytes=0.02, num_shared=2)}
    assert found["speed: near-duplicates, the whole step"].reached is reached
    chain = found["speed: the whole chain on text, without extraction"]
    assert chain.reached is reached and "c4, near-duplicates with removal" in chain.on
    assert "with extractor: resiliparse" in found["speed: the whole chain from web pages, with extraction"].beside


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ("a b c d e f", "A, b c -- d E f!", 1.0),
        ("a b c d e f", "a b c d e g", 1 / 3),
        ("a b c", "a b c", 1.0),
        ("a b c d e", "v w x y z", 0.0),
        ("don't go to the old mill", "don’t go to the old mill", 1 / 3),  # noqa: RUF001
        ("", "", 0.0),
    ],
)
def test_the_yardstick_of_similarity_and_the_steps_own_agree(a, b, expected):
    assert corpus_near.similarity(a, b) == pytest.approx(expected)
    assert near.jaccard(near.shingles(a), near.shingles(b)) == pytest.approx(expected)


def test_they_agree_on_edited_texts():
    rng = random.Random(3)
    for seed in range(40):
        words = prose(60, seed).split()
        a, b = " ".join(words), " ".join(corpus_copies.edited(words, rng.random(), rng))
        assert corpus_near.similarity(a, b) == pytest.approx(near.jaccard(near.shingles(a), near.shingles(b)))


def test_pairs_are_counted_before_clustering():
    rng = random.Random(0)
    words = [f"w{rng.randrange(10_000)}" for _ in range(300)]
    texts = [" ".join(words), " ".join([*words[:-2], "other", "end"]), " ".join([*words[2:], "one", "more"])]
    assert corpus_near.pairs(texts) == {(0, 1), (0, 2), (1, 2)}, "clustering needs two of them only"
    assert corpus_near.run(texts).gone == {1: ("near_copy", 0), 2: ("near_copy", 0)}


def test_numbers_made_up_hold_their_check_digits():
    rng = random.Random(1)
    for _ in range(200):
        assert luhn.is_valid(re.sub("[ -]", "", corpus_outside.card(rng)[0]))
        account, country = corpus_outside.iban(rng)
        assert iban.is_valid(account, check_country=False), (account, country)


def test_a_secret_stands_where_it_is_said_to_stand():
    text, start, end = corpus_secrets.drawn("key = «{d4}»;", random.Random(0))
    assert re.fullmatch(r"key = \d{4};", text) and text[start:end].isdigit() and end - start == 4


def test_what_the_bench_compares_with_is_pinned():
    extra = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["bench"]
    assert all("==" in requirement for requirement in extra), extra
