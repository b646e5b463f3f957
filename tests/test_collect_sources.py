"""Several sources a recipe: fetched files, data sets, worlds; presets; weights; and what is said when one fails."""

import gzip
import json

import fsspec
import pyarrow.parquet as pq
import pytest
from datasets import Dataset

from pipeline.chain import CHAIN
from pipeline.collect import raw
from pipeline.collect.fetch import spread
from pipeline.collect.outside import identity
from pipeline.collect.presets import PRESETS
from pipeline.collect.recipe import Recipe
from pipeline.corpus.mix import Mix
from pipeline.corpus.step import Ledger
from pipeline.recipe import load, validate
from pipeline.stage import UserError
from tests.test_collect_files import TEXT, clean, collect

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture
def memory():
    """An fsspec filesystem that stands for a remote one."""
    filesystem = fsspec.filesystem("memory")
    filesystem.store.clear()
    for number in range(6):
        filesystem.pipe(f"/bucket/crawl/{number}.jsonl", json.dumps({"text": f"{TEXT} {number}"}).encode())
    listing = "".join(f"crawl/{number}.jsonl\n" for number in range(6)).encode()
    filesystem.pipe("/bucket/warc.paths.gz", gzip.compress(listing))
    filesystem.pipe("/bucket/empty.paths", b"\n")
    filesystem.pipe("/bucket/broken.paths.gz", b"no gzip")
    yield filesystem
    filesystem.store.clear()


@pytest.mark.parametrize(
    ("fetch", "expected"),
    [
        ({"addresses": ["memory://bucket/crawl/0.jsonl", "memory://bucket/crawl/3.jsonl"]}, [0, 3]),
        ({"addresses": ["memory://bucket/crawl/*.jsonl"]}, [0, 1, 2, 3, 4, 5]),
        ({"addresses": ["memory://bucket/warc.paths.gz"], "max_files": 2}, [0, 3]),
    ],
)
def test_addresses_are_fetched(tmp_path, memory, fetch, expected):
    metrics = collect(tmp_path / "out", sources=[{"name": "far", "fetch": fetch}])
    found = sorted((tmp_path / "out/raw/sources/far").iterdir())
    assert [path.name for path in found] == [f"{n:05d}-{number}.jsonl" for n, number in enumerate(expected)]
    assert metrics["far_files"] == len(expected) and metrics["far_bytes"] == sum(p.stat().st_size for p in found)


def test_what_a_killed_run_fetched_is_not_fetched_again(tmp_path, memory):
    kept = tmp_path / "out" / "resume" / "far" / "00000-0.jsonl"
    kept.parent.mkdir(parents=True)
    kept.write_text("fetched before")
    (kept.parent / "00001-1.jsonl.part").write_text("half")
    (tmp_path / "out").rename(tmp_path / "half")
    out = tmp_path / "out"
    (tmp_path / "half").rename(out)
    source = {"name": "far", "fetch": {"addresses": ["memory://bucket/crawl/*.jsonl"], "max_files": 2}}
    memory.rm("/bucket/crawl/0.jsonl")
    memory.pipe("/bucket/crawl/0.jsonl", b"another")
    from pipeline.collect.collect import run
    from pipeline.stage import Job

    recipe = validate(Recipe, {"sources": [source]}, "x")
    run(Job(stage="collect", recipe=recipe, out=out, inputs={}, seed=0, run_name="toy"))
    assert (out / "raw/sources/far/00000-0.jsonl").read_text() == "fetched before"
    assert "half" not in (out / "raw/sources/far/00001-3.jsonl").read_text()


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"fetch": {"addresses": ["memory://bucket/none/*.jsonl"]}}, "no file matches memory://bucket/none"),
        ({"fetch": {"addresses": ["memory://bucket/empty.paths"]}}, "no file matches memory://bucket/empty.paths"),
        ({"fetch": {"addresses": ["memory://bucket/broken.paths.gz"]}}, "cannot be fetched: error"),
        ({"fetch": {"addresses": ["memory://bucket/a.exe"]}}, "memory://bucket/a.exe cannot be read. Accepted"),
        ({"fetch": {"addresses": ["memory://bucket/none.jsonl"]}}, "cannot be fetched: FileNotFoundError"),
        ({"fetch": {"addresses": ["file:///tmp/a.jsonl"]}}, "lies on this machine. Name its folder under files:"),
        ({"fetch": {"addresses": ["nosuch://a/b.jsonl"]}}, "cannot be fetched: ValueError"),
        ({"fetch": {"addresses": ["http://127.0.0.1:9/a.warc.gz"]}}, "This source needs a network"),
        ({"fetch": {"addresses": ["s3://bucket/a.warc.gz"]}}, "Install what reads such addresses"),
        ({"dataset": {"path": "org/name", "revision": COMMIT}}, "A Hub data set needs a network the first time"),
    ],
)
def test_a_source_that_cannot_be_had_is_one_message(tmp_path, memory, source, message):
    with pytest.raises(UserError) as raised:
        collect(tmp_path / "out", sources=[{"name": "far", **source}])
    assert message in str(raised.value) and "source 'far'" in str(raised.value)


@pytest.mark.parametrize("saved", [True, False])
def test_a_data_set_of_this_machine_is_streamed(tmp_path, saved):
    rows = [{"title": f"t{n}", "body": TEXT, "meta": {"url": f"http://a/{n}"}, "score": 1.5} for n in range(5)]
    made = Dataset.from_list(rows)
    if saved:
        made.save_to_disk(str(tmp_path / "data"))
    else:
        (tmp_path / "data").mkdir()
        made.to_parquet(str(tmp_path / "data" / "train-0.parquet"))
    columns = {"text": ["title", "body"], "id": "title", "url": "meta.url"}
    section = {"path": str(tmp_path / "data"), "max_documents": 3, "columns": columns}
    metrics = collect(tmp_path / "out", sources=[{"name": "set", "licence": "MIT", "dataset": section}])
    assert metrics == {"set_rows": 3}
    found = lines(tmp_path / "out/raw/sources/set/00000.jsonl")
    assert found == [{key: row[key] for key in ("title", "body", "meta")} for row in rows[:3]]
    clean(tmp_path / "out", tmp_path / "corpus", dedup={"near": None}, repair=False)
    (path,) = (tmp_path / "corpus").glob("train/*.parquet")
    kept = {row["id"]: row for row in pq.read_table(path).to_pylist()}
    assert sorted(kept) == ["t0", "t1", "t2"]
    assert (kept["t1"]["url"], kept["t1"]["licence"], kept["t1"]["text"]) == ("http://a/1", "MIT", f"t1\n\n{TEXT}")


def test_a_data_set_without_the_columns_says_which_it_has(tmp_path):
    Dataset.from_list([{"body": "a", "n": 1}]).save_to_disk(str(tmp_path / "data"))
    with pytest.raises(UserError, match=r"none of the columns html, text; it has body, n. Say which hold the text"):
        collect(tmp_path / "out", sources=[{"name": "set", "dataset": {"path": str(tmp_path / "data")}}])


@pytest.mark.parametrize("name", PRESETS)
def test_each_preset_is_a_whole_source(name):
    preset = PRESETS[name]
    given = {"dataset": {"revision": COMMIT, "max_documents": 10}} if preset.section == "dataset" else {}
    recipe = validate(Recipe, {"sources": [{"name": "a", "preset": name, **given}]}, "x")
    assert validate(Recipe, recipe.model_dump(mode="json"), "as the worker reads it") == recipe
    (source,) = recipe.listed()
    section = getattr(source, preset.section)
    assert source.licence == preset.licence and section is not None
    if preset.section == "dataset":
        assert section.max_documents == 10 and section.path == preset.keys["path"]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({}, "give exactly one of files, fetch, dataset, storyworld, pydocs, or a preset; found none"),
        ({"files": {"folder": "a"}, "pydocs": {}}, "found files and pydocs"),
        ({"preset": "wikipedia"}, "revision is missing: name the commit (40 hex digits)"),
        ({"preset": "reddit"}, "preset = 'reddit' is unknown. Accepted: common_crawl, wikipedia"),
        ({"preset": "common_crawl", "files": {"folder": "a"}}, "found files and fetch"),
        ({"dataset": {"path": "a/b", "revision": "main"}}, "should match pattern"),
        ({"dataset": {"path": "~/a", "revision": COMMIT}}, "revision is of a Hub data set"),
        ({"fetch": {"addresses": ["/tmp/a.warc"]}}, "/tmp/a.warc is no address (https://.., s3://..)"),
        ({"fetch": {"addresses": ["https://me:secret@a.example/b.warc"]}}, "an address of a.example holds a user's"),
        ({"files": {"folder": "a"}, "weight": 0}, "greater than 0"),
        ({"name": "a/b", "files": {"folder": "a"}}, "should match pattern"),
    ],
)
def test_a_mistake_in_a_source_is_named(source, message):
    with pytest.raises(UserError) as raised:
        validate(Recipe, {"sources": [{"name": "one", **source}]}, "collect.yaml")
    assert message in str(raised.value)


def test_names_are_distinct_and_one_world_is_enough():
    twice = [{"name": "Docs", "files": {"folder": "a"}}, {"name": "docs", "files": {"folder": "b"}}]
    with pytest.raises(UserError, match=r"two sources are called 'docs'. Give each a name of its own"):
        validate(Recipe, {"sources": twice}, "collect.yaml")
    with pytest.raises(UserError, match="a and b: the story world and the installed documentation both write"):
        validate(Recipe, {"sources": [{"name": "a", "pydocs": {}}, {"name": "b", "storyworld": {}}]}, "collect.yaml")


def test_only_what_lies_on_this_machine_is_identified_by_its_bytes(tmp_path, monkeypatch):
    (tmp_path / "a.txt").write_text("a")
    monkeypatch.setenv("PLACE", str(tmp_path))
    sources = [
        {"name": "near", "files": {"folder": "$PLACE"}},
        {"name": "set", "dataset": {"path": "$PLACE"}},
        {"name": "far", "fetch": {"addresses": ["https://a.example/a.warc.gz"]}},
        {"name": "hub", "dataset": {"path": "a/b", "revision": COMMIT}},
    ]
    found = identity(validate(Recipe, {"sources": sources}, "x"))
    assert list(found) == ["near", "set"] and found["near"][0]["path"] == "a.txt" and found["near"] == found["set"]
    monkeypatch.delenv("PLACE")
    with pytest.raises(UserError, match=r"folder = \$PLACE: PLACE is not set in the environment. Set it"):
        identity(validate(Recipe, {"sources": sources}, "x"))


ARTICLE = """Last spring the town decided to open its old harbour to small boats again. The council had closed it when
the ferry moved to the other side of the bay, and for eleven years nothing but gulls came there. Now the wooden piers
have been mended, and there is a crane which lifts boats out of the water for the winter.
The work was done by people from the town, who met on Saturdays and brought their own tools. Some of them had worked
in the harbour when they were young, and they knew where the stones lay that could hurt a boat.
On the first day of May the gates were opened with music, and forty boats came in before it was dark. The harbour
master, who is paid by the fees, says that she has never seen so many people on the piers, and that she is happy."""


def test_the_web_recipe_makes_parquet_of_archives_and_pages(tmp_path, monkeypatch):
    recipe = load("web", CHAIN)
    docs = tmp_path / "web"
    docs.mkdir()
    paragraphs = "".join(f"<p>{line}</p>" for line in ARTICLE.replace("\n", " ").split(". "))
    (docs / "page.html").write_text(f"<html><body><nav>Home</nav><article>{paragraphs}</article></body></html>")
    other = paragraphs.replace("harbour", "station").replace("boats", "trains").replace("town", "village")
    raw.write_warc_shards(docs, [("http://a.example/", other.encode())], "0")
    (docs / "notes.txt").write_text("not taken")
    monkeypatch.setenv("WEB", str(docs))
    collect(tmp_path / "out", **recipe.own["collect"].given())
    metrics = clean(
        tmp_path / "out", tmp_path / "corpus", **{**recipe.own["corpus"].given(), "tasks": 1, "workers": 1}
    )
    assert (metrics["documents_read"], metrics["documents_kept"]) == (2, 2)
    paths = sorted((tmp_path / "corpus").glob("*/*.parquet"))
    rows = {row["id"]: row for path in paths for row in pq.read_table(path).to_pylist()}
    assert set(rows) == {"page.html", "http://a.example/"}
    page = rows["page.html"]
    assert "Home" not in page["text"] and "forty boats came in" in page["text"]
    assert (page["source"], page["language"], page["url"]) == ("web", "en", "")
    assert page["licence"] == "each page belongs to its publisher"


WORLD = {
    "documents": 40, "text_files": 4, "planted": 1, "cards": 2, "labelled": 12, "evaluation_items": 1,
    "conversations": 2, "heldout_conversations": 1, "preferences": 1, "rl": 1, "evaluate": 1,
}  # fmt: skip


def test_a_world_stands_beside_other_sources_as_it_is(tmp_path):
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "a.txt").write_text(TEXT)
    sources = [
        {"name": "world", "weight": 2, "storyworld": WORLD},
        {"name": "docs", "licence": "MIT", "files": {"folder": str(docs)}},
    ]
    both = collect(tmp_path / "both", sources=sources)
    alone = collect(tmp_path / "alone", storyworld=WORLD)
    assert both == {**alone, "docs_files": 1, "docs_bytes": len(TEXT)}
    for path in (tmp_path / "alone").rglob("*.*"):
        if path.name != "sources.json":
            assert (tmp_path / "both" / path.relative_to(tmp_path / "alone")).read_bytes() == path.read_bytes()
    rows = json.loads((tmp_path / "both/raw/sources.json").read_text())
    shown = [(row["name"], row["weight"], row["licence"]) for row in rows]
    world = [(f"world/{name}", 2.0, "CC0-1.0") for name in ("web", "books", "feed")]
    assert shown == [*world, ("docs", 1.0, "MIT")]


@pytest.mark.parametrize(("weight", "low", "high"), [(1.0, 1, 1), (3.0, 3, 3), (0.25, 0, 1), (2.5, 2, 3)])
def test_weights_repeat_and_thin_out(tmp_path, weight, low, high):
    mix = Mix({"a": weight}, heldout_share=0.1, seed=0, ledger=Ledger(tmp_path, "mix"))
    drawn = [mix.times("a", place) for place in range(4000)]
    trained = [times for times in drawn if times > 1 or low <= 1]
    assert min(trained) == low and max(drawn) == high
    if high > 1:  # what is held out stands once
        assert 300 < drawn.count(1) < 500
    else:
        assert abs(sum(drawn) / 4000 - weight) < 0.03


def test_a_weighted_source_balances_its_books(tmp_path):
    sources = []
    for name, weight in (("twice", 2), ("half", 0.5)):
        (tmp_path / name).mkdir()
        rows = [{"id": f"{name}{n}", "text": f"{TEXT} {name} {n}"} for n in range(60)]
        (tmp_path / name / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        sources.append({"name": name, "weight": weight, "files": {"folder": str(tmp_path / name)}})
    collect(tmp_path / "out", sources=sources)
    keys = {"dedup": {"near": None}, "heldout_share": 0.2, "shard_documents": 30}
    metrics = clean(tmp_path / "out", tmp_path / "corpus", **keys)
    paths = {split: sorted((tmp_path / "corpus").glob(f"{split}/*.parquet")) for split in ("train", "heldout")}
    ids = {split: [i for path in paths[split] for i in pq.read_table(path)["id"].to_pylist()] for split in paths}
    train = {name: [i for i in ids["train"] if i.startswith(name)] for name in ("twice", "half")}
    assert all(train["twice"].count(name) == 2 for name in set(train["twice"]))
    assert len(set(train["half"])) == len(train["half"]) < 60
    assert len(set(ids["heldout"])) == len(ids["heldout"]) and not set(ids["heldout"]) & set(ids["train"])
    assert metrics["documents_repeated"] == len(set(train["twice"])) and len(paths["train"]) > 2
    assert metrics["documents_read"] + metrics["documents_repeated"] == (
        metrics["documents_kept"] + metrics["dropped_weight"]
    )
    funnel = json.loads((tmp_path / "corpus" / "funnel.json").read_text())
    assert funnel[-1]["kept"] == metrics["documents_kept"]


def test_a_sample_of_files_is_spread_evenly():
    assert spread(list("abcdefghij"), 3) == ["a", "d", "g"]
    assert spread(["a"], 3) == spread(["a"], None) == ["a"]
