"""Benchmarks of the user's own: their items become evaluation/<name>.jsonl, which corpus searches for."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.stage import UserError
from tests.test_collect_files import TEXT, clean, collect
from tests.toy_pairs import write_jsonl

ROWS = [
    {"question": "Which lake is deep?", "choices": ["the old one", "", "neither"], "key": 7, "answer": None},
    {"question": " ", "choices": [], "key": 8, "answer": ""},
    {"question": "Who sleeps?", "choices": None, "key": 9, "answer": "The owl."},
]


def benchmark(folder, rows, **keys):
    write_jsonl(folder / "rows.jsonl", rows)
    return {"path": str(folder / "rows.jsonl"), "text": ["question", "choices", "answer"], **keys}


def made(folder, evaluation):
    (folder / "docs").mkdir(parents=True)
    (folder / "docs" / "one.txt").write_text(TEXT)
    return collect(folder / "out", files={"folder": str(folder / "docs")}, evaluation=evaluation)


def test_rows_become_items_of_the_named_columns(tmp_path):
    pq.write_table(pa.table({"q": ["Why?", "How?"]}), tmp_path / "b.parquet")
    metrics = made(
        tmp_path,
        {
            "a": benchmark(tmp_path, ROWS, id="key"),
            "b.2": {"path": str(tmp_path / "b.parquet"), "text": ["q"]},
        },
    )
    assert (metrics["evaluation_items_a"], metrics["evaluation_items_b.2"]) == (2, 2)
    found = {
        name: [json.loads(line) for line in (tmp_path / f"out/evaluation/{name}.jsonl").read_text().splitlines()]
        for name in ("a", "b.2")
    }
    assert found == {
        "a": [
            {"id": "7", "text": "Which lake is deep?\nthe old one\nneither"},
            {"id": "9", "text": "Who sleeps?\nThe owl."},
        ],
        "b.2": [{"id": "1", "text": "Why?"}, {"id": "2", "text": "How?"}],
    }


@pytest.mark.parametrize(
    ("rows", "keys", "message"),
    [
        (ROWS[1:2], {}, "evaluation.a: .*rows.jsonl holds no item with a text"),
        (ROWS, {"text": ["query"]}, "line 1: has no column 'query'. It has: question, choices"),
        (ROWS, {"text": ["key"]}, "the column 'key' is no text and no list of texts: 7"),
        (ROWS, {"id": "name"}, "has no column 'name'"),
        (ROWS, {"path": "nowhere.jsonl"}, "nowhere.jsonl: is not there"),
    ],
)
def test_a_benchmark_that_holds_no_items_is_named(tmp_path, rows, keys, message):
    with pytest.raises(UserError, match=message):
        made(tmp_path, {"a": benchmark(tmp_path, rows, **keys)})


def test_a_world_keeps_its_own_benchmark(tmp_path):
    world = {"documents": 60, "cards": 1, "planted": 1, "text_files": 1, "labelled": 10, "evaluation_items": 1}
    talk = {"conversations": 1, "heldout_conversations": 1, "preferences": 1, "rl": 1, "evaluate": 1}
    with pytest.raises(UserError, match=r"evaluation.storyworld: the source writes a benchmark of this name itself"):
        collect(
            tmp_path / "out",
            storyworld={**world, **talk},
            evaluation={"storyworld": benchmark(tmp_path, ROWS)},
        )


def test_a_document_with_an_item_of_the_users_benchmark_is_dropped_and_certified(tmp_path):
    item = {"question": "The badger who baked bread at midnight", "choices": ["sold", "it"], "answer": "to the owls"}
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "two.txt").write_text(f"{TEXT} {' '.join([item['question'], 'sold it to the owls'])}. {TEXT}")
    (tmp_path / "docs" / "one.txt").write_text(TEXT)
    keys = {"files": {"folder": str(tmp_path / "docs")}, "evaluation": {"mine": benchmark(tmp_path, [item])}}
    collect(tmp_path / "out", **keys)
    metrics = clean(tmp_path / "out", tmp_path / "corpus")
    assert metrics["dropped_leak_mine"] == 1
    certificate = json.loads((tmp_path / "corpus" / "certificates" / "mine.json").read_text())
    assert certificate["matches"][0]["passage"] == "the badger who baked bread at midnight sold it to the owls"
