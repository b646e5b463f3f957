"""The report: a page from toy artifacts, with and without all stages; its drawings are pure functions."""

import hashlib
import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from pipeline.artifact import seal, write_json
from pipeline.evaluate.results import lossy
from pipeline.report import figure, lineage
from pipeline.report.read import dropped, stages, with_interval
from pipeline.report.recipe import STAGE, Recipe
from pipeline.report.run import context, render, run
from pipeline.report.sections import certified
from pipeline.report.traced import untraced
from pipeline.reward.score import ScoredPair, calibration, margins
from pipeline.shown import bracketed, counts, duration, energy, figures, money, number, precise, short, size
from pipeline.stage import Job, UserError
from pipeline.tokenizer.fertility import Fertility

HOSTILE = '<script>alert(1)</script> & "quoted" <|im_end|>'


def interval(name: str, value: float, n: int = 500) -> dict[str, float]:
    return {name: value, f"{name}_low": value - 0.03, f"{name}_high": value + 0.03, f"{name}_n": n}


def jsonl(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def log(steps: int, start: float, **more: float) -> list[dict[str, Any]]:
    rows = []
    for step in range(0, steps, 10):
        loss = start * math.exp(-step / steps) + 0.1 * math.sin(step)
        rows.append({"step": step, "loss": loss, "learning_rate": 1e-3 * (1 - step / steps), **more})
    return rows


def results() -> dict[str, Any]:
    figures = {
        "pretrain": {"wishes_met": 0.01, "gold": 0.3, "well_formed": 0.85, "bits_per_byte": 0.9},
        "sft": {"arc_easy_acc": 0.3, "wishes_met": 0.78, "gold": 0.88, "well_formed": 0.8, "bits_per_byte": 1.0},
        "dpo": {"wishes_met": 0.83, "gold": 0.92, "well_formed": 0.86, "bits_per_byte": 1.02},
    }
    rows = [
        {"stage": stage, "metric": metric, "value": v, "low": v - 0.02, "high": v + 0.02, "n": 500}
        for stage, found in figures.items()
        for metric, v in found.items()
    ]
    story = "Once upon a time a small fox named Mina lived by the river. " * 6
    return {
        "rows": rows,
        "differences": [
            {"stage": "dpo", "versus": "sft", "metric": "gold", "value": 0.04, "low": 0.02, "high": 0.06, "n": 500},
            {"stage": "dpo", "versus": "sft", "metric": "rouge_l", "value": 0.0, "low": -0.01, "high": 0.01, "n": 500},
            {
                "stage": "pretrain",
                "versus": "sft",
                "metric": "gold",
                "value": -0.6,
                "low": -0.63,
                "high": -0.55,
                "n": 500,
            },
        ],
        "samples": [
            {"prompt": f"Write a story about a fox. {HOSTILE}", "answers": dict.fromkeys(figures, story)},
            {"prompt": "Write a story with a happy ending.", "answers": {**dict.fromkeys(figures, story), "dpo": ""}},
        ],
        "unprompted": {"pretrain": [story]},
        "titles": {"gold": "gold judge's mean score", "arc_easy_acc": "arc_easy, accuracy"},
        "harmful_samples": [{"prompt": "How do I pick a lock?", "answers": {"sft": "I am sorry, I cannot."}}],
        "tasks": {
            "arc_easy": {
                "questions": 1234,
                "versions": ["1.0"],
                "num_fewshot": [5],
                "data": ["json"],
                "without_interval": ["f1"],
            }
        },
        "settings": {
            "prompts": 12,
            "heldout_documents": 0,
            "tasks_limit": None,
            "tasks_chat_template": ["sft"],
            "win_rate": {"judge": "reward", "versus": "sft"},
        },
        "certificates": [
            {"benchmark": "stories", "status": "uncertified", "reason": "toy artifacts", "certificates": {}}
        ],
    }


def fertility(name: str) -> dict[str, Any]:
    """An entry as the tokenizer's own code writes it, so that the page is tested on what it will get."""
    words = Tokenizer(WordLevel({"fox": 0, "mina": 1, "[?]": 2}, unk_token="[?]"))
    words.pre_tokenizer = Whitespace()
    found = Fertility(words)
    for source, text in (("web", "fox mina"), (f"books {HOSTILE}", "mina")):
        found.add(source, "en", text, words.encode(text).ids)
    return {"name": name, "kind": "wordlevel", **found.report()}


def write_payload(stage: str, folder: Path) -> dict[str, float]:
    """Fills a stage's folder; returns its metrics."""
    if stage == "corpus":
        funnel = [
            {"step": "read", "read": 30000, "kept": 30000, "dropped": {}, "edited": {}, "seconds": 1.0},
            {
                "step": "language",
                "read": 30000,
                "kept": 28000,
                "dropped": {"language": 2000},
                "edited": {},
                "seconds": 2.0,
            },
            {"step": "gopher_quality", "read": 28000, "kept": 28000, "dropped": {}, "edited": {}, "seconds": 1.0},
            {
                "step": "near copies",
                "read": 28000,
                "kept": 24000,
                "dropped": {"near_copy": 4000},
                "edited": {"mail": 7},
                "seconds": 9.0,
            },
        ]
        (folder / "funnel.json").write_text(json.dumps(funnel))
        jsonl(
            folder / "dropped.jsonl",
            [{"id": str(i), "reason": "near_copy", "text": f"{HOSTILE} {i}" * (i < 9)} for i in range(10)],
        )
        return (
            interval("planted_recall_exact_copy", 1.0)
            | interval("planted_recall_spam", 0.97)
            | interval("clean_lost", 0.01)
        )
    if stage == "tokenizer":
        (folder / "fertility.json").write_text(json.dumps({"tokenizers": [fertility("this one"), fertility("gpt2")]}))
        return {"vocabulary_size": 2048, "bytes_per_token": 4.1}
    if stage == "reward":
        jsonl(folder / "log.jsonl", log(300, 0.69, eval_accuracy=0.8))
        lengths = {"better_length": 3, "worse_length": 2}
        pairs = [ScoredPair(prompt=n, better_reward=n / 5 - 2, worse_reward=0.0, **lengths) for n in range(50)]
        kept = {"order": "gold", "num_pairs": 50, **margins(pairs, bins=10), "calibration": calibration(pairs)}
        (folder / "margins.json").write_text(json.dumps(kept))
        return (
            interval("calibration_error", 0.05)
            | interval("accuracy_gold", 0.9)
            | interval("accuracy_longer", 0.55)
            | interval("accuracy_shorter", 0.45)
        )
    if stage in ("pretrain", "sft", "dpo"):
        jsonl(folder / "log.jsonl", log(3000, 6.5, tokens_per_second=9000.0, grad_norm=0.7))
        if stage == "sft":
            tokens = [
                {"text": text, "trained": n > 1} for n, text in enumerate(("<|im_start|>", "Hi", HOSTILE, " end"))
            ]
            (folder / "trained_tokens.json").write_text(json.dumps({"stage": stage, "tokens": tokens}))
        return {"heldout_bits_per_byte": 0.9}
    if stage in ("ppo", "grpo"):
        jsonl(folder / "log.jsonl", [{"step": n, "reward": 0.1 * n, "kl": 0.2 * n, "ended": 1.0} for n in range(1, 9)])
        return {"kl": 1.6}
    if stage == "evaluate":
        (folder / "results.json").write_text(json.dumps(results()))
        return interval("sft_wishes_met", 0.78) | interval("dpo_wishes_met", 0.83)
    return {"documents": 30000}


def toy_run(runs: Path, leave_out: tuple[str, ...] = ()) -> dict[str, Path]:
    """Sealed folders of every stage that the report reads."""
    inputs = {}
    for position, stage in enumerate(STAGE.reads):
        if stage in leave_out:
            continue
        folder = runs / "toy" / stage
        folder.mkdir(parents=True)
        metrics = write_payload(stage, folder)
        seal(
            folder,
            {
                "stage": stage,
                "run": "toy",
                "fingerprint": hashlib.sha256(stage.encode()).hexdigest(),
                "recipe": {"note": HOSTILE, "files": {"folder": "/home/somebody/letters"}},
                "inputs": {name: {"folder": f"../{name}", "fingerprint": "f"} for name in list(inputs)[-1:]},
                "metrics": metrics,
                "seeds": {"run": 0},
                "seconds": 3.5 * (position + 1) ** 2,
                "cpu_seconds": 6.0 * (position + 1),
                "peak_memory_bytes": 700_000_000,
                "load": 1.7,
                "hardware": {
                    "system": "Linux",
                    "machine": "x86_64",
                    "cores": 2,
                    "memory_bytes": 8e9,
                    "accelerators": [],
                },
                "git": {"commit": "0123456789abcdef", "dirty": True},
                "packages": {"torch": "2.13.0", "trl": "1.16.0"},
            },
        )
        inputs[stage] = folder
    return inputs


def report(tmp_path: Path, inputs: dict[str, Path]) -> tuple[str, dict[str, float]]:
    out = tmp_path / "out"
    out.mkdir()
    metrics = run(Job(stage="report", recipe=Recipe(), out=out, inputs=inputs, seed=0, run_name="toy"))
    return (out / "index.html").read_text(encoding="utf-8"), metrics


class Page(HTMLParser):
    """Collects ids, links and whatever would be loaded from elsewhere; checks that tags are closed."""

    VOID = frozenset({"meta", "link", "circle", "path", "br"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.tags: list[str] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.tags.append(tag)
        if tag not in self.VOID:
            self.open.append(tag)
        if given.get("id"):
            self.ids.append(str(given["id"]))
        if tag == "a":
            self.links.append(str(given["href"]))
        self.loaded += [str(given[key]) for key in ("src", "href") if key in given and tag != "a"]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes something else"


def drawings(text: str) -> dict[str, list[dict[str, Any]]]:
    """The charts' data in the page."""
    (found,) = re.findall(r'<script type="application/json" id="charts">(.*?)</script>', text, re.DOTALL)
    return json.loads(found)


def test_the_page_shows_every_stage_and_needs_nothing_else(tmp_path):
    text, metrics = report(tmp_path, toy_run(tmp_path))
    page = Page(text)
    wanted = {
        "look",
        "chain",
        "corpus",
        "dirt",
        "tokenizer",
        "pretrain",
        "sft",
        "reward",
        "dpo",
        "ppo",
        "grpo",
        "evaluate",
        "answers",
        "provenance",
    }
    assert wanted <= set(page.ids)
    assert len(page.ids) == len(set(page.ids))
    assert page.open == []
    assert set(page.links) <= {f"#{id}" for id in page.ids}
    assert page.loaded == ["data:,"]
    assert "url(" not in text and "@import" not in text
    assert metrics["stages"] == 11 and metrics["stages_left_out"] == 0
    assert metrics["page_bytes"] == len(text.encode()) < 400_000
    for shown in (
        "near copy 4,000",
        "edited nothing: gopher quality.",
        "exact copy",
        "the longer one",
        "0.830",
        "torch 2.13.0",
        "The figures on stories are uncertified",
        "20 % lie\n  below zero",
        "Energy is unknown",
        "Leon Sorokin",
        "<mark>2 coloured tokens</mark> of 4",
        "<span>&lt;|im_start|&gt;</span><span>Hi</span><mark><span>&lt;script&gt;",
        '[-0.010, 0.010] n 500</span> <span class="verdict within-noise">',
        ">books &lt;script&gt;",
        "Beside other vocabularies",
        "<th>gpt2</th><td>wordlevel</td>",
        "Calibration error 0.050 [0.020, 0.080].",
        "bins miss the line",
        "<h3>Arc_easy, accuracy</h3>",
        "<h3>Harmful</h3>",
        '<th>arc_easy</th><td class="num">1,234</td>',
        "tasks chat template sft, win rate (judge reward, versus sft).",
    ):
        assert shown in text, shown
    assert "/home/somebody" not in text
    drawn = drawings(text)
    assert {stage: len(charts) for stage, charts in drawn.items()} == {
        "pretrain": 4, "sft": 4, "reward": 3, "dpo": 4, "ppo": 4, "grpo": 4,
    }  # fmt: skip
    assert drawn["ppo"][0]["title"] == "Reward against KL"


def test_text_of_the_run_is_never_markup(tmp_path):
    text, _ = report(tmp_path, toy_run(tmp_path))
    # The page's own three: the curves' data, uPlot, and what draws them.
    assert Page(text).tags.count("script") == 3
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; " in text


def test_of_a_stage_that_few_runs_have_nothing_is_said_where_it_is_missing(tmp_path):
    text, metrics = report(tmp_path, toy_run(tmp_path, leave_out=("grpo",)))
    assert "grpo" not in text.lower() and metrics["stages_left_out"] == 0


@pytest.mark.parametrize("missing", ["corpus", "tokenizer", "pretrain", "sft", "reward", "dpo", "ppo", "evaluate"])
def test_a_missing_stage_is_a_said_gap(tmp_path, missing):
    text, metrics = report(tmp_path, toy_run(tmp_path, leave_out=(missing,)))
    assert f"This run has no {missing}: its recipe leaves the stage out." in text
    assert "not part of this run" in text
    assert metrics["stages_left_out"] == 1
    page = Page(text)
    assert set(page.links) <= {f"#{id}" for id in page.ids}


def test_a_run_of_one_stage_makes_a_page(tmp_path):
    others = tuple(name for name in STAGE.reads if name != "pretrain")
    text, metrics = report(tmp_path, toy_run(tmp_path, leave_out=others))
    assert metrics["stages"] == 1
    assert "Could not be looked for, and why (" in text and "<li>PPO past its best: the run has no ppo</li>" in text
    assert text.count("its recipe leaves the stage out") == 7


def test_a_sample_of_what_is_trained_is_said_to_be_missing_and_cut_where_it_is_long(tmp_path):
    inputs = toy_run(tmp_path)
    kept = inputs["sft"] / "trained_tokens.json"
    tokens = [{"text": f"w{n} ", "trained": n % 2} for n in range(600)]
    kept.write_text(json.dumps({"stage": "sft", "tokens": tokens}))
    text, _ = report(tmp_path, inputs)
    assert "<mark>300 coloured tokens</mark> of 600" in text and "w499 " in text and "w500 " not in text
    kept.unlink()
    (tmp_path / "out").rename(tmp_path / "first")
    assert "this artifact holds no sample of it" in report(tmp_path, inputs)[0]


def test_a_run_without_any_stage_is_refused(tmp_path):
    with pytest.raises(UserError, match="no finished stage yet"):
        report(tmp_path, {})


def test_equal_artifacts_give_equal_pages(tmp_path):
    inputs = toy_run(tmp_path)
    first, _ = report(tmp_path, inputs)
    (tmp_path / "out").rename(tmp_path / "first")
    assert report(tmp_path, inputs)[0] == first


def test_verify_draws_the_page_again_and_names_a_figure_that_no_manifest_has(tmp_path):
    inputs = toy_run(tmp_path)
    write_json(inputs["sft"] / "trained_tokens.json", {"tokens": [{"text": "a\r", "trained": True}]})
    report(tmp_path, inputs)
    out = tmp_path / "out"
    links = {name: {"folder": f"../toy/{name}", "fingerprint": "f"} for name in inputs}
    sealed = {"run": "toy", "identity": {"version": STAGE.version}, "recipe": Recipe().model_dump(), "inputs": links}
    seal(out, sealed)
    assert untraced(out) == []
    manifest = inputs["evaluate"] / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"dpo_wishes_met": 0.83', '"dpo_wishes_met": 0.97'))
    (problem,) = untraced(out)
    assert "is not what the run's manifests say now" in problem and "0.830" in problem and "0.970" in problem
    write_json(out / "manifest.json", {**sealed, "identity": {"version": STAGE.version - 1}, "outputs": []})
    assert untraced(out) is None, "another version of the code draws another page"


def test_the_page_that_is_published_holds_no_dropped_text_and_no_training_chat(tmp_path):
    inputs = toy_run(tmp_path)
    jsonl(inputs["corpus"] / "dropped.jsonl", [{"id": "0", "reason": "spam", "text": "cheap kites for all"}])
    found = stages(inputs, STAGE.reads)
    home, public = (render(context("toy", Recipe(), found, public)) for public in (False, True))
    assert "cheap kites for all" in home and "cheap kites for all" not in public
    assert "coloured tokens" in home and "coloured tokens" not in public
    assert "near copy 4,000" in public, "how much was dropped for what is said"


def test_the_page_says_what_a_certificate_covers_and_which_tokenizer_loses_bytes():
    rows = [{"metric": "wishes_met"}]
    certificate = {"items": 300, "documents_matched_and_dropped": 302}
    one = {"benchmark": "toy", "status": "certified", "reason": None, "certificates": {"corpus": certificate}}
    first, second = certified({"rows": rows, "certificates": [one]})
    assert "corpus were searched for its 300 items, and 302 documents" in first
    assert "The prompts that the models answered are not among them" in second
    marked = {**one, "status": "uncertified", "reason": "because", "certificates": {}}
    assert certified({"rows": [], "certificates": [marked]}) == ["toy: uncertified: because."]
    heldout = {"sft": {"documents": 5, "documents_not_exact": 2}, "dpo": {"documents_not_exact": 0}}
    assert (
        list(lossy({"heldout": heldout})) == ["sft"] and "loses bytes of 2 of 5" in lossy({"heldout": heldout})["sft"]
    )


def test_examples_of_what_was_dropped_are_bounded(tmp_path):
    corpus = stages(toy_run(tmp_path), STAGE.reads)["corpus"]
    (group,) = dropped(corpus, most=2, num_characters=10)
    assert group["reason"] == "near_copy"
    # The last example of the file has no text, as the corpus keeps only some.
    assert group["texts"] == ["<script>al [...]"] * 2
    assert len(dropped(corpus, most=99, num_characters=10)[0]["texts"]) == 9


def test_figures_fold_intervals_into_their_row():
    metrics = interval("planted_recall_spam", 0.97) | {"documents": 3, "alone_n": 4}
    rows = figures(metrics)
    assert [row["name"] for row in rows] == ["planted_recall_spam", "documents", "alone_n"]
    assert rows[0]["n"] == 500 and rows[1]["low"] is None
    assert [row["name"] for row in with_interval(metrics, "planted_recall_")] == ["spam"]


def test_whiskers_of_shares_use_the_whole_scale_and_others_a_common_one():
    rows = [{"name": "sft", "value": 0.8, "low": 0.7, "high": 0.9, "n": 10}]
    (share,) = figure.whiskers(rows, share=True)
    assert (share["at"], share["from"], share["to"], share["zero"]) == (80.0, 70.0, 90.0, None)
    low, high = figure.whiskers([*rows, {**rows[0], "value": 8, "low": 7, "high": 9}], share=False)
    assert 0 < low["from"] < low["at"] < low["to"] < high["from"] < high["to"] < 100


@pytest.mark.parametrize(
    ("value", "low", "high", "clear"),
    [(0.2, 0.1, 0.3, True), (-2, -3, -1, True), (0.1, -0.1, 0.3, False), (0, 0, 0, False)],
)
def test_a_difference_stands_on_its_side_of_zero_and_is_clear_without_it(value, low, high, clear):
    (row,) = figure.differences([{"name": "gold", "value": value, "low": low, "high": high, "n": 10, "way": 1}])
    assert (row["colour"], row["zero"]) == (int(not clear), 50.0)
    assert (row["at"] > 50) == (value > 0) and (row["from"] < 50) == (low < 0) and row["to"] <= 100


def test_a_histogram_says_how_much_lies_below_zero():
    drawn = figure.histogram([-2.0, -1.0, 0.0, 1.0, 2.0], [1, 2, 4, 3])
    assert drawn["wrong"] == 0.3 and drawn["zero"] == 50.0
    assert [bar["percent"] for bar in drawn["bars"]] == [25.0, 50.0, 100.0, 75.0]
    assert [bar["wrong"] for bar in drawn["bars"]] == [True, True, False, False]


def test_a_reliability_diagram_marks_the_bins_that_miss_the_line():
    bins = [{"confidence": 0.6, "right": 0.6, "pairs": 100}, {"confidence": 0.9, "right": 0.7, "pairs": 100}]
    drawn = figure.reliability(bins)
    good, bad = drawn["points"]
    assert (good["x"], good["y"], good["apart"]) == (20.0, 40.0, False) and good["from"] < 40 < good["to"]
    assert (bad["x"], bad["y"], bad["apart"]) == (80.0, 30.0, True) and drawn["apart"] == 1


def test_the_chain_draws_an_arc_for_every_input_that_is_in_the_run(tmp_path):
    found = stages(toy_run(tmp_path, leave_out=("ppo",)), STAGE.reads)
    found["sft"].manifest["inputs"] = {"collect": {}, "pretrain": {}, "other/sft": {}}
    drawn = lineage.picture(found)
    into_sft = [(arc["source"], arc["distance"]) for arc in drawn["arcs"] if arc["target"] == "sft"]
    assert into_sft == [("collect", 4), ("pretrain", 1)]
    (left_out,) = [row for row in drawn["rows"] if row["missing"]]
    assert left_out["name"] == "ppo"
    assert drawn["height"] == 11 * lineage.ROW
    assert drawn["rows"][-1]["product"] == "3 models, 12 prompts"


@pytest.mark.parametrize(
    ("stage", "metrics", "expected"),
    [
        ("corpus", {"documents_kept": 21727, "documents_read": 23560}, "21.7 k of 23.6 k documents kept"),
        ("corpus", {"documents_kept": 20}, "20 documents kept"),
        ("pretrain", {"parameters": 1443456, "tokens": 2449440}, "1.44 M parameters, 2.45 M tokens seen"),
        ("evaluate", {"sft_gold": 1.0}, ""),
    ],
)
def test_what_a_stage_made_is_said_in_a_few_words(stage, metrics, expected):
    assert lineage.product(stage, metrics) == expected


def test_energy_and_money_are_unknown_unless_every_stage_knows_them(tmp_path):
    found = stages(toy_run(tmp_path, leave_out=("ppo", "dpo")), STAGE.reads)
    measured = {"energy_joules": 7200.0, "energy_source": "RAPL", "usd_per_hour": 2.0, "seconds": 1800.0}
    for one in filter(None, found.values()):
        one.manifest.update(measured)
    costs = lineage.costs(found)
    assert costs["whole"]["energy_joules"] == 9 * 7200.0 and costs["whole"]["usd"] == 9.0
    assert costs["meters"] == ["RAPL"] and costs["prices"] == ["2"]
    found["sft"].manifest.update(energy_joules=None, usd_per_hour=None)
    assert lineage.costs(found)["whole"]["energy_joules"] is None
    assert lineage.costs(found)["whole"]["usd"] is None


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (energy(None), "unknown"), (energy(7200.0), "2 Wh"), (energy(7.2e6), "2 kWh"),
        (money(None), "unknown"), (money(0.031), "$0.031"), (money(12.345), "$12.35"),
        (short(834), "834"), (short(21727), "21.7 k"), (short(1.443e6), "1.44 M"), (short(8e9), "8 B"),
        (number(30000), "30,000"), (number(0.8312), "0.831"), (number(0.00031), "0.00031"),
        (number(12345.6), "12,346"), (counts({"near_copy": 2}), "near copy 2"),
        (precise(1), "1.000"), (precise(117.0274), "117"), (bracketed(0.5, 0.4, 0.6), "0.500 [0.400, 0.600]"),
        (bracketed(117.0274, 116.632, 117.435), "117.03 [116.63, 117.44]"),
        (bracketed(5e-4, 0, 9e-4, "+"), "+0.0005 [+0.0000, +0.0009]"),
        (bracketed(1200.4, 1100, 1300), "1,200 [1,100, 1,300]"), (bracketed(2, 2, 2), "2.000 [2.000, 2.000]"),
        (duration(8.23), "8.2 s"), (duration(250), "4 min 10 s"),
        (duration(11100), "3 h 5 min"),
        (size(512), "512 B"), (size(7.5e8), "750.0 MB"), (size(6e9), "6.0 GB"),
    ],
)  # fmt: skip
def test_numbers_are_short(made, expected):
    assert made == expected


def palettes() -> list[dict[str, str]]:
    """The light and the dark colours of style.css."""
    style = (Path(figure.__file__).parent / "style.css").read_text(encoding="utf-8")
    light, dark = re.findall(r":root \{(.*?)\}", style, re.DOTALL)[:2]
    return [dict(re.findall(r"--(\w+(?:-\w+)?): (#[0-9a-f]{6})", text)) for text in (light, dark)]


def contrast(one: str, other: str) -> float:
    """WCAG 2.2's contrast ratio of two colours."""

    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("colours", palettes(), ids=["light", "dark"])
def test_text_and_curves_stand_out_from_what_is_behind_them(colours):
    for text, behind in (
        ("ink", "paper"), ("ink", "card"), ("ink", "warm"), ("ink", "mark"), ("soft", "paper"), ("soft", "card"),
        ("soft", "warm"), ("c0", "card"), ("c0", "paper"), ("c0", "warm"), ("c1", "warm"), ("c2", "card"),
        ("c4", "card"),
    ):  # fmt: skip
        assert contrast(colours[text], colours[behind]) >= 4.5, (text, behind)  # WCAG 1.4.3, text
    for line in ("c1", "c2", "c3", "c4"):
        assert contrast(colours[line], colours["card"]) >= 3.0, line  # WCAG 1.4.11, graphics
