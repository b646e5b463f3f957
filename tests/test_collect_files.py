"""A user's folder: every readable document is copied with its path as id, and what cannot be read is listed."""

import json

import pytest
from warcio.archiveiterator import ArchiveIterator

from pipeline.collect.collect import run
from pipeline.collect.recipe import STAGE, Files, Recipe
from pipeline.stage import Job, UserError


def collect(folder, out):
    recipe = Recipe(files=Files(folder=str(folder), licence="MIT"))
    out.mkdir()
    return run(Job(stage="collect", recipe=recipe, out=out, inputs={}, seed=0, run_name="toy"))


def rows(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_texts_rows_and_pages_are_copied(tmp_path):
    docs = tmp_path / "docs"
    (docs / "sub").mkdir(parents=True)
    (docs / "a.txt").write_bytes(b"\xef\xbb\xbfplain text")
    (docs / "old.txt").write_bytes("caf\u00e9".encode("cp1252"))
    (docs / "wide.txt").write_bytes("\ufeffwide".encode("utf-16-le"))
    (docs / "empty.md").write_text(" \n", encoding="utf-8")
    (docs / "sub" / "b c.html").write_text("<p>page</p>", encoding="utf-8")
    (docs / "sub" / "rows.jsonl").write_bytes(
        b'{"text": "first"}\n\n{"txt": "no"}\n{"text": 5}\n[1]\n{"text": "\xff"}\n'
        b'{"text": " "}\n{"text": "a\\ud800"}\n'
    )
    metrics = collect(docs, tmp_path / "out")
    assert rows(tmp_path / "out/raw/files/00000.jsonl") == [
        {"id": "a.txt", "text": "plain text"},
        {"id": "old.txt", "text": "caf\u00e9"},
        {"id": "sub/rows.jsonl:1", "text": "first"},
        {"id": "sub/rows.jsonl:8", "text": "a?"},
        {"id": "wide.txt", "text": "wide"},
    ]
    with (tmp_path / "out/raw/pages/00000.warc.gz").open("rb") as file:
        pages = [(r.rec_headers["WARC-Target-URI"], r.content_stream().read()) for r in ArchiveIterator(file)]
    assert pages == [("file:///sub/b%20c.html", b"<p>page</p>")]
    rejected = rows(tmp_path / "out/rejected.jsonl")
    assert [(row["file"], row["line"]) for row in rejected] == [
        ("empty.md", 1),
        *(("sub/rows.jsonl", line) for line in (3, 4, 5, 6, 7)),
    ]
    assert metrics == {"files": 6, "documents": 6, "rejected": 6}
    sources = json.loads((tmp_path / "out/raw/sources.json").read_text(encoding="utf-8"))
    assert [(s["name"], s["kind"], s["licence"]) for s in sources] == [
        ("files", "jsonl", "MIT"),
        ("pages", "warc", "MIT"),
    ]


def test_a_folder_in_which_nothing_can_be_read_is_the_users_mistake(tmp_path):
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "a.jsonl").write_text('{"body": "text"}\n', encoding="utf-8")
    with pytest.raises(
        UserError, match=r'not one document could be read. First: a.jsonl, line 1: no object with a "text"'
    ):
        collect(docs, tmp_path / "out")


def test_the_stage_names_its_verb():
    assert STAGE.verb == "pipeline.collect.collect:run" and STAGE.reads == ()
