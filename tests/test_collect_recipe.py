"""The recipe of collect: exactly one source, and the mistakes that it names."""

import hashlib

import pytest
import yaml

from pipeline.collect.outside import identity
from pipeline.collect.recipe import Files, Recipe
from pipeline.recipe import RECIPES, validate
from pipeline.stage import UserError


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({}, "exactly one of storyworld, pydocs, files, sources; found none"),
        ({"storyworld": {}, "pydocs": {}}, "found storyworld and pydocs"),
        ({"storyworld": {"documents": 100, "text_files": 101, "planted": 5}}, "text_files = 101 is more than"),
        ({"storyworld": {"documents": 100, "text_files": 1, "planted": 90}}, "planted = 90 is more than a quarter"),
        ({"storyworld": {"document": 100}}, "Did you mean 'documents'?"),
        ({"storyworld": {"documents": "many"}}, "valid integer"),
        ({"files": {}}, "'files.folder' is missing"),
        ({"files": {"folder": "x", "suffixes": [".png"]}}, "cannot read .png. Accepted: .txt"),
        ({"pydocs": {"max_bytes": 5}}, "greater than or equal to 10000"),
        (
            {"evaluation": {"a": {"path": "x.jsonl", "text": ["q"]}}},
            "exactly one of storyworld, pydocs, files, sources",
        ),
        ({"pydocs": {}, "evaluation": {}}, "evaluation"),
        ({"pydocs": {}, "evaluation": {"../a": {"path": "x", "text": ["q"]}}}, "should match pattern"),
        (
            {"pydocs": {}, "evaluation": {"a": {"path": "x", "hub": f"a/b@{'0' * 40}", "text": ["q"]}}},
            "exactly one of path",
        ),
        ({"pydocs": {}, "evaluation": {"a": {"path": "x", "text": []}}}, "evaluation.a.text"),
    ],
)
def test_a_mistake_is_named(keys, message):
    with pytest.raises(UserError) as raised:
        validate(Recipe, keys, "collect.yaml")
    assert message in str(raised.value)


@pytest.mark.parametrize("name", ["storyworld", "pydocs"])
def test_shipped_recipes_hold_the_defaults(name):
    keys = yaml.safe_load((RECIPES / name / "collect.yaml").read_text(encoding="utf-8"))
    assert validate(Recipe, keys, name) == validate(Recipe, {name: {}}, name)


def test_absent_sections_are_not_hashed():
    assert set(validate(Recipe, {"pydocs": {}}, "collect.yaml").hashed()) == {"pydocs"}


def test_a_folder_is_identified_by_its_files(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / ".git").mkdir()
    (tmp_path / "b" / "two.md").write_text("two", encoding="utf-8")
    (tmp_path / "one.txt").write_text("one", encoding="utf-8")
    (tmp_path / "photo.png").write_bytes(b"x")
    (tmp_path / ".git" / "notes.txt").write_text("hidden", encoding="utf-8")
    (tmp_path / "link.txt").symlink_to(tmp_path / "one.txt")
    found = identity(Recipe(files=Files(folder=str(tmp_path))))
    assert found == [
        {"path": "b/two.md", "size": 3, "sha256": hashlib.sha256(b"two").hexdigest()},
        {"path": "one.txt", "size": 3, "sha256": hashlib.sha256(b"one").hexdigest()},
    ]


def test_installed_documentation_is_identified_by_versions():
    found = identity(validate(Recipe, {"pydocs": {}}, "collect.yaml"))
    names = [name for name, _ in found["distributions"]]
    assert "pydantic" in names and names == sorted(names)


def test_the_story_world_reads_nothing_from_outside():
    assert identity(validate(Recipe, {"storyworld": {}}, "collect.yaml")) is None


@pytest.mark.parametrize(("made", "message"), [(False, "there is no folder"), (True, "no file there ends in .txt")])
def test_a_folder_without_documents_is_the_users_mistake(tmp_path, made, message):
    folder = tmp_path / "docs"
    if made:
        folder.mkdir()
    with pytest.raises(UserError, match=message):
        identity(Recipe(files=Files(folder=str(folder))))


def test_benchmarks_are_identified_by_their_files_and_leave_other_recipes_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCHMARKS", str(tmp_path))
    (tmp_path / "a.jsonl").write_text('{"q": "Why?"}\n', encoding="utf-8")
    keys = {"storyworld": {}, "evaluation": {"a": {"path": "$BENCHMARKS/a.jsonl", "text": ["q"]}}}
    recipe = validate(Recipe, keys, "collect.yaml")
    size, digest = 14, hashlib.sha256(b'{"q": "Why?"}\n').hexdigest()
    assert identity(recipe) == {
        "sources": None,
        "evaluation": [{"file": "a.jsonl", "bytes": size, "sha256": digest}],
    }
    assert "evaluation" not in validate(Recipe, {"storyworld": {}}, "collect.yaml").hashed()
    monkeypatch.delenv("BENCHMARKS")
    with pytest.raises(UserError, match=r"evaluation.a.path = .* BENCHMARKS is not set"):
        identity(recipe)
