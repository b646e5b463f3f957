"""The dirty web of the story world: every kind planted as asked, and a truth that agrees with the raw bytes."""

import hashlib
import json
import os
import re
import subprocess
import sys
from html import unescape
from pathlib import Path

import pytest
from warcio.archiveiterator import ArchiveIterator

from pipeline.collect.collect import run
from pipeline.collect.dirt import KINDS
from pipeline.collect.junk import all_insults, withheld_insults
from pipeline.collect.recipe import Recipe, StoryWorld
from pipeline.stage import Job

ROOT = Path(__file__).resolve().parent.parent
TOY = StoryWorld(
    documents=160,
    cards=40,
    planted=24,
    text_files=30,
    labelled=120,
    evaluation_items=12,
    conversations=60,
    heldout_conversations=10,
    preferences=20,
    rl=15,
    evaluate=25,
)


def collect(out, seed=0):
    out.mkdir(parents=True)
    return run(Job(stage="collect", recipe=Recipe(storyworld=TOY), out=out, inputs={}, seed=seed, run_name="toy"))


def rows(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


def digests(folder):
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def squeezed(text):
    return " ".join(text.split())


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The artifact, its metrics, and id -> text as found in raw/ (of pages: the body without its tags)."""
    out = tmp_path_factory.mktemp("collect") / "out"
    metrics = collect(out)
    found = {}
    for path in out.glob("raw/web/*.warc.gz"):
        with path.open("rb") as file:
            for record in ArchiveIterator(file):
                html = record.content_stream().read().decode("utf-8")
                body = re.sub(r"<[^>]*>", " ", html.split("<body>")[1])
                found[record.rec_headers["WARC-Target-URI"]] = unescape(body)
    for path in out.glob("raw/feed/*.jsonl"):
        found.update((row["id"], row["text"]) for row in rows(path))
    found.update((path.name, path.read_bytes().decode("utf-8")) for path in out.glob("raw/books/*.txt"))
    return out, metrics, found


def test_every_kind_is_planted_in_the_amount_asked(made):
    _, metrics, found = made
    for kind in KINDS:
        assert metrics[f"planted_{kind}"] == TOY.planted, kind
    assert metrics["planted_boilerplate"] >= TOY.planted
    assert metrics["clean_documents"] == TOY.documents + TOY.cards
    assert metrics["documents"] == len(found) == TOY.documents + TOY.cards + TOY.planted * (len(KINDS) + 2)


def test_the_formats_hold_their_shares(made):
    out, _, found = made
    assert len(list(out.glob("raw/books/*.txt"))) == TOY.text_files
    assert sum(name.startswith("https://") for name in found) == len(found) // 3
    sources = json.loads((out / "raw/sources.json").read_text(encoding="utf-8"))
    assert {(s["name"], s["kind"]) for s in sources} == {("web", "warc"), ("feed", "jsonl"), ("books", "text")}
    assert all((out / "raw" / s["path"]).is_dir() for s in sources)


def test_the_truth_agrees_with_the_raw_documents(made):
    out, _, found = made
    truth = rows(out / "truth.jsonl")
    assert sorted(row["id"] for row in truth) == sorted(found)
    for row in truth:
        text = squeezed(found[row["id"]])
        if row["action"] == "span":
            assert row["span"] == row["spans"][0]
            for span in row["spans"]:
                assert squeezed(span) in text, row
                assert squeezed(span) not in squeezed(row["clean_text"]), row
        elif row["action"] == "clean":
            assert squeezed(row["clean_text"]) in text
            assert row["kind"] == "clean" and row["span"] is None
        else:
            assert row["action"] == {"exact_copy": "keep_one", "near_copy": "keep_one"}.get(row["kind"], "drop")


def test_copies_come_in_pairs_that_are_as_alike_as_they_should_be(made):
    out, _, found = made
    groups = {}
    for row in rows(out / "truth.jsonl"):
        if row["group"]:
            groups.setdefault(row["group"], []).append(row)
    assert len(groups) == 2 * TOY.planted
    in_other_formats = 0
    for group, members in groups.items():
        assert len(members) == 2, group
        a, b = (found[row["id"]] for row in members)
        in_other_formats += members[0]["id"][:4] != members[1]["id"][:4]
        texts = [row["clean_text"] for row in members]
        assert texts[0] == texts[1]
        if not any(row["id"].startswith("https") for row in members):
            words = [re.findall(r"\w+", text.lower()) for text in (a, b)]
            grams = [{tuple(w[i : i + 5]) for i in range(len(w) - 4)} for w in words]
            likeness = len(grams[0] & grams[1]) / len(grams[0] | grams[1])
            assert likeness == 1 if group.startswith("exact") else 0.8 <= likeness < 1
    assert in_other_formats > TOY.planted / 2


def test_leaked_documents_hold_over_half_of_an_evaluation_item(made):
    out, _, found = made
    items = [re.findall(r"[a-z']+", row["text"].lower()) for row in rows(out / "evaluation/storyworld.jsonl")]
    assert len(items) == TOY.evaluation_items
    for row in rows(out / "truth.jsonl"):
        text = " ".join(re.findall(r"[a-z']+", found[row["id"]].lower()))
        held = [" ".join(words[: len(words) // 2]) in text for words in items]
        assert any(held) == (row["kind"] == "leaked_item"), row["id"]


def test_withheld_insults_stand_in_the_web_only(made):
    out, _, found = made
    withheld = withheld_insults()
    assert len(withheld) == len(all_insults()) // 3
    labelled = rows(out / "labelled.jsonl")
    said = {word for row in labelled for word in re.findall(r"[a-z]+", row["text"].lower())}
    insults = {word.removesuffix("s") for word in said} & set(all_insults())
    assert insults and not insults & withheld
    web = {word.removesuffix("s") for text in found.values() for word in re.findall(r"[a-z]+", text.lower())}
    assert web & withheld
    assert {row["label"] for row in labelled} == {"clean", "spam", "abuse"}
    assert len(labelled) == TOY.labelled


def test_labelled_documents_and_evaluation_items_are_not_the_clean_stories(made):
    out, _, _ = made
    corpus = {row["clean_text"] for row in rows(out / "truth.jsonl") if row["clean_text"]}
    for name in ("labelled.jsonl", "evaluation/storyworld.jsonl"):
        assert not corpus & {row["text"] for row in rows(out / name)}


def test_prompts_and_conversations_are_disjoint_and_complete(made):
    out, _, _ = made
    sides = {}
    for side in ("preferences", "rl", "evaluate"):
        prompts = rows(out / f"prompts/{side}.jsonl")
        assert len(prompts) == getattr(TOY, side)
        assert all(set(row) == {"id", "prompt", "wishes", "plain", "reference"} for row in prompts)
        sides[side] = {json.dumps(row["wishes"], sort_keys=True) for row in prompts}
    assert not sides["preferences"] & sides["rl"] and not sides["preferences"] & sides["evaluate"]
    assert not sides["rl"] & sides["evaluate"]
    train, heldout = rows(out / "conversations.jsonl"), rows(out / "heldout_conversations.jsonl")
    assert (len(train), len(heldout)) == (TOY.conversations, TOY.heldout_conversations)
    asked = [{row["messages"][0]["content"] for row in side} for side in (train, heldout)]
    assert not asked[0] & asked[1]
    for row in train + heldout:
        assert [message["role"] for message in row["messages"]][:2] == ["user", "assistant"]
    ids = [row["id"] for name in ("preferences", "rl", "evaluate") for row in rows(out / f"prompts/{name}.jsonl")]
    ids += [row["id"] for row in train + heldout]
    assert len(set(ids)) == len(ids)


def test_two_runs_write_equal_bytes_and_another_seed_does_not(made, tmp_path):
    out, metrics, _ = made
    # In a process of its own, where sets of strings have another order.
    again = tmp_path / "again"
    code = (
        f"from pathlib import Path; from tests.test_collect_storyworld import collect; collect(Path({str(again)!r}))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, env={**os.environ, "PYTHONHASHSEED": "7"})
    assert digests(again) == digests(out)
    other = collect(tmp_path / "other", seed=1)
    same = {name for name, sha in digests(tmp_path / "other").items() if digests(out).get(name) == sha}
    assert same == {"raw/sources.json"}
    assert set(other) == set(metrics)
