"""Recipes as they ship: web on archives and pages that the test writes and on real ones where they lie beside us; no
step that storyworld or pydocs leaves off without a word."""

import json
from io import BytesIO
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

from pipeline.chain import CHAIN
from pipeline.collect import collect
from pipeline.corpus import build
from pipeline.corpus.recipe import Dedup, Quality
from pipeline.recipe import load
from pipeline.stage import Job
from tests.test_corpus_room import page, story

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT.parent / "shared" / "data"
FRENCH = "Il était une fois un petit renard qui vivait dans la forêt avec sa mère et ses deux frères. " * 8


def make(folder: Path, web: Path, monkeypatch: pytest.MonkeyPatch, **keys: int) -> dict[str, float]:
    """Runs both stages; the metrics of both."""
    monkeypatch.setenv("WEB", str(web))
    stages = load("web", CHAIN).own
    metrics: dict[str, float] = {}
    for name, verb in (("collect", collect.run), ("corpus", build.run)):
        (folder / name).mkdir(parents=True)
        recipe = stages[name].model_copy(update=keys if name == "corpus" else {})
        inputs = {"collect": folder / "collect"} if name == "corpus" else {}
        metrics |= verb(Job(stage=name, recipe=recipe, out=folder / name, inputs=inputs, seed=0, run_name="web"))
    return metrics


def archive(path: Path, records: list[tuple[str, str, str, bytes]]) -> None:
    """A WARC file of (address, status, media type, body), each with the crawler's request before it."""
    with path.open("wb") as file:
        writer = WARCWriter(file, gzip=True)
        for url, status, media, body in records:
            head = StatusAndHeaders("GET / HTTP/1.1", [("Host", "tales.example")], is_http_request=True)
            writer.write_record(writer.create_warc_record(url, "request", http_headers=head))
            http = StatusAndHeaders(status, [("Content-Type", media)], protocol="HTTP/1.1")
            writer.write_record(writer.create_warc_record(url, "response", payload=BytesIO(body), http_headers=http))


def test_archives_and_pages_become_clean_parquet(tmp_path, monkeypatch):
    web = tmp_path / "web"
    web.mkdir()
    records = [(f"http://tales.example/{n}", "200 OK", "text/html", page(story(n)).encode()) for n in range(6)]
    records += [
        ("http://tales.example/gone", "404 Not Found", "text/html", page(story(50)).encode()),
        ("http://tales.example/logo", "200 OK", "image/png", b"\x89PNG"),
        ("http://tales.example/fr", "200 OK", "text/html", page(FRENCH).encode()),
        ("http://tales.example/short", "200 OK", "text/html", page("The fox was here. It went home again.").encode()),
        ("http://tales.example/copy", "200 OK", "text/html", page(story(0)).encode()),
    ]
    archive(web / "crawl.warc.gz", records)
    (web / "saved.html").write_text(page(story(60)), encoding="utf-8")
    (web / "style.css").write_text("body {}", encoding="utf-8")
    metrics = make(tmp_path / "out", web, monkeypatch, tasks=1, workers=1)
    assert metrics["web_passed_over_.css"] == 1
    assert metrics["documents_read"] == 12 and metrics["skipped_request"] == 11
    assert {name: n for name, n in metrics.items() if name.startswith(("dropped_", "lost_"))} == {
        "dropped_http_status": 1, "dropped_media_type": 1, "dropped_language": 1, "dropped_too_few_sentences": 1,
        "dropped_exact_copy": 1,
    }  # fmt: skip
    rows = [row for path in (tmp_path / "out/corpus").glob("*/*.parquet") for row in pq.read_table(path).to_pylist()]
    assert {row["id"] for row in rows} == {f"http://tales.example/{n}" for n in range(6)} | {"saved.html"}
    assert all("rights reserved" not in row["text"] and row["language"] == "en" for row in rows)


@pytest.mark.timeout(600)
@pytest.mark.skipif(not DATA.is_dir(), reason="the sets of real data are not on this machine")
def test_the_figures_in_its_readme_are_those_of_the_real_data(tmp_path, monkeypatch):
    columns = []
    for name in ("warc", "wcxb_dev"):
        metrics = make(tmp_path / name, DATA / name, monkeypatch)
        funnel = {row["step"]: row for row in json.loads((tmp_path / name / "corpus/funnel.json").read_text())}
        gone = {step: sum(row["dropped"].values()) for step, row in funnel.items()}
        columns.append(
            [
                metrics["documents_read"],
                sum(n for key, n in metrics.items() if key.startswith("skipped_")),
                metrics["documents_lost"],
                gone["read web"] - metrics["documents_lost"] + gone["extract"],
                gone["language"],
                sum(gone[step] for step in ("c4", "gopher_quality", "gopher_repetition", "fineweb")),
                gone["dedup"],
                metrics["documents_kept"],
            ]
        )
    table = (ROOT / "recipes/web/README.md").read_text(encoding="utf-8").partition("|---|")[2].splitlines()[1:9]
    shown = [[int(cell.strip(" *").replace(",", "")) for cell in line.split("|")[2:4]] for line in table]
    assert shown == [list(row) for row in zip(*columns, strict=True)]


@pytest.mark.parametrize("name", ["storyworld", "pydocs"])
def test_a_step_that_is_off_says_why(name):
    recipe = load(name, CHAIN).own["corpus"]
    switches = {
        **{step: getattr(recipe.quality, step) for step in Quality.model_fields},
        **{step: getattr(recipe.dedup, step) for step in Dedup.model_fields},
        **{step: getattr(recipe, step) for step in ("languages", "repair", "boilerplate", "privacy", "safety")},
        "coarse_share": recipe.safety.coarse_share if recipe.safety else None,
        "decontaminate_ngram": recipe.decontaminate_ngram,
    }
    off = {step for step, value in switches.items() if value in (None, False, ())}
    lines = (ROOT / "recipes" / name / "corpus.yaml").read_text(encoding="utf-8").splitlines()
    assert {step for step in off if not any(step in line and "#" in line for line in lines)} == set()
    assert off <= {"classifier", "c4", "gibberish_share", "passages"}
