"""The installed documentation: read from source text, split by module, no summary on two sides."""

import json

import pytest

from pipeline.collect import pydocs
from pipeline.collect.docstrings import read_module
from pipeline.collect.recipe import PyDocs
from pipeline.stage import UserError

SOURCE = '''
"""A module."""

import does_not_exist

class Box(list, does_not_exist.Base):
    """Holds things in order."""

    def open(self, *, wide: bool = False) -> int:
        """Open the box and count.

        wide: all the way.
        """

    def _hidden(self):
        """Not for the public eye."""

async def fetch(url):
    """Fetch one page from
    the network."""

def listed():
    """:param x: no summary at all"""

def accented():
    """R\u00e9sum\u00e9 of the whole thing."""

def short():
    """Too short."""

def outer():
    def inner():
        """Inside of a function."""
    return inner

if True:
    def guarded(a, b=1, *rest, **more):
        """Stands below an if."""
'''


def test_signatures_and_summaries_of_a_module():
    module = read_module(SOURCE, "pack.mod")
    assert [(pair.signature, pair.summary) for pair in module.pairs] == [
        ("class Box(list, does_not_exist.Base):", "Holds things in order."),
        ("class Box:\n    def open(self, *, wide: bool=False) -> int:", "Open the box and count."),
        ("def guarded(a, b=1, *rest, **more):", "Stands below an if."),
    ]
    assert module.text.startswith("pack.mod\n\nA module.\n\nclass Box(list, does_not_exist.Base):\nHolds things")
    assert "Not for the public eye." in module.text and "Inside of a function" not in module.text


@pytest.mark.parametrize("source", ["print 'python 2'", "x = 1", "def f(:", "\0"])
def test_a_source_without_documentation_is_none(source):
    assert read_module(source, "m") is None


def rows(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


def installed(folder, modules, same):
    """Modules of three functions each; `same` of them end with a summary that all share."""
    folder.mkdir()
    for number in range(modules):
        names = "abc" if number >= same else "abs"
        summaries = {name: f"Counts {name} of group {number}." for name in names} | {"s": "Returns what all return."}
        body = "\n\n".join(f'def {name}_{number}(x):\n    """{summaries[name]}"""' for name in names)
        path = folder / f"m{number}.py"
        path.write_text(body, encoding="utf-8")
        yield pydocs.Found(id=f"dist/m{number}", path=path, module=f"m{number}", licence="MIT")


@pytest.fixture
def toy(tmp_path, monkeypatch):
    found = list(installed(tmp_path / "site", 200, 100))
    monkeypatch.setattr(pydocs, "sources", lambda: iter(found))
    out = tmp_path / "out"
    out.mkdir()
    return out


def test_no_module_and_no_summary_stands_on_two_sides(toy):
    metrics = pydocs.collect(PyDocs(conversations=50), toy, 0)
    conversations = rows(toy / "conversations.jsonl")
    sides = {
        "train": [(r["id"], r["messages"][1]["content"]) for r in conversations],
        "heldout": [(r["id"], r["messages"][1]["content"]) for r in rows(toy / "heldout_conversations.jsonl")],
    }
    for side in ("preferences", "rl", "evaluate"):
        prompts = rows(toy / f"prompts/{side}.jsonl")
        assert all(r["wishes"] is None and r["plain"].startswith("def ") for r in prompts)
        sides[side] = [(r["id"], r["reference"]) for r in prompts]
    assert len(conversations) == metrics["conversations"] == 50
    for part in (0, 1):
        parts = {side: {pair[part].split(":")[0] for pair in pairs} for side, pairs in sides.items()}
        assert all(parts.values())
        assert sum(map(len, parts.values())) == len(set().union(*parts.values()))


def test_modules_of_the_evaluation_are_not_in_the_corpus(toy):
    pydocs.collect(PyDocs(), toy, 0)
    documents = {row["id"]: row for path in toy.glob("raw/pydocs/*.jsonl") for row in rows(path)}
    evaluated = {row["id"].split(":")[0] for row in rows(toy / "evaluation/pydocs.jsonl")}
    assert evaluated and not evaluated & set(documents)
    assert len(documents) == 200 - sum(pydocs.side_of(f"dist/m{n}") == "evaluate" for n in range(200))
    assert all(row["licence"] == "MIT" for row in documents.values())


def test_the_bound_on_bytes_holds_and_keeps_a_prefix(toy):
    whole, _ = pydocs.read(10**9)
    some, _ = pydocs.read(5_000)
    assert 4_000 < sum(len(row["text"].encode()) for row in some) <= 5_000
    assert some == whole[: len(some)]


def test_two_runs_write_equal_bytes(toy, tmp_path):
    again = tmp_path / "again"
    again.mkdir()
    pydocs.collect(PyDocs(), toy, 3)
    pydocs.collect(PyDocs(), again, 3)
    names = sorted(path.relative_to(toy) for path in toy.rglob("*") if path.is_file())
    assert len(names) == 8
    assert [(toy / name).read_bytes() for name in names] == [(again / name).read_bytes() for name in names]


def test_too_few_functions_for_every_side_is_the_users_mistake(toy, tmp_path, monkeypatch):
    monkeypatch.setattr(pydocs, "sources", lambda: installed(tmp_path / "small", 3, 0))
    with pytest.raises(UserError, match=r"pydocs.max_bytes = 12000000 leaves a split without one"):
        pydocs.collect(PyDocs(), toy, 0)


def test_this_machine_has_the_standard_library_and_the_installed_distributions():
    found = {one.id: one for one in pydocs.sources()}
    assert found["python/json.decoder"].licence == "PSF-2.0"
    assert "pydantic/METADATA" in found and "pydantic/pydantic.main" in found
    assert not any({"_vendor", "tests"} & set(name.replace("/", ".").split(".")) for name in found)
    topics = pydocs._parse(found["python/pydoc_data.topics"])[0]
    assert len(topics) > 50 and "python/pydoc_data.topics:lambda" in topics
    description = pydocs._parse(found["pydantic/METADATA"])[0]["pydantic/METADATA"]
    assert "Name: pydantic" not in description and len(description) > 100
