"""A user's folder: every file that can be read is copied byte for byte, and corpus counts what becomes of each."""

import gzip
import json
import os
from collections import Counter

import pytest
from warcio.archiveiterator import ArchiveIterator

from pipeline.collect import files, raw
from pipeline.collect.collect import run
from pipeline.collect.recipe import STAGE, Recipe
from pipeline.corpus import build
from pipeline.corpus import recipe as corpus_recipe
from pipeline.recipe import validate
from pipeline.stage import Job, UserError

TEXT = "The fox went down to the lake to look for the red kite that it had lost in the wood."


def collect(out, **keys):
    out.mkdir(parents=True)
    return run(Job(stage="collect", recipe=validate(Recipe, keys, "x"), out=out, inputs={}, seed=0, run_name="toy"))


def clean(collected, out, **keys):
    out.mkdir()
    keys = {"languages": None, "safety": None, "tasks": 1, "workers": 1, "heldout_share": 0.0, **keys}
    recipe = validate(corpus_recipe.Recipe, keys, "x")
    job = Job(stage="corpus", recipe=recipe, out=out, inputs={"collect": collected}, seed=0, run_name="toy")
    return build.run(job)


def test_files_are_copied_as_they_are(tmp_path):
    docs = tmp_path / "docs"
    (docs / "sub").mkdir(parents=True)
    written = {
        "a.txt": b"\xef\xbb\xbfplain text", "old.txt": "caf\u00e9".encode("cp1252"), "empty.md": b"",
        "sub/b c.html": b"<p>page</p>", "sub/c.py.gz": gzip.compress(b"print(1)"),
    }  # fmt: skip
    rows = b'{"text": "first"}\n\n{"txt": "no"}\n\xff\n'
    for name, data in {**written, "sub/rows.jsonl": rows, "photo.png": b"x"}.items():
        (docs / name).write_bytes(data)
    metrics = collect(tmp_path / "out", files={"folder": str(docs), "licence": "MIT"})
    source = tmp_path / "out" / "raw" / "sources" / "files"
    with (source / "packed" / "00000.warc.gz").open("rb") as file:
        packed = {r.rec_headers["WARC-Target-URI"]: r.content_stream().read() for r in ArchiveIterator(file)}
    assert packed == {f"file:///{name.replace(' ', '%20')}": data for name, data in written.items()}
    assert (source / "found" / "sub" / "rows.jsonl").read_bytes() == rows
    assert metrics == {
        "files_files": 6, "files_bytes": sum(map(len, [*written.values(), rows])), "files_passed_over_.png": 1,
    }  # fmt: skip
    assert json.loads((tmp_path / "out/raw/sources.json").read_text(encoding="utf-8")) == [
        {"name": "files", "kind": "files", "path": "sources/files", "licence": "MIT", "weight": 1.0}
    ]


def test_what_is_passed_over_is_counted_by_why_and_said(tmp_path, capsys):
    docs = tmp_path / "docs"
    for folder in ("sub", ".git/objects", "aside"):
        (docs / folder).mkdir(parents=True)
    for name in (
        "a.txt", "b.png", "sub/c.PNG", "d.tar.gz", "Makefile", "sub/.e.txt", ".git/HEAD", ".git/objects/f.txt",
        "aside/g.txt", "no end.2024 old version",
    ):  # fmt: skip
        (docs / name).write_text(TEXT, encoding="utf-8")
    (docs / "folder").symlink_to(docs / "aside")
    (docs / "file.txt").symlink_to(docs / "a.txt")
    (docs / "gone.txt").symlink_to(docs / "nowhere")
    os.mkfifo(docs / "pipe.txt")
    metrics = collect(tmp_path / "out", files={"folder": str(docs)})
    assert metrics == {
        "files_files": 2, "files_bytes": 2 * len(TEXT), "files_passed_over_hidden": 3, "files_passed_over_link": 3,
        "files_passed_over_.png": 2, "files_passed_over_.tar.gz": 1, "files_passed_over_no_suffix": 2,
        "files_passed_over_special": 1,
    }  # fmt: skip
    said = capsys.readouterr().err.partition("files: passed over: ")[2].strip().split(", ")
    assert sorted(said) == ["1 .tar.gz", "1 special", "2 .png", "2 no suffix", "3 hidden", "3 link"]


def test_endings_past_the_most_common_are_counted_together(capsys):
    counts = Counter({f".x{n}": 100 - n for n in range(30)})
    metrics = files.passed_over(counts, "docs")
    assert sum(metrics.values()) == counts.total() and metrics["passed_over_other_suffixes"] == sum(range(71, 81))
    assert len(metrics) == files.MOST + 1 and metrics["passed_over_.x0"] == 100
    assert files.passed_over(Counter(), "docs") == {} and capsys.readouterr().err.count("\n") == 1


def test_corpus_reads_what_was_copied_and_the_books_balance(tmp_path):
    docs = tmp_path / "docs"
    docs.mkdir()
    files = {
        "a.txt": TEXT.encode(), "b.html.gz": gzip.compress(f"<p>{TEXT} b</p>".encode()), "empty.txt": b"",
        "cut.txt.gz": gzip.compress(TEXT.encode() * 20)[:-9], "cut.parquet": b"PAR1 and no end",
        "deep.html": b"<div>" * 3000, "long.jsonl": b'{"text": "' + b"a" * 30_000 + b'"}\n',
        "long.txt": b"a" * 600_000,  # packed it is a bomb as well: counted once, and reading goes on behind it
        "rows.jsonl": b"".join(b'{"id": "same", "text": "%s %s"}\n' % (TEXT.encode(), word) for word in (b"x", b"y")),
        "more.csv": f"id,text\nsame,{TEXT} z\n".encode(),
    }  # fmt: skip
    for name, data in files.items():
        (docs / name).write_bytes(data)
    collect(tmp_path / "out", files={"folder": str(docs)})
    metrics = clean(tmp_path / "out", tmp_path / "corpus", max_document_bytes=20_000, dedup={"near": None})
    reasons = {key: value for key, value in metrics.items() if key.startswith(("lost_", "dropped_"))}
    assert reasons == {
        "dropped_empty": 1, "lost_broken_file": 2, "lost_too_deep": 1, "lost_too_long": 2,
    }  # fmt: skip
    assert metrics["documents_read"] == 11 and metrics["documents_kept"] == 5
    shards = (tmp_path / "corpus").glob("train/*.parquet")
    names = sorted(row["id"] for path in shards for row in build.pq.read_table(path).to_pylist())
    # The second and third "same" are named after their source, file and record.
    assert names == ["a.txt", "b.html.gz", "same", "same#0.3.0", "same#0.3.1"]
    funnel = json.loads((tmp_path / "corpus" / "funnel.json").read_text())
    assert {row["step"]: row["edited"] for row in funnel}["ids"] == {"duplicate_id": 2}


def test_nothing_readable_is_one_message_with_the_reasons(tmp_path):
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "a.jsonl").write_text('{"body": "text"}\n', encoding="utf-8")
    collect(tmp_path / "out", files={"folder": str(docs)})
    with pytest.raises(UserError, match=r"corpus: not one document was kept \(no_text 1\)"):
        clean(tmp_path / "out", tmp_path / "corpus")


def test_columns_reach_corpus(tmp_path):
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "a.csv").write_text(f"name,body\nfox,{TEXT}\n", encoding="utf-8")
    collect(tmp_path / "out", files={"folder": str(docs), "columns": {"text": ["name", "body"], "id": "name"}})
    clean(tmp_path / "out", tmp_path / "corpus", repair=False)
    (path,) = (tmp_path / "corpus").glob("train/*.parquet")
    (row,) = build.pq.read_table(path).to_pylist()
    assert (row["id"], row["text"]) == ("fox", f"fox\n\n{TEXT}")


def test_shards_hold_so_many_and_are_never_held_in_memory():
    taken = []

    def items():
        for number in range(raw.SHARD + 1):
            taken.append(number)
            yield number

    shards = raw.sharded(items())
    first = next(shards)
    assert next(first) == 0 and taken == [0]
    assert sum(1 for _ in first) == raw.SHARD - 1
    assert [list(shard) for shard in shards] == [[raw.SHARD]]
    assert [list(shard) for shard in raw.sharded([])] == [[]]


def test_the_stage_names_its_verb():
    assert STAGE.verb == "pipeline.collect.collect:run" and STAGE.reads == ()
