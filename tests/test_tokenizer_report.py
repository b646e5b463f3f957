"""The report: what a tokenizer loses, tokenizers side by side, parallel texts, embeddings' share, the figure."""

import json
import re
import zipfile
from xml.etree import ElementTree

import pytest
from tokenizers import Tokenizer, decoders, models
from transformers import AutoTokenizer

from pipeline import chat
from pipeline.stage import UserError
from pipeline.tokenizer.fertility import Fertility
from pipeline.tokenizer.figure import MOST_GROUPS, groups_of, short
from pipeline.tokenizer.named import identity
from pipeline.tokenizer.recipe import Recipe
from tests.test_tokenizer import make_recipe, stories, write_corpus

PARALLEL = {"eng": "The owl was happy.", "fra": "Le hibou était content.", "jpn": "フクロウは幸せでした。"}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    return write_corpus(folder / "corpus", stories(0, 200), [*stories(1, 30), "a word of é and 東"], language="en")


@pytest.fixture(scope="module")
def other(corpus, tmp_path_factory):
    """A tokenizer in a folder of its own, for others to stand beside."""
    out = tmp_path_factory.mktemp("other") / "out"
    make_recipe(out, corpus, Recipe(kind="byte"))
    return out / "tokenizer"


@pytest.fixture(scope="module")
def made(corpus, other, tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    (folder / "texts").mkdir()
    for language, text in PARALLEL.items():
        (folder / "texts" / f"{language}.txt").write_text(text, encoding="utf-8")
    recipe = Recipe(
        vocab_size=400, compare=(str(other),), parallel=str(folder / "texts"),
    )  # fmt: skip
    metrics = make_recipe(folder / "out", corpus, recipe)
    return folder / "out", metrics, json.loads((folder / "out" / "fertility.json").read_text())["tokenizers"]


def test_tokenizers_stand_side_by_side_on_the_same_text(made, other):
    out, _, (own, beside) = made
    assert (own["name"], beside["name"]) == ("this one", str(other))
    assert own["all"]["bytes"] == beside["all"]["bytes"] and own["all"]["documents"] == 31
    assert own["all"]["tokens"] < beside["all"]["tokens"], "a piece is longer than a byte"
    table = (out / "fertility.md").read_text()
    for entry in (own, beside):
        (line,) = [line for line in table.splitlines() if line.startswith(f"| {entry['name']} |")]
        assert f"| {entry['vocabulary_size']:,} |" in line
        assert f"{entry['all']['bytes_per_token']:.3f}" in line


def test_figures_by_source_and_language_add_up(made):
    _, _, (own, _) = made
    assert set(own["by_language"]) == {"en"} and set(own["by_source"]) == {"web", "books"}
    assert own["by_language"]["en"] == own["all"]
    assert sum(part["tokens"] for part in own["by_source"].values()) == own["all"]["tokens"]


def test_parallel_texts_are_read_by_every_tokenizer(made):
    out, _, entries = made
    for entry in entries:
        assert set(entry["parallel"]) == set(PARALLEL)
        assert entry["parallel"]["jpn"]["bytes"] == len(PARALLEL["jpn"].encode())
    own = AutoTokenizer.from_pretrained(out / "tokenizer")
    assert entries[0]["parallel"]["fra"]["tokens"] == len(chat.encode_text(own, PARALLEL["fra"]))
    table = (out / "fertility.md").read_text()
    assert re.search(rf"\| jpn \|.*\| {entries[0]['parallel']['jpn']['tokens']} \|", table)


def test_a_zip_of_parallel_texts_is_read_like_a_folder(made, corpus, tmp_path):
    with zipfile.ZipFile(tmp_path / "texts.zip", "w") as archive:
        for language, text in PARALLEL.items():
            archive.writestr(f"texts/{language}.txt", text)
    recipe = Recipe(vocab_size=400, parallel=str(tmp_path / "texts.zip"))
    make_recipe(tmp_path / "out", corpus, recipe)
    (own,) = json.loads((tmp_path / "out" / "fertility.json").read_text())["tokenizers"]
    assert own["parallel"] == made[2][0]["parallel"]


def test_what_is_lost_is_counted(corpus, tmp_path):
    lost = {}
    for name, keys in (
        ("plain", {}),
        ("lowercase", {"lowercase": True}),
        ("char", {"kind": "char", "vocab_size": 40}),
    ):
        lost[name] = make_recipe(tmp_path / name, corpus, Recipe(**keys))
    assert lost["plain"]["exact_share"] == 1 and lost["plain"]["lost_character_share"] == 0
    assert lost["lowercase"]["exact_share"] == pytest.approx(1 / 31), "only one document has no capital letter"
    assert 0 < lost["lowercase"]["lost_character_share"] < 0.1 and lost["lowercase"]["unknown_share"] == 0
    assert lost["char"]["exact_share"] == pytest.approx(30 / 31)
    assert lost["char"]["unknown_share"] == lost["char"]["lost_character_share"] > 0


def test_the_figure_is_a_drawing_with_a_bar_for_every_figure(made):
    out, _, entries = made
    root = ElementTree.fromstring((out / "fertility.svg").read_text())
    bars = [node for node in root.iter() if node.tag.endswith("rect")]
    assert len(bars) == 2 + 2 * len(groups_of(entries)) == 2 + 2 * (1 + 2 + 3)
    texts = [node.text for node in root.iter() if node.tag.endswith("text")]
    assert {"jpn", "web", "this one"} <= set(texts)
    assert f"{entries[0]['parallel']['jpn']['bytes_per_token']:.2f}" in texts


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("runs/pydocs/tokenizer/tokenizer/", "pydocs"),
        (f"org/name@{'a' * 40}", "name"),
        ("gpt2", "gpt2"),
        ("x" * 30, "x" * 23 + "…"),
        ("tokenizer", "tokenizer"),
    ],
)
def test_names_are_shortened_to_what_tells_them_apart(name, shown):
    assert short(name) == shown


def test_a_long_list_of_languages_is_thinned_in_the_figure_from_end_to_end():
    figures = {f"l{i:03d}": {"bytes_per_token": 1 + i / 100} for i in range(200)}
    entry = {"all": {"bytes_per_token": 4.0}, "by_source": {}, "by_language": {}, "parallel": figures}
    names = [name for name, _ in groups_of([entry])]
    assert len(names) == MOST_GROUPS and names[1] == "l199" and names[-1] == "l000"


def test_named_tokenizers_and_texts_are_part_of_the_fingerprint(other, tmp_path):
    (tmp_path / "de.txt").write_text("Hallo")
    recipe = Recipe(compare=(str(other),), parallel=str(tmp_path))
    before = identity(recipe)
    assert before is not None and len(before[str(other)]) == 64
    (tmp_path / "de.txt").write_text("Tschüss")
    assert identity(recipe) != before
    assert identity(Recipe()) is None
    assert identity(Recipe(compare=(f"org/name@{'a' * 40}",))) is None, "a commit names its content"


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"compare": ("nowhere/at/all",)}, "nowhere/at/all: there is no"),
        ({"parallel": "nowhere"}, "is no zip, and no folder with <language>.txt files"),
        ({"extend": {"tokenizer": "nowhere", "new_tokens": 3}}, "nowhere: there is no"),
    ],
)
def test_a_path_that_leads_nowhere_is_told_before_anything_is_built(keys, words):
    with pytest.raises(UserError) as error:
        identity(Recipe(**keys))
    assert words in str(error.value)


def test_parallel_texts_that_cannot_be_read_are_named(corpus, tmp_path):
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "de.txt").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(UserError, match=r"de\.txt is not UTF-8"):
        make_recipe(tmp_path / "out", corpus, Recipe(vocab_size=330, parallel=str(tmp_path / "texts")))
    (tmp_path / "texts" / "de.txt").write_bytes(b"")
    with pytest.raises(UserError, match=r"holds no <language>\.txt with text"):
        make_recipe(tmp_path / "again", corpus, Recipe(vocab_size=330, parallel=str(tmp_path / "texts")))


def test_a_tokenizer_of_the_hub_that_cannot_be_had_is_named(corpus, tmp_path):
    name = f"org/name@{'a' * 40}"
    with pytest.raises(UserError, match=f"{name}: cannot be loaded"):
        make_recipe(tmp_path / "out", corpus, Recipe(vocab_size=330, compare=(name,)))


def test_single_characters_and_unused_entries_are_told_by_id():
    toy = Tokenizer(models.BPE({"a": 0, "b": 1, "ab": 2, "é": 3}, [("a", "b")]))
    toy.decoder = decoders.Fuse()
    fertility = Fertility(toy)
    fertility.add("s", "", "ab a", [2, 0])
    found = fertility.report()
    assert found["all"]["single_characters"] == 1 and found["unused_vocabulary_share"] == 0.5
    assert found["by_language"] == {} and found["all"]["words"] == 2
