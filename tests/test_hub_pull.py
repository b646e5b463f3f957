"""make pull, and stages that a recipe takes from the Hub, with the real client against a Hub on the loopback."""

import json
from pathlib import Path

import pytest

from pipeline import artifact, run, runs
from pipeline.chain import CHAIN
from pipeline.hub import facts
from pipeline.hub.layout import File, marker, safe, text
from pipeline.recipe import load
from pipeline.stage import UserError
from tests.hub_server import TOKEN, TOY

pytest_plugins = ["tests.toy_hub"]


def test_what_was_pushed_comes_back_as_it_was(hub, capsys):
    hub.push()
    assert hub.pull(runs=hub.folder / "elsewhere") == 0, capsys.readouterr().err
    mine, theirs = hub.run / "dpo", hub.folder / "elsewhere" / "toy" / "dpo"
    files = {path.relative_to(mine): path.read_bytes() for path in artifact.payload(mine)}
    assert {path.relative_to(theirs): path.read_bytes() for path in artifact.payload(theirs)} == files
    sealed = artifact.manifest(theirs)
    assert sealed["fingerprint"] == artifact.manifest(mine)["fingerprint"]
    assert sealed["pulled"] == f"{TOY}@{hub.repository.head}" and "published" not in sealed
    assert runs.verify(theirs.parent) == [], "what it was made from stayed where it was made"
    assert not list(theirs.parent.glob(".pull*"))


def test_a_data_set_is_found_without_saying_that_it_is_one(hub):
    hub.push("--stage", "corpus", repo="org/toy-text")
    assert hub.pull("org/toy-text", runs=hub.folder / "elsewhere") == 0
    folder = hub.folder / "elsewhere" / "toy" / "corpus"
    assert (folder / "train" / "00000.parquet").is_file() and (folder / "certificates" / "toy.json").is_file()
    assert not (folder / "dropped.jsonl").exists()
    assert artifact.verify(folder) == []
    assert hub.pull("org/toy-text", "--stage", "dpo", runs=hub.folder / "elsewhere") == 2


def test_what_is_there_already_stays_and_another_artifact_is_set_aside(hub, capsys):
    hub.push()
    assert hub.pull() == 0
    assert "is this artifact already" in capsys.readouterr().err
    folder = hub.run / "dpo"
    sealed = artifact.manifest(folder)
    artifact.write_json(folder / "manifest.json", {**sealed, "fingerprint": "e" * 64})
    assert hub.pull() == 0
    assert artifact.manifest(folder)["fingerprint"] == sealed["fingerprint"]
    assert len(list((hub.run / ".aside").iterdir())) == 1


def test_an_interrupted_pull_leaves_no_artifact_and_is_continued(hub, capsys):
    hub.push()
    elsewhere = hub.folder / "elsewhere"
    asked = r"GET /org/toy-model/resolve/.*/model\.safetensors"
    before = hub.server.count(r"GET /org/toy-model/resolve/.*/config\.json")
    hub.server.fail(asked, 503, times=10**6)
    assert hub.pull(runs=elsewhere) == 1
    assert "answered 503 until patience ran out" in capsys.readouterr().err
    assert artifact.manifest(elsewhere / "toy" / "dpo") is None
    hub.server.faults.clear()
    assert hub.pull(runs=elsewhere) == 0
    assert artifact.verify(elsewhere / "toy" / "dpo") == []
    assert hub.server.count(r"GET /org/toy-model/resolve/.*/config\.json") == before + 1


def test_a_byte_that_changed_on_the_way_is_found_and_fetched_again(hub, capsys):
    hub.push()
    hub.server.fail(r"GET /org/toy-model/resolve/.*/model\.safetensors", "corrupt")
    assert hub.pull(runs=hub.folder / "elsewhere") == 1
    assert "model/model.safetensors does not have the sha256 of its manifest" in capsys.readouterr().err
    assert hub.pull(runs=hub.folder / "elsewhere") == 0
    assert artifact.verify(hub.folder / "elsewhere" / "toy" / "dpo") == []


@pytest.mark.parametrize(
    ("repo", "words"),
    [
        ("org/nothing", "there is no such repository, or your token may not see it"),
        (f"{TOY}@{'0' * 40}", f"has no revision '{'0' * 40}'"),
        ("org/foreign", "is not as `make push` makes it: has no groundup.json"),
        ("org", "expected org/name"),
    ],
)
def test_what_is_not_there_or_not_ours_is_one_message(hub, capsys, repo, words):
    hub.push()
    hub.server.create("models", "org/foreign", README__md=b"mine")
    assert hub.pull(repo, runs=hub.folder / "elsewhere") == 2
    assert words in capsys.readouterr().err


def test_a_revision_that_was_changed_is_refused_and_the_one_before_is_not(hub, capsys):
    hub.push()
    good = hub.repository.head
    files = hub.repository.files("main")
    hub.repository.commit(files | {"config.json": hub.server.store(b"{}")}, "by hand")
    assert hub.pull(runs=hub.folder / "elsewhere") == 2
    assert "config.json was changed" in capsys.readouterr().err
    assert hub.pull(f"{TOY}@{good}", runs=hub.folder / "elsewhere") == 0


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"files": {"a": 1}, "stage": "dpo"}', b'{"files": {}}'])
def test_a_marker_that_cannot_be_read_is_none(hub, capsys, content):
    hub.server.create("models", TOY, groundup__json=content)
    assert hub.pull(runs=hub.folder / "elsewhere") == 2
    assert "has no groundup.json" in capsys.readouterr().err
    assert hub.push() == 2
    assert "was not made by `make push`" in capsys.readouterr().err


@pytest.mark.parametrize(
    "name", ["../outside", "/etc/passwd", "a/../../outside", "C:\\x", "a\\..\\b", "manifest.json", "resume/x", ""]
)
def test_a_file_name_that_leads_out_of_the_artifact_is_not_safe(name):
    assert not safe(name)


def test_a_manifest_that_names_a_file_outside_is_refused(hub, capsys):
    """A revision made with all its hashes in order, by somebody who means harm."""
    sealed = artifact.manifest(hub.run / "dpo")
    sealed["outputs"] = [{"file": "../../outside", "bytes": 1, "sha256": "0" * 64}]
    files = [File.of("artifact/manifest.json", text(sealed))]
    named = {file.name: file.content for file in [*files, marker(sealed, files)]}
    repository = hub.server.create("models", TOY)
    repository.commit(
        repository.files("main") | {name: hub.server.store(content) for name, content in named.items()}, "harm"
    )
    assert hub.pull(runs=hub.folder / "elsewhere") == 2
    assert "names the file '../../outside', which is not inside of the artifact" in capsys.readouterr().err
    assert not list(hub.folder.rglob("outside"))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("fingerprint", "x"),
        ("stage", "collect"),
        ("metrics", 1),
        ("outputs", "x"),
        ("outputs", [{"file": "../../outside", "sha256": ""}]),
    ],
)
def test_a_manifest_that_was_changed_is_refused(hub, capsys, key, value):
    sealed = artifact.manifest(hub.run / "dpo")
    files = [File.of("artifact/manifest.json", text({**sealed, key: value}))]
    named = {file.name: file.content for file in [*files, marker(sealed, files)]}
    hub.server.create("models", TOY).commit(
        {name: hub.server.store(content) for name, content in named.items()}, "harm"
    )
    assert hub.pull(runs=hub.folder / "elsewhere") == 2
    assert "is no manifest of a published stage, or was changed" in capsys.readouterr().err


def recipe(folder: Path, **files: str) -> str:
    """A recipe folder with these files."""
    folder.mkdir(parents=True)
    for stage, content in files.items():
        (folder / f"{stage}.yaml").write_text(content)
    return str(folder)


@pytest.fixture
def driver(hub, monkeypatch):
    """The driver, whose worker is a process of its own and finds the Hub by its environment."""
    for name, value in hub.environment().items():
        monkeypatch.setenv(name, value)
    return lambda stage, folder: run.main([stage, "--recipe", folder, "--runs", str(hub.folder / "mine")])


def test_a_recipe_takes_a_stage_from_the_hub(hub, driver, capfd):
    assert hub.push("--stage", "pretrain") == 0
    source = f"{TOY}@{hub.repository.head}"
    mine = recipe(hub.folder / "r" / "mine", pretrain=f"hub: {source}", sft="trainer: {}")
    assert driver("pretrain", mine) == 0, capfd.readouterr().err
    folder = hub.folder / "mine" / "mine" / "pretrain"
    theirs = hub.run / "pretrain" / "model" / "model.safetensors"
    assert (folder / "model" / "model.safetensors").read_bytes() == theirs.read_bytes()
    assert runs.verify(folder.parent) == []
    assert json.loads((folder / "hub.json").read_text())["repo"] == source
    assert artifact.manifest(folder)["metrics"] == artifact.manifest(hub.run / "pretrain")["metrics"]
    # A card of what is made from it tells how it was made there, and not how long the download took.
    origins = facts.lineage(folder)
    assert origins["pretrain"].published.id == TOY and origins["tokenizer"].manifest is None
    assert facts.costs(origins)[-1]["seconds"] == 2.0
    # The next stage reads it by a fingerprint that holds the commit; nothing is downloaded for that, or twice.
    asked = len(hub.server.log)
    todo = run.plan("sft", load(mine, CHAIN), hub.folder / "mine")
    run.check_inputs(todo)
    assert driver("pretrain", mine) == 0
    assert len(hub.server.log) == asked
    for path in hub.folder.rglob("*"):
        assert not path.is_file() or TOKEN.encode() not in path.read_bytes(), path


def test_a_source_that_holds_another_stage_is_refused(hub, driver, capfd):
    assert hub.push("--stage", "dpo") == 0
    mine = recipe(hub.folder / "r" / "mine", pretrain=f"hub: {TOY}@{hub.repository.head}")
    assert driver("pretrain", mine) == 2
    assert "holds the stage dpo, not pretrain" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"pretrain": "hub: org/name@main"}, "pretrain.yaml: hub ="),
        ({"pretrain": "hub: org/name"}, "pretrain.yaml: hub ="),
        ({"pretrain": f"hub: org/name@{'a' * 40}\nsteps: 3"}, "unknown key 'steps'. Accepted here: hub."),
        ({"collect": f"hub: org/name@{'a' * 40}"}, "`make push` publishes no collect"),
        ({"collect": "storyworld: {}", "recipe": "licence: apache2"}, "no such licence. Did you mean 'apache-2.0'?"),
    ],
)
def test_a_source_or_licence_that_cannot_be_is_an_error_of_the_recipe(tmp_path, files, words):
    with pytest.raises(UserError) as error:
        load(recipe(tmp_path / "mine", **files), CHAIN)
    assert words in str(error.value)
