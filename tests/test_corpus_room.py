"""The whole room on a tiny dirty web: what stays, what goes and why, balanced books, and a killed run that resumes."""

import gzip
import json
import os
import random
import signal
import subprocess
import sys
import time
from io import BytesIO
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

from pipeline.corpus import funnel
from pipeline.corpus.build import run
from pipeline.corpus.recipe import STAGE, Recipe
from pipeline.stage import Job, UserError

ROOT = Path(__file__).resolve().parent.parent
NAMES = "Anna Bruno Clara David Emma Felix Greta Hugo Ida Jonas Karla Lars Mona Nils Olga Paul".split()  # noqa: SIM905
ANIMALS = "fox bear rabbit owl mouse badger hedgehog otter squirrel duck goose beaver mole deer".split()  # noqa: SIM905
PLACES = "forest river meadow village mountain garden harbour castle market island valley barn".split()  # noqa: SIM905
THINGS = "lantern kite basket violin blanket compass whistle ladder teapot drum boat mirror".split()  # noqa: SIM905
VERBS = "found lost borrowed painted mended dropped carried hid wrapped washed polished traded".split()  # noqa: SIM905
FEELINGS = "happy sleepy curious worried brave lonely proud hungry cheerful nervous calm".split()  # noqa: SIM905


def story(number: int) -> str:
    """A clean text of some 90 words, unlike the others."""
    rng = random.Random(f"story/{number}")
    lines = [f"{rng.choice(NAMES)} the {rng.choice(ANIMALS)} lived near the {rng.choice(PLACES)} with a friend."]
    for _ in range(7):
        lines.append(
            f"One day the {rng.choice(FEELINGS)} {rng.choice(ANIMALS)} {rng.choice(VERBS)} a {rng.choice(FEELINGS)} "
            f"{rng.choice(THINGS)} and took that {rng.choice(THINGS)} to the {rng.choice(PLACES)}."
        )
    return " ".join(lines)


def write_jsonl(path: Path, rows: list[dict]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def page(text: str) -> str:
    paragraphs = "".join(f"<p>{part.strip()}.</p>" for part in text.split(".") if part.strip())
    return (
        "<html><head><title>Tales</title></head><body><nav><ul><li><a href='/'>Home</a></li><li><a href='/a'>About"
        f"</a></li></ul></nav><article>{paragraphs}</article><footer>Copyright, all rights reserved</footer></body>"
        "</html>"
    )


def write_warc(path: Path, pages: list[tuple[str, str]]) -> None:
    path.parent.mkdir(parents=True)
    with path.open("wb") as file:
        writer = WARCWriter(file, gzip=True)
        for url, html in pages:
            http = StatusAndHeaders("200 OK", [("Content-Type", "text/html; charset=utf-8")], protocol="HTTP/1.1")
            writer.write_record(
                writer.create_warc_record(url, "response", payload=BytesIO(html.encode()), http_headers=http)
            )


def toy(folder: Path, clean: int = 60) -> Path:
    """A collect artifact: clean stories in three formats and one or two pieces of dirt of each kind."""
    raw = folder / "raw"
    texts = {f"clean-{n}": story(n) for n in range(clean)}
    feed = [{"id": name, "text": text} for name, text in list(texts.items())[: clean // 2]]
    pages = [(f"http://tales.example/{name}", page(text)) for name, text in list(texts.items())[clean // 2 :]]
    words = story(1000).split()
    words[40] = "umbrella"
    leak = story(1002)
    dirty = [
        {"id": "copy", "text": "  " + story(0).replace(". ", ".\n")},
        {"id": "near-a", "text": story(1000)},
        {"id": "near-b", "text": " ".join(words)},
        {"id": "french", "text": "Il était une fois un petit renard qui vivait dans la forêt avec sa mère. " * 2},
        {"id": "short", "text": "The little fox was too short."},
        {"id": "private", "text": story(1001) + " Write to anna.fox@tales.example or call 555-0134-221."},
        {"id": "machine", "text": "As an AI language model, I cannot feel. " + story(1003)},
        {"id": "leak", "text": story(1004) + " " + leak},
        {"id": "twice", "text": story(1005) + "\n\n" + story(1005)},
        {"id": "mojibake", "text": story(1006) + " The cafÃ© was â€œopenâ€\x9d."},
    ]
    write_jsonl(raw / "feed" / "a.jsonl", feed + dirty)
    with (raw / "feed" / "a.jsonl").open("ab") as file:
        file.write(
            b'{"id": "cut", "text": "no end\n[1, 2]\n{"id": "number", "text": 5}\n{"id": "bad", "text": "\xff"}\n'
        )
    write_warc(raw / "web" / "00000.warc.gz", pages)
    (raw / "books").mkdir()
    (raw / "books" / "one.txt").write_bytes(story(2000).encode())
    (raw / "books" / "empty.txt").write_bytes(b"  \n")
    (raw / "sources.json").write_text(
        json.dumps(
            [
                {"name": name, "kind": kind, "path": name, "licence": "CC0-1.0", "weight": 1.0}
                for name, kind in (("feed", "jsonl"), ("web", "warc"), ("books", "text"))
            ]
        )
    )
    write_jsonl(folder / "evaluation" / "tales.jsonl", [{"id": "item-1", "text": leak}])
    return folder


TOY = {
    "quality": {"gopher_quality": {"min_doc_words": 20}},
    "safety": None,
    "tasks": 2,
    "workers": 1,
    "heldout_share": 0.1,
    "shard_documents": 40,
}


def job(collect: Path, out: Path, **keys: object) -> Job:
    out.mkdir(parents=True, exist_ok=True)
    recipe = Recipe.model_validate_json(json.dumps({**TOY, **keys}))
    return Job(stage="corpus", recipe=recipe, out=out, inputs={"collect": collect}, seed=0, run_name="toy")


def kept(out: Path, split: str = "*") -> dict[str, dict]:
    return {
        row["id"]: row for path in sorted(out.glob(f"{split}/*.parquet")) for row in pq.read_table(path).to_pylist()
    }


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, float]]:
    folder = tmp_path_factory.mktemp("corpus")
    out = folder / "out"
    return out, run(job(toy(folder / "collect"), out))


def test_every_document_is_kept_dropped_or_lost(built):
    out, metrics = built
    dropped = [json.loads(line) for line in (out / "dropped.jsonl").read_text().splitlines()]
    assert metrics["documents_read"] == 60 + 10 + 4 + 2
    assert metrics["documents_read"] == len(kept(out)) + len(dropped)
    assert metrics["documents_kept"] == len(kept(out))
    assert metrics["documents_lost"] == metrics["lost_bad_json"] + metrics["lost_no_text"] == 4


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("copy", "exact_copy"),
        ("near-b", "near_copy"),
        ("french", "language"),
        ("short", "gopher_short_doc"),
        ("leak", "leak_tales"),
        ("empty.txt", "empty"),
        ("number", "lost_no_text"),
    ],
)
def test_dirt_is_dropped_for_its_reason(built, name, reason):
    out, _ = built
    rows = {row["id"]: row for row in map(json.loads, (out / "dropped.jsonl").read_text().splitlines())}
    assert rows[name]["reason"] == reason
    steps = {"language": "language", "exact_copy": "dedup", "lost_no_text": "read feed"}
    assert rows[name]["source"] == ("books" if name == "empty.txt" else "feed")
    assert rows[name]["step"] == steps.get(reason, rows[name]["step"])
    assert name not in kept(out)


def test_clean_documents_stay_as_they_are(built):
    out, _ = built
    texts = kept(out)
    for number in range(30):
        assert texts[f"clean-{number}"]["text"] == story(number)
    for number in range(30, 60):
        found = texts[f"http://tales.example/clean-{number}"]
        assert found["text"].split() == story(number).split()
        assert (found["source"], found["licence"]) == ("web", "CC0-1.0")
        assert found["url"] == found["id"]


def test_edits_in_place_leave_the_rest(built):
    texts = {name: row["text"] for name, row in kept(built[0]).items()}
    assert texts["private"].endswith("Write to <email> or call <phone>.")
    assert texts["machine"] == story(1003)
    assert texts["twice"] == story(1005)
    assert "café was “open”" in texts["mojibake"]


def test_held_out_and_train_share_nothing(built):
    out, metrics = built
    train, heldout = kept(out, "train"), kept(out, "heldout")
    assert not set(train) & set(heldout)
    assert 0 < len(heldout) == metrics["documents_heldout"] < len(train)
    assert len(list(out.glob("train/*.parquet"))) == 2


def test_certificate_names_items_match_and_files(built):
    out, _ = built
    certificate = json.loads((out / "certificates" / "tales.json").read_text())
    assert certificate["matches"][0]["document"] == "leak"
    assert certificate["documents_matched_and_dropped"] == 1
    assert set(certificate["corpus_files_sha256"]) == {
        p.relative_to(out).as_posix() for p in out.glob("*/*.parquet")
    }  # fmt: skip


def test_funnel_runs_from_read_to_kept(built):
    out, metrics = built
    rows = json.loads((out / "funnel.json").read_text())
    assert sum(row["read"] for row in rows if row["step"].startswith("read ")) == metrics["documents_read"]
    assert rows[-1]["kept"] == metrics["documents_kept"]
    assert all(row["read"] == row["kept"] + sum(row["dropped"].values()) for row in rows)
    assert {row["step"]: row["edited"] for row in rows}["privacy"] == {"email": 1, "phone": 1}


def test_the_card_says_what_is_in_it_and_what_went(built):
    out, metrics = built
    text = (out / "card.md").read_text()
    assert f"{int(metrics['documents_read'])} documents were read, {int(metrics['documents_kept'])} kept" in text
    (web,) = (line for line in text.splitlines() if line.startswith("| web | en | CC0-1.0 |"))
    size = sum(len(row["text"].encode()) for row in kept(out).values() if row["source"] == "web")
    assert web.split(" | ")[3:5] == ["30", f"{size / 1e6:.2f}"]
    (privacy,) = (line for line in text.splitlines() if line.startswith("| privacy |"))
    assert "| email 1, phone 1 |" in privacy
    assert "| tales | 1 | 13 | 1 |" in text
    assert "was not measured here" in text


def payload(out: Path) -> dict[str, bytes]:
    """The bytes that must not depend on how the work was done (funnel and card also hold seconds)."""
    return {
        p.relative_to(out).as_posix(): p.read_bytes()
        for p in sorted(out.rglob("*"))
        if p.is_file() and "resume" not in p.parts and p.name not in ("funnel.json", "card.md")
    }


def test_tasks_and_workers_do_not_change_a_byte(built, tmp_path):
    out, _ = built
    run(job(out.parent / "collect", tmp_path / "other", tasks=3, workers=2))
    assert payload(tmp_path / "other") == payload(out)


def test_killed_run_redoes_only_unfinished_tasks_and_ends_in_the_same_bytes(built, tmp_path):
    out, _ = built
    collect, other = out.parent / "collect", tmp_path / "killed"
    other.mkdir()
    program = (
        "import json,sys,time; from pathlib import Path\n"
        "from pipeline.corpus import repair\n"
        "from pipeline.corpus.build import run\nfrom pipeline.corpus.recipe import Recipe\n"
        "from pipeline.stage import Job\n"
        "slow = repair.tidy\n"
        "repair.tidy = lambda text: (time.sleep(0.02), slow(text))[1]\n"
        "run(Job(stage='corpus', recipe=Recipe.model_validate_json(sys.argv[1]), out=Path(sys.argv[3]),"
        " inputs={'collect': Path(sys.argv[2])}, seed=0, run_name='toy'))\n"
    )
    killed = subprocess.Popen(
        [sys.executable, "-c", program, json.dumps(TOY), str(collect), str(other)],
        cwd=ROOT,
        start_new_session=True,
        stderr=subprocess.DEVNULL,
    )
    marks = "resume/*/clean.log/completions/*"
    while not list(other.glob(marks)):
        assert killed.poll() is None, "the run ended before it could be killed"
        time.sleep(0.02)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    (first,) = other.glob(marks)
    written = first.stat().st_mtime_ns
    run(job(collect, other))
    assert first.stat().st_mtime_ns == written
    assert payload(other) == payload(out)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: (c / "raw/sources.json").unlink(), "sources.json is missing"),
        (
            lambda c: (c / "raw/books/one.txt").rename(c / "x") and (c / "raw/books/empty.txt").unlink(),
            "no file under",
        ),
        (lambda c: rewrite(c, name="feed"), "two sources are called 'feed'"),
        (lambda c: rewrite(c, kind="pdf"), "unknown kind 'pdf'"),
        (lambda c: (c / "evaluation/tales.jsonl").write_text("{}\n"), "line 1: no item"),
    ],
)
def test_bad_collect_artifact_is_one_clear_message(tmp_path, change, message):
    collect = toy(tmp_path / "collect", clean=4)
    change(collect)
    with pytest.raises(UserError, match=message):
        run(job(collect, tmp_path / "out"))


def rewrite(collect: Path, **keys: str) -> None:
    path = collect / "raw/sources.json"
    rows = json.loads(path.read_text())
    rows[1] |= keys
    path.write_text(json.dumps(rows))


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"languages": ["klingon"]}, "unknown klingon"),
        ({"quality": {"c4": {"min_words": 1}}}, "C4QualityFilter takes no 'min_words'"),
        ({"safety": {"labels": ["spam"]}}, "labelled.jsonl"),
        ({"quality": {"gopher_quality": {"min_doc_words": 100000}}}, "not one document was kept"),
    ],
)
def test_recipe_that_cannot_work_is_one_clear_message(tmp_path, keys, message):
    with pytest.raises(UserError, match=message):
        run(job(toy(tmp_path / "collect", clean=4), tmp_path / "out", **keys))


def test_truncated_archives_are_counted(tmp_path):
    collect = toy(tmp_path / "collect")
    warc = collect / "raw/web/00000.warc.gz"
    warc.write_bytes(warc.read_bytes()[:-700])
    feed = collect / "raw/feed/b.jsonl.gz"
    feed.write_bytes(
        gzip.compress(b"".join(json.dumps({"text": story(n)}).encode() + b"\n" for n in range(3000, 3100)))[:-200]
    )
    metrics = run(job(collect, tmp_path / "out"))
    assert metrics["lost_broken_file"] == 2
    assert metrics["documents_read"] == metrics["documents_kept"] + metrics["documents_lost"] + sum(
        value for key, value in metrics.items() if key.startswith("dropped_")
    )


def test_stage_reads_collect_only():
    assert (STAGE.name, STAGE.reads) == ("corpus", ("collect",))


def test_the_end_of_every_document_can_be_held_out(tmp_path):
    """For a corpus of one long text: head and end together are the text, and the books balance."""
    texts = {"long": story(1) * 10, "tiny": "a"}
    write_jsonl(tmp_path / "collect" / "raw" / "feed" / "0.jsonl", [{"id": k, "text": v} for k, v in texts.items()])
    (tmp_path / "collect" / "raw" / "sources.json").write_text(
        json.dumps([{"name": "feed", "kind": "jsonl", "path": "feed", "licence": "CC0-1.0", "weight": 1.0}])
    )
    plain = {"quality": {}, "languages": None, "repair": False, "boilerplate": False, "privacy": []}
    apart = {"dedup": {"exact": False, "near": None, "passages": False}, "decontaminate_ngram": None}
    keys = {**plain, **apart, "heldout": "ends", "heldout_share": 0.25}
    metrics = run(job(tmp_path / "collect", tmp_path / "out", **keys))
    train, heldout = kept(tmp_path / "out", "train"), kept(tmp_path / "out", "heldout")
    assert train["long"]["text"] + heldout["long"]["text"] == texts["long"]
    assert len(train["long"]["text"]) == int(len(texts["long"]) * 0.75)
    assert train["tiny"]["text"] == "a" and "tiny" not in heldout
    assert (metrics["documents_read"], metrics["documents_kept"], metrics["documents_heldout"]) == (2, 2, 1)


def test_a_corpus_whose_documents_are_held_out_whole_has_the_fingerprint_that_it_had():
    assert "heldout" not in Recipe().hashed()
    assert Recipe(heldout="ends").hashed()["heldout"] == "ends"


def test_more_ledgers_than_files_may_be_open_are_merged_in_reading_order(tmp_path, monkeypatch):
    monkeypatch.setattr(funnel, "FILES", 3)
    for step in range(4):
        for rank in range(5):
            rows = [{"place": place, "id": f"{step}.{rank}.{place}"} for place in range(rank, 20, 5)]
            write_jsonl(tmp_path / f"{step:02d}_step {step}" / f"{rank:05d}.jsonl", rows)
    found = [(row["place"], row["step"], row["id"]) for row in funnel.ledger_rows(tmp_path)]
    assert found == [(p, f"step {s}", f"{s}.{p % 5}.{p}") for p in range(20) for s in range(4)]
