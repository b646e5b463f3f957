"""The fixtures of the Hub's tests: a Hub on the loopback, a copy of the toy run, and the commands on both."""

import shutil
from pathlib import Path

import huggingface_hub.constants
import pytest
from huggingface_hub.utils import close_session, disable_progress_bars

from pipeline import artifact
from pipeline.hub import pull, push
from tests.hub_server import TOKEN, TOY, HubServer, Repository
from tests.toy_run import save_toy_run


class Hub:
    """The server, a copy of the toy run, and the two commands on it."""

    def __init__(self, server: HubServer, folder: Path) -> None:
        self.server, self.folder = server, folder
        self.runs, self.run, self.recipe = folder / "runs", folder / "runs" / "toy", folder / "recipes" / "toy"

    def push(self, *more: str, repo: str = TOY) -> int:
        return push.main(["--recipe", str(self.recipe), "--runs", str(self.runs), "--repo", repo, *more])

    def pull(self, repo: str = TOY, *more: str, runs: Path | None = None) -> int:
        return pull.main(["--recipe", "toy", "--runs", str(runs or self.runs), "--repo", repo, *more])

    @property
    def repository(self) -> Repository:
        return self.server.repositories["models", TOY]

    def file(self, name: str, kind: str = "models", repo: str = TOY) -> bytes:
        """A file of the newest revision."""
        return self.server.contents[self.server.repositories[kind, repo].files("main")[name]]

    def published(self, stage: str = "dpo") -> list[str]:
        return artifact.manifest(self.run / stage).get("published", [])

    def environment(self) -> dict[str, str]:
        """What a process of its own needs to find this Hub."""
        return {
            "HF_ENDPOINT": self.server.url,
            "HF_TOKEN": TOKEN,
            "HF_HOME": str(self.folder / "hf"),
            "HF_HUB_OFFLINE": "0",
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        }


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """A toy run that no test changes."""
    folder = tmp_path_factory.mktemp("finished")
    run = save_toy_run(folder / "runs")
    shutil.rmtree(run / "elsewhere")
    return folder


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
