"""The Makefile is the DAG that the stages declare, and README names only what exists."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from pipeline.chain import CHAIN

ROOT = Path(__file__).resolve().parent.parent


def database() -> str:
    """What make knows of the storyworld run, without building anything."""
    done = subprocess.run(
        ["make", "-pnq", "RECIPE=storyworld", "RUNS=nowhere", "report"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.stdout


def test_make_and_the_stages_declare_the_same_inputs():
    rules = dict(re.findall(r"^nowhere/storyworld/(\w+)/manifest\.json: (.*)$", database(), re.M))
    assert set(rules) == {stage.name for stage in CHAIN}
    for stage in CHAIN:
        prerequisites = set(re.findall(r"nowhere/storyworld/(\w+)/manifest\.json", rules[stage.name]))
        assert prerequisites == set(stage.reads), stage.name
        own = f"recipes/storyworld/{stage.name}.yaml"  # a recipe need not have every stage
        assert (own in rules[stage.name]) == (ROOT / own).exists()
        assert f"pipeline/{stage.name}/recipe.py" in rules[stage.name]


def test_stages_read_only_stages_before_them():
    seen = set()
    for stage in CHAIN:
        assert set(stage.reads) <= seen, stage.name
        seen.add(stage.name)


def targets() -> set[str]:
    phony = re.search(r"^\.PHONY: (.*)$", database(), re.M)
    assert phony, "make printed no .PHONY line"
    return set(phony[1].split())


DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("recipes/*/README.md")])


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_documents_name_only_targets_and_paths_that_exist(document):
    text = document.read_text()
    for target in re.findall(
        r"\bmake ((?:[a-z][a-z-]*))\b(?=[ `\n])", " ".join(re.findall(r"`[^`]+`|```.*?```", text, re.S))
    ):
        assert target in targets(), f"{document.name} names `make {target}`"
    for path in re.findall(r"`((?:pipeline|recipes|accelerate_configs|tests|bench)/[\w./-]*)`", text):
        written = re.fullmatch(
            r"bench/\w+\.json", path
        )  # by the benchmark of that name, and not kept in the repository
        assert (ROOT / path).exists() or written, f"{document.name} names {path}"
    for link in re.findall(r"\]\((?!https?:|#)([^)#]+)", text):
        assert (document.parent / link).exists(), f"{document.name} links to {link}"


def said(*words: str) -> str:
    """The last command that make would run."""
    done = subprocess.run(
        ["make", "--no-print-directory", "-n", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        # Under `make test` words of that make would reach this one.
        env={
            name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKEOVERRIDES", "MFLAGS")
        },
    )
    return done.stdout.strip().splitlines()[-1].split("/python ")[-1]


@pytest.mark.parametrize(
    ("words", "command"),
    [
        (("chat", "STAGE=sft"), "-m pipeline.talk --recipe storyworld --runs runs --stage sft"),
        (("chat",), "-m pipeline.talk --recipe storyworld --runs runs"),
        (("push", "REPO=org/a"), "-m pipeline.hub.push --recipe storyworld --runs runs --repo 'org/a'"),
        (
            ("push", "REPO=org/a", "STAGE=corpus", "PRIVATE=0", "RUNS=there"),
            "-m pipeline.hub.push --recipe storyworld --runs there --repo 'org/a' --stage corpus --private '0'",
        ),
        (("pull", "REPO=org/a@main"), "-m pipeline.hub.pull --recipe storyworld --runs runs --repo 'org/a@main'"),
        (("trace", "DOC=a b"), "-m pipeline.trace --recipe storyworld --runs runs --document 'a b'"),
    ],
)
def test_what_is_said_to_make_reaches_the_command(words, command):
    assert said(*words).strip() == command
