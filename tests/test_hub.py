"""Push and pull with the real huggingface_hub client against a Hub on the loopback (tests/hub_server.py)."""

import json
import shutil
from pathlib import Path

import huggingface_hub.constants
import pytest
from huggingface_hub.utils import close_session, disable_progress_bars

from pipeline import artifact, runs
from pipeline.hub import pull, push
from tests.hub_server import TOKEN, HubServer
from tests.toy_run import save_toy_run

REPO = "org/toy-model"


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A toy run that no test changes."""
    folder = tmp_path_factory.mktemp("finished")
    run = save_toy_run(folder / "runs")
    shutil.rmtree(run / "elsewhere")
    return folder


class Hub:
    """The server, a copy of the toy run, and the two commands on it."""

    def __init__(self, server: HubServer, folder: Path) -> None:
        self.server, self.runs, self.run = server, folder / "runs", folder / "runs" / "toy"
        self.recipe = folder / "recipes" / "toy"

    def push(self, *more: str, repo: str = REPO) -> int:
        return push.main(["--recipe", str(self.recipe), "--runs", str(self.runs), "--repo", repo, *more])

    def pull(self, repo: str = REPO, *more: str, runs: Path | None = None) -> int:
        return pull.main(["--recipe", "toy", "--runs", str(runs or self.runs), "--repo", repo, *more])

    @property
    def repository(self):
        return self.server.repositories["models", REPO]

    def file(self, name: str) -> bytes:
        return self.server.contents[self.repository.files("main")[name]]

    def published(self, stage: str = "dpo") -> list[str]:
        return artifact.manifest(self.run / stage).get("published", [])


@pytest.fixture
def hub(finished, tmp_path, monkeypatch):
    """A fresh Hub, and the client set to it: no Xet, no waiting, a token in the environment."""
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    with HubServer() as server:
        # What HF_ENDPOINT and its like are read into when huggingface_hub is imported, which other tests did before.
        for name, value in {
            "ENDPOINT": server.url,
            "HUGGINGFACE_CO_URL_TEMPLATE": server.url + "/{repo_id}/resolve/{revision}/{filename}",
            "HF_HUB_OFFLINE": False,
            "HF_HUB_DISABLE_XET": True,
            "HF_TOKEN_PATH": str(tmp_path / "no-token"),
            "HF_HUB_CACHE": str(tmp_path / "cache"),
        }.items():
            monkeypatch.setattr(huggingface_hub.constants, name, value)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.setattr("time.sleep", lambda seconds: None)
        disable_progress_bars()
        yield Hub(server, tmp_path)
        close_session()


def test_a_model_arrives_whole_and_private_and_is_noted_in_its_manifest(hub, capsys):
    before = (hub.run / "dpo" / "manifest.json").stat().st_mtime_ns
    assert hub.push() == 0, capsys.readouterr().err
    assert hub.repository.private
    for path in artifact.payload(hub.run / "dpo"):
        name = str(path.relative_to(hub.run / "dpo"))
        there = name.removeprefix("model/") if name.startswith("model/") else f"artifact/{name}"
        assert hub.file(there) == path.read_bytes()
    assert hub.file("report/index.html") == b"<h1>toy</h1>\n"
    assert "chat_template.jinja" in hub.repository.files("main")
    assert "generation_config.json" in hub.repository.files("main")
    assert hub.published() == [f"{REPO}@{hub.repository.head}"]
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
    assert hub.published() == [f"{REPO}@{head}"]
