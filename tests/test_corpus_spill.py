"""The shuffle's buckets: few files and little memory however many there are; a killed task leaves nothing double."""

import random
import resource
import tracemalloc
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datatrove.data import Document

from pipeline.corpus import shuffle, spill
from pipeline.corpus.build import run
from tests.test_corpus_room import job, payload, toy

FILES = 12  # that the run may open beside those which are open already


def texts(out):
    return [row["text"] for path in sorted((out / "train").iterdir()) for row in pq.read_table(path).to_pylist()]


@pytest.fixture
def few_files():
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(list(Path("/proc/self/fd").iterdir())) + FILES, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    run(job(toy(folder / "collect"), folder / "out"))
    return folder


def test_there_may_be_more_shards_than_files_that_a_process_may_open(built, tmp_path, few_files):
    run(job(built / "collect", tmp_path, shard_documents=1))
    assert len(list((tmp_path / "train").iterdir())) > 2 * FILES
    assert texts(tmp_path) == texts(built / "out")  # the same order, cut elsewhere


def test_a_buffer_that_is_written_often_changes_no_byte(built, tmp_path, monkeypatch):
    monkeypatch.setattr(spill, "BUFFER", 5 * spill.ROW)
    run(job(built / "collect", tmp_path))
    assert payload(tmp_path) == payload(built / "out")


def test_what_is_held_does_not_grow_with_the_documents(tmp_path, monkeypatch):
    held = []
    append = spill.Spill.append
    monkeypatch.setattr(spill, "BUFFER", 10 * (spill.ROW + 1))
    monkeypatch.setattr(
        spill.Spill,
        "append",
        lambda self, rows, name: (held.append(sum(map(len, rows.values()))), append(self, rows, name)),
    )
    list(step(tmp_path).run(Document("x", str(n), metadata={"bucket": f"train-{n:05d}"}) for n in range(35)))
    assert held == [10, 10, 10, 5]


def step(folder):
    schema = pa.schema([("id", pa.string()), ("text", pa.string())])
    return spill.Spill(folder, schema, lambda document: {"id": document.id, "text": document.text})


def test_what_a_killed_task_dealt_is_dealt_anew(tmp_path):
    documents = [Document(f"text {n}", str(n), metadata={"bucket": f"train-{n % 2:05d}"}) for n in range(6)]

    def dealt():
        buckets = [spill.rows(tmp_path / f"train-0000{number}") for number in range(2)]
        return ["".join(row["id"] for row in rows) for rows in buckets]

    assert [doc.id for doc in step(tmp_path).run(iter(documents[:5]))] == ["0", "1", "2", "3", "4"]
    list(step(tmp_path).run(iter(documents), rank=1, world_size=2))
    assert dealt() == ["024024", "13135"]
    list(step(tmp_path).run(iter(documents)))
    assert dealt() == ["024024", "135135"]


def test_what_was_read_of_a_file_is_let_go(tmp_path):
    rng = random.Random(0)
    rows = [
        {"place": n, "copy": 0, **dict.fromkeys(shuffle.TEXTS, ""), "id": str(n), "text": rng.randbytes(250_000).hex()}
        for n in range(24)
    ]
    with pq.ParquetWriter(tmp_path / "00000.parquet", shuffle.CLEAN, compression="zstd") as writer:
        for row in rows:
            writer.write_batch(pa.RecordBatch.from_pylist([row], schema=shuffle.CLEAN))
    expected = [(row["id"], row["place"]) for row in rows]
    del rows
    tracemalloc.start()
    found = [(doc.id, doc.metadata["place"]) for doc in shuffle.reader(tmp_path).run()]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found == expected
    assert peak < 5_000_000  # bytes; the file has 6,000,000
