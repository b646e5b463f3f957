"""make push, with the real huggingface_hub client against a Hub on the loopback."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from huggingface_hub.utils import close_session

from pipeline import artifact, runs
from tests.hub_server import TOKEN, TOY
from tests.toy_run import seal

pytest_plugins = ["tests.toy_hub"]

STEPS = {
    "create": r"POST /api/repos/create",
    "look": r"GET /api/models/org/toy-model",
    "list": r"GET /api/models/.*/tree/",
    "card": r"POST /api/validate-yaml",
    "preupload": r"POST /api/models/.*/preupload/",
    "batch": r"POST /.*/objects/batch",
    "upload": r"PUT /lfs/",
    "commit": r"POST /api/models/.*/commit/",
    "head": r"HEAD /.*/resolve/",
    "download": r"GET /.*/resolve/",
}
SECRET = "hf_" + "A1b2C3d4" * 5


def test_a_model_arrives_whole_and_private_and_is_noted_in_its_manifest(hub, capsys):
    before = (hub.run / "dpo" / "manifest.json").stat().st_mtime_ns
    assert hub.push() == 0, capsys.readouterr().err
    assert hub.repository.private
    for path in artifact.payload(hub.run / "dpo"):
        name = str(path.relative_to(hub.run / "dpo"))
        there = name.removeprefix("model/") if name.startswith("model/") else f"artifact/{name}"
        assert hub.file(there) == path.read_bytes()
    page = hub.file("report/index.html").decode()
    assert "<title>toy: report</title>" in page and "buy a kite now" not in page, "a text that was dropped"
    assert {"chat_template.jinja", "generation_config.json", "tokenizer.json"} <= hub.repository.files("main").keys()
    assert hub.published() == [f"{TOY}@{hub.repository.head}"]
    assert runs.verify(hub.run) == []
    assert (hub.run / "dpo" / "manifest.json").stat().st_mtime_ns == before


def test_the_last_finished_model_is_pushed_and_only_0_makes_it_public(hub):
    assert hub.push("--private", "0") == 0
    assert not hub.repository.private
    assert json.loads(hub.file("groundup.json"))["stage"] == "dpo"


def test_a_push_that_changes_nothing_commits_nothing(hub):
    hub.push()
    head = hub.repository.head
    assert hub.push() == 0
    assert hub.repository.head == head
    assert hub.published() == [f"{TOY}@{head}"]


def test_a_newer_artifact_replaces_what_push_made_and_removes_what_is_gone(hub):
    hub.push()
    folder = hub.run / "dpo"
    (folder / "log.jsonl").unlink()
    (folder / "model" / "generation_config.json").write_text("{}")
    seal(folder, {name: hub.run / name for name in ("collect", "sft", "preferences")}, {"loss": 2.0})
    for stage in ("evaluate", "report"):
        shutil.rmtree(hub.run / stage)
    assert hub.push() == 0
    files = hub.repository.files("main")
    assert hub.file("generation_config.json") == b"{}"
    assert "artifact/log.jsonl" not in files and "report/index.html" not in files
    assert len(hub.published()) == 1, "the record belongs to the artifact that was published"


def test_an_adapter_goes_along_and_does_not_name_a_folder_of_this_machine(hub):
    folder = hub.run / "sft"
    (folder / "adapter").mkdir()
    config = {"peft_type": "LORA", "base_model_name_or_path": str(hub.run / "pretrain" / "model")}
    (folder / "adapter" / "adapter_config.json").write_text(json.dumps(config))
    (folder / "adapter" / "adapter_model.safetensors").write_bytes(b"weights")
    (folder / "adapter" / "README.md").write_text(f"base_model: {hub.run}")
    (folder / "trained_tokens.json").write_text("a chat of the training data")
    for stage in ("evaluate", "report"):
        shutil.rmtree(hub.run / stage)
    seal(folder, {name: hub.run / name for name in ("collect", "pretrain")}, {"loss": 2.0})
    assert hub.push("--stage", "pretrain", repo="org/base") == 0
    assert hub.push("--stage", "sft") == 0
    assert json.loads(hub.file("adapter/adapter_config.json"))["base_model_name_or_path"] == "org/base"
    assert "adapter/README.md" not in hub.repository.files("main")
    assert not [name for name in hub.repository.files("main") if "trained_tokens" in name]
    assert "The LoRA adapter alone" in hub.file("README.md").decode()
    for name in hub.repository.files("main"):
        assert str(hub.folder).encode() not in hub.file(name), name
    assert hub.pull(runs=hub.folder / "elsewhere") == 0
    assert artifact.verify(hub.folder / "elsewhere" / "toy" / "sft") == []


def test_an_artifact_that_was_rebuilt_meanwhile_is_not_noted_as_published(hub, capsys, monkeypatch):
    def rebuild(*args):
        path = hub.run / "dpo" / "manifest.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "fingerprint": "f" * 64}))
        return []

    monkeypatch.setattr("pipeline.hub.push.differs", rebuild)
    assert hub.push() == 2
    assert "was built anew meanwhile" in capsys.readouterr().err
    assert hub.published() == []


def test_a_corpus_goes_as_a_data_set_without_what_it_was_cleaned_of(hub):
    assert hub.push("--stage", "corpus", repo="org/toy-text") == 0
    files = hub.server.repositories["datasets", "org/toy-text"].files("main")
    assert {"train/00000.parquet", "heldout/00000.parquet", "artifact/certificates/toy.json"} <= files.keys()
    assert not any("dropped" in name for name in files)
    assert hub.published("corpus")[0].startswith("datasets/org/toy-text@")


@pytest.mark.parametrize(
    ("step", "fault"),
    [*((step, 503) for step in STEPS), *((step, "drop") for step in ("create", "upload", "commit", "download"))],
)
def test_a_hub_that_fails_twice_does_not_hinder_a_push(hub, step, fault):
    hub.server.fail(STEPS[step], fault, times=2)
    assert hub.push() == 0
    assert hub.repository.messages == ["initial commit", "groundup: make push"]
    assert hub.server.count(f"{STEPS[step]}.* ({fault}|dropped)$") == 2
    assert hub.published() == [f"{TOY}@{hub.repository.head}"]


@pytest.mark.parametrize("step", ["create", "upload", "commit"])
def test_an_answer_that_is_lost_does_nothing_twice(hub, step):
    hub.server.fail(STEPS[step], "lost")
    assert hub.push() == 0
    assert hub.repository.messages == ["initial commit", "groundup: make push"]


def test_an_interrupted_upload_is_continued_by_the_same_command(hub, capsys):
    weights = artifact.sha256(hub.run / "dpo" / "model" / "model.safetensors")
    tokenizer = artifact.sha256(hub.run / "dpo" / "model" / "tokenizer.json")
    hub.server.fail(f"PUT /lfs/{weights}", "drop", times=10**6)
    assert hub.push() == 1
    assert (
        "model.safetensors" in (message := capsys.readouterr().err) and "the same command goes on" in message.lower()
    )
    assert hub.repository.messages == ["initial commit"], "nothing half is ever committed"
    assert hub.published() == []
    hub.server.faults.clear()
    assert hub.push() == 0
    assert hub.server.count(f"PUT /lfs/{tokenizer}") == 1, "what was uploaded is not uploaded again"


def test_a_hub_that_is_down_is_one_message_and_nothing_is_noted(hub, capsys):
    hub.server.fail(".", 503, times=10**6)
    assert hub.push() == 1
    assert "the Hub answered 503 until patience ran out" in capsys.readouterr().err
    assert hub.published() == []


def test_a_hub_that_cannot_be_reached_or_moved_on_is_one_message(hub, capsys):
    hub.server.fail(STEPS["commit"], 412)
    assert hub.push() == 1
    assert "somebody else committed to it meanwhile" in capsys.readouterr().err
    hub.server.server.shutdown()
    hub.server.server.server_close()
    close_session()
    assert hub.push() == 1
    assert "the Hub cannot be reached (ConnectError) until patience ran out" in capsys.readouterr().err


def test_a_byte_that_changed_on_the_way_is_found(hub, capsys):
    hub.server.fail(r"GET /.*/resolve/.*/model\.safetensors", "corrupt")
    assert hub.push() == 1
    assert "model.safetensors does not come back as it was sent" in capsys.readouterr().err
    assert hub.published() == []
    assert hub.push() == 0


@pytest.mark.parametrize(
    ("prepare", "words"),
    [
        (lambda hub, env: env.setenv("HF_TOKEN", "hf_other"), "the Hub refuses your token"),
        (lambda hub, env: hub.server.tokens.update({TOKEN: False}), "your token may not write there"),
        (
            lambda hub, env: hub.server.fail(STEPS["upload"], 403),
            "to the Hub. org/toy-model: your token may not",
        ),
        (lambda hub, env: env.delenv("HF_TOKEN"), "the Hub wants a token: log in with `hf auth login`"),
        (
            lambda hub, env: env.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True),
            "HF_HUB_OFFLINE is set",
        ),
    ],
)
def test_a_refused_or_missing_token_is_one_message(hub, monkeypatch, capsys, prepare, words):
    prepare(hub, monkeypatch)
    assert hub.push() in (1, 2)
    assert words in (message := capsys.readouterr().err)
    assert message.count("error:") == 1 and TOKEN not in message
    assert hub.published() == []


@pytest.mark.parametrize(
    ("prepare", "words"),
    [
        (lambda hub: hub.server.create("models", TOY, README__md=b"mine"), "was not made by `make push`"),
        (
            lambda hub: hub.repository.commit(
                hub.repository.files("main") | {"README.md": hub.server.store(b"edited")}, "by hand"
            ),
            "was changed after `make push` made it (README.md)",
        ),
        (
            lambda hub: hub.repository.commit(
                hub.repository.files("main") | {"notes.txt": hub.server.store(b"more")}, "by hand"
            ),
            "was changed after `make push` made it (notes.txt)",
        ),
        (lambda hub: setattr(hub.repository, "private", False), "is public, and a push is private unless told"),
    ],
)
def test_what_push_did_not_make_is_never_overwritten(hub, capsys, prepare, words):
    hub.push()
    if "was not made" in words:
        hub.server.repositories.clear()
    prepare(hub)
    head, noted = hub.repository.head, hub.published()
    assert hub.push("--stage", "dpo") == 2
    assert words in (message := capsys.readouterr().err) and "REPO=" in message
    assert (hub.repository.head, hub.published()) == (head, noted)


def test_another_stage_or_a_wrong_visibility_is_refused(hub, capsys):
    hub.push()
    assert hub.push("--stage", "sft") == 2
    assert "holds the stage dpo of the run toy, and this is sft of toy" in capsys.readouterr().err
    assert hub.push("--private", "0") == 2
    assert "Make it public in its settings" in capsys.readouterr().err


def change(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1] + b"x")


def edit_identity(run: Path) -> None:
    path = run / "dpo" / "manifest.json"
    sealed = json.loads(path.read_text())
    sealed["identity"]["seed"] = 5
    path.write_text(json.dumps(sealed))


def edit_metric(run: Path) -> None:
    path = run / "dpo" / "manifest.json"
    sealed = json.loads(path.read_text())
    sealed["metrics"]["loss"] = 0.1
    path.write_text(json.dumps(sealed))


def another_dpo(run: Path) -> None:
    (run / "dpo" / "log.jsonl").write_text("{}\n")
    seal(run / "dpo", {"sft": run / "sft"}, {"loss": 0.5})


@pytest.mark.parametrize(
    ("damage", "stage", "words"),
    [
        (lambda run: (run / "dpo" / "manifest.json").unlink(), "dpo", "has not finished the stage dpo. Run `make dpo"),
        (lambda run: change(run / "dpo" / "model" / "model.safetensors"), None, "differs from the manifest's sha256"),
        (lambda run: (run / "dpo" / "extra").write_text("x"), None, "extra: is not in the manifest"),
        (edit_identity, None, "its fingerprint is not that of its identity: it was edited"),
        (edit_metric, None, "its metric loss is 0.1, and the sealed metrics.json has 1.0"),
        (lambda run: change(run / "evaluate" / "results.json"), None, "Run `make evaluate RECIPE=toy` first"),
        (another_dpo, None, "is about another dpo than"),
        (lambda run: None, "tokenizer", "STAGE=tokenizer: is no model and no data set. Accepted: pretrain, sft, dpo"),
    ],
)
def test_an_unfinished_or_unverified_artifact_is_refused_before_anything_is_sent(hub, capsys, damage, stage, words):
    damage(hub.run)
    assert hub.push(*(["--stage", stage] if stage else [])) == 2
    assert words in capsys.readouterr().err
    assert hub.server.log == []


@pytest.mark.parametrize(
    "repo", ["", "toy", "org/toy/model", "org/..", "https://hub/org/toy", "org/toy@main", "org/a--b"]
)
def test_a_name_that_is_no_repository_is_refused(hub, capsys, repo):
    assert hub.push(repo=repo) == 2
    assert "REPO=" in capsys.readouterr().err
    assert hub.server.log == []


def plant(hub, where: str) -> str:
    """Puts a secret into a stage, as text or in compressed Parquet, and seals it again. Returns the stage."""
    if where == "parquet":
        path = hub.run / "corpus" / "train" / "00000.parquet"
        rows = pq.read_table(path).to_pylist()
        rows[0]["text"] += f" {SECRET} " + "padding " * 2000
        pq.write_table(pa.Table.from_pylist(rows), path, compression="zstd")
        assert SECRET.encode() not in path.read_bytes()
        seal(hub.run / "corpus", {"collect": hub.run / "collect"}, {"documents_kept": 3})
        return "corpus"
    (hub.run / "dpo" / "log.jsonl").write_bytes(b"\n" * (4 * 2**20 - 20) + where.encode() + b"\n")
    shutil.rmtree(hub.run / "evaluate")
    shutil.rmtree(hub.run / "report")
    seal(hub.run / "dpo", {"sft": hub.run / "sft"}, {"loss": 0.5})
    return "dpo"


@pytest.mark.parametrize(
    ("where", "words"),
    [
        ("parquet", "train/00000.parquet"),
        (SECRET, "a Hugging Face token"),
        (TOKEN, "your own token"),
        ("AKIA" + "Z" * 16, "an AWS access key"),
        ("-----BEGIN RSA PRIVATE KEY-----", "a private key"),
    ],
    ids=["parquet", "hf", "own", "aws", "pem"],
)
def test_a_file_with_a_secret_in_it_is_refused_and_the_secret_not_shown(hub, capsys, where, words):
    assert hub.push("--stage", plant(hub, where)) == 2
    assert words in (message := capsys.readouterr().err) and "nothing was pushed" in message
    assert SECRET not in message and TOKEN not in message
    assert hub.server.log == []


def command_lines() -> list[bytes]:
    """Those of every process on this machine."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(path.read_bytes())
        except OSError:
            continue
    return found


def test_the_token_appears_in_no_file_log_or_process_list(hub):
    """A real process; every byte below the test's folder, all output, every request and every command line is read."""
    hub.server.fail(STEPS["commit"], 503)
    command = ["-m", "pipeline.hub.push", "--recipe", str(hub.recipe), "--runs", str(hub.runs), "--repo", TOY]
    process = subprocess.Popen(
        [sys.executable, *command],
        env={**os.environ, **hub.environment()},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=Path(__file__).parent.parent,
    )
    seen = command_lines()
    while process.poll() is None:
        seen += command_lines()
        try:
            process.wait(0.2)
        except subprocess.TimeoutExpired:
            continue
    output = process.communicate()[0]
    assert process.returncode == 0, output.decode()
    token = TOKEN.encode()
    assert any(b"pipeline.hub.push" in line for line in seen)
    assert not any(token in line for line in seen)
    assert token not in output
    for path in hub.folder.rglob("*"):
        assert not path.is_file() or token not in path.read_bytes(), path
    for line, headers, body in hub.server.requests:
        assert token not in body and TOKEN not in line
        assert [name for name, value in headers.items() if TOKEN in value] in (
            [],
            ["authorization"],
            ["Authorization"],
        )
