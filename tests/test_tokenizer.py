"""The tokenizer stage: exact round trips, special tokens as text, the store and the report it writes."""

import json
import random
from pathlib import Path

import pyarrow
import pyarrow.parquet as parquet
import pytest
from transformers import AutoTokenizer

from pipeline import chat
from pipeline.stage import Job, UserError
from pipeline.store import open_split
from pipeline.tokenizer import train
from pipeline.tokenizer.recipe import STAGE, Recipe
from pipeline.tokenizer.train import run

WORDS = [
    "the",
    "fox",
    "found",
    "a",
    "red",
    "ball",
    "near",
    "river",
    "and",
    "owl",
    "was",
    "happy",
    "because",
    "her",
    "friend",
]
SPELT_OUT = "A page about <|endoftext|> and <|im_start|>user tokens <|im_end|><|pad|>."


def write_corpus(folder: Path, train: list[str], heldout: list[str], language: str | None = None) -> Path:
    for split, texts in (("train", train), ("heldout", heldout)):
        (folder / split).mkdir(parents=True)
        columns = {
            "id": [str(i) for i in range(len(texts))],
            "text": texts,
            "source": ["web" if i % 2 else "books" for i in range(len(texts))],
        }
        if language:
            columns["language"] = [language] * len(texts)
        half = len(texts) // 2
        table = pyarrow.table(columns)
        parquet.write_table(table.slice(0, half), folder / split / "000.parquet")
        parquet.write_table(table.slice(half), folder / split / "001.parquet")
    return folder


def stories(seed: int, count: int) -> list[str]:
    rng = random.Random(seed)
    return [" ".join(rng.choices(WORDS, k=rng.randint(8, 30))).capitalize() + "." for _ in range(count)]


def make(out: Path, corpus: Path, vocab_size: int = 400) -> dict[str, float]:
    return make_recipe(out, corpus, Recipe(vocab_size=vocab_size))


def make_recipe(out: Path, corpus: Path, recipe: Recipe) -> dict[str, float]:
    out.mkdir()
    return run(Job(stage="tokenizer", recipe=recipe, out=out, inputs={"corpus": corpus}, seed=0, run_name="toy"))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer")
    corpus = write_corpus(folder / "corpus", [*stories(0, 300), SPELT_OUT], [*stories(1, 50), SPELT_OUT])
    metrics = make(folder / "out", corpus)
    return folder / "out", metrics, AutoTokenizer.from_pretrained(folder / "out" / "tokenizer")


def test_any_unicode_text_comes_back_exactly(made):
    _, _, tokenizer = made
    rng = random.Random(0)
    texts = ["", " ", "\n\n \t x", "naïve ﬁ 東京 👩‍👩‍👧 e\u0301", "\x00\x01\ufffd\U0010ffff", SPELT_OUT]
    for _ in range(200):
        points = [p for p in (rng.randrange(0x110000) for _ in range(40)) if not 0xD800 <= p <= 0xDFFF]
        texts.append("".join(map(chr, points)))
    for text in texts:
        ids = chat.encode_text(tokenizer, text)
        assert tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False) == text


def test_special_tokens_are_known_by_id_and_role(made):
    _, _, tokenizer = made
    assert [tokenizer.convert_tokens_to_ids(token) for token in chat.SPECIAL_TOKENS] == [0, 1, 2, 3]
    assert tokenizer.eos_token == "<|endoftext|>" and tokenizer.pad_token == "<|pad|>"
    assert chat.stop_ids(tokenizer) == [2, 0]


def test_chat_template_travels_with_the_tokenizer(made):
    _, _, tokenizer = made
    ids, mask = chat.render_conversation(
        tokenizer, [{"role": "user", "content": "the fox"}, {"role": "assistant", "content": "a red ball"}]
    )
    assert ids.count(1) == 2 and ids.count(2) == 2
    assert mask[-1] == 1 and ids[-1] == 2, "the assistant's end of turn is learnt"


def test_special_token_written_in_a_document_is_plain_text_in_the_store(made):
    out, _, tokenizer = made
    for split in ("train", "heldout"):
        opened = open_split(out / "store", split)
        *_, last = opened.documents()
        assert last[-1] == opened.end_id == 0
        assert not set(last[:-1].tolist()) & {0, 1, 2, 3}
        assert tokenizer.decode(last[:-1].tolist()) == SPELT_OUT


def test_store_holds_every_document_in_order(made):
    out, metrics, tokenizer = made
    opened = open_split(out / "store", "heldout")
    texts = [tokenizer.decode(ids[:-1].tolist()) for ids in opened.documents()]
    assert texts == [*stories(1, 50), SPELT_OUT]
    assert opened.text_bytes == sum(len(text.encode()) for text in texts)
    assert metrics["heldout_documents"] == 51 and metrics["train_documents"] == 301


def test_report_counts_what_the_heldout_documents_use(made):
    out, metrics, tokenizer = made
    report = json.loads((out / "fertility.json").read_text())["tokenizers"][0]
    texts = [*stories(1, 50), SPELT_OUT]
    tokens = sum(len(chat.encode_text(tokenizer, text)) for text in texts)
    assert report["all"]["tokens"] == tokens == metrics["heldout_tokens"] - 51
    assert report["all"]["words"] == sum(len(text.split()) for text in texts)
    assert sum(source["tokens"] for source in report["by_source"].values()) == tokens
    assert metrics["bytes_per_token"] == pytest.approx(sum(len(t.encode()) for t in texts) / tokens)
    assert metrics["bytes_per_token_low"] < metrics["bytes_per_token"] < metrics["bytes_per_token_high"]
    assert 0 < metrics["unused_vocabulary_share"] < 1
    assert 0 < metrics["single_character_share"] < 0.5


def test_two_runs_write_equal_bytes(made, tmp_path):
    out, metrics, _ = made
    again = make(tmp_path / "out", out.parent / "corpus")
    assert again == metrics
    for path in sorted(p for p in out.rglob("*") if p.is_file()):
        assert path.read_bytes() == (tmp_path / "out" / path.relative_to(out)).read_bytes(), path.name


def test_a_corpus_without_heldout_documents_is_refused(tmp_path):
    corpus = write_corpus(tmp_path / "corpus", stories(0, 10), [])
    with pytest.raises(UserError, match="heldout: holds no document"):
        make(tmp_path / "out", corpus)


def test_a_recipe_without_a_corpus_is_refused(tmp_path):
    job = Job(stage="tokenizer", recipe=Recipe(), out=tmp_path, inputs={}, seed=0, run_name="toy")
    with pytest.raises(UserError, match=r"corpus\.yaml"):
        run(job)
    assert STAGE.reads == ("collect", "corpus")


def make_talking(out: Path, corpus: Path, collect: Path, recipe: Recipe) -> None:
    out.mkdir()
    inputs = {"collect": collect, "corpus": corpus}
    run(Job(stage="tokenizer", recipe=recipe, out=out, inputs=inputs, seed=0, run_name="toy"))


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_a_word_of_the_conversations_alone_is_whole_where_the_recipe_says_so(made, tmp_path, kind):
    collect = tmp_path / "collect"
    collect.mkdir()
    said = [{"role": "user", "content": "Write about wizards"}, {"role": "assistant", "content": "The wizards"}]
    line = json.dumps({"messages": said}) + "\n"
    (collect / "conversations.jsonl").write_text(line * 200)
    (collect / "heldout_conversations.jsonl").write_text(
        json.dumps({"messages": [said[0]]}).replace("wizards", "quizzes")
    )
    corpus = made[0].parent / "corpus"
    for whole in (False, True):
        out = tmp_path / f"out-{whole}"
        make_talking(out, corpus, collect, Recipe(kind=kind, vocab_size=400, conversations=whole))
        tokenizer = AutoTokenizer.from_pretrained(out / "tokenizer")
        assert (len(tokenizer(" wizards").input_ids) == 1) is whole
        assert len(tokenizer(" quizzes").input_ids) > 3, "a held-out conversation was learnt from"


def test_conversations_that_are_not_there_are_an_error_of_the_recipe(made, tmp_path):
    (tmp_path / "collect").mkdir()
    with pytest.raises(UserError, match=r"Remove `conversations` from tokenizer\.yaml"):
        make_talking(tmp_path / "out", made[0].parent / "corpus", tmp_path / "collect", Recipe(conversations=True))
    with pytest.raises(ValueError, match="kind: byte learns nothing"):
        Recipe(kind="byte", conversations=True)


def test_documents_are_read_and_encoded_a_bounded_batch_at_a_time(tmp_path, monkeypatch):
    """However large the corpus, two batches are in memory: one encoded, one written."""
    texts = stories(3, 700)
    corpus = write_corpus(tmp_path / "corpus", texts, texts[:3])
    monkeypatch.setattr(train, "ROWS", 10)
    for limit, value in (("BATCH_DOCUMENTS", 50), ("BATCH_BYTES", 4000)):
        with monkeypatch.context() as patch:
            patch.setattr(train, limit, value)
            found = [batch for _, _, batch in train.batches(corpus, "train")]
        assert [text for batch in found for text in batch] == texts
        assert max(map(len, found)) <= 50 and len(found) > 10
    asked = []

    class Backend:
        def encode_batch_fast(self, batch, add_special_tokens):
            asked.append(len(batch))
            return []

    monkeypatch.setattr(train, "BATCH_DOCUMENTS", 50)
    for number, _ in enumerate(train.encoded_batches(corpus, "train", Backend()), start=1):
        assert len(asked) <= number + 1, "no more than one batch ahead"
    assert sum(asked) == 700
