"""The Hub's client with patience, and with errors that say what to do.

huggingface_hub repeats uploads and downloads by itself, but not the creation of a repository, the check of a card or a
commit. `patiently` repeats a whole step, which therefore looks at the repository first and does only what is missing.
Imports huggingface_hub, which takes half a second: never from the driver.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import httpx2
from huggingface_hub import HfApi
from huggingface_hub.errors import (
    HfHubHTTPError,
    HFValidationError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils import get_token

from pipeline.artifact import sha256
from pipeline.hub.layout import MARKER, SERVERS_OWN, Repo
from pipeline.stage import UserError

TRANSIENT = (408, 429, 500, 502, 503, 504)
WAITS = (1.0, 3.0, 9.0)  # seconds between one try and the next
T = TypeVar("T")


class NoRepository(UserError):
    """There is no repository of this name, or none that the token may see."""


class HubError(Exception):
    """The Hub, or the way to it, failed, and not by the user's mistake. Exit status 1; the same command goes on."""


def token() -> str:
    """The user's token, from HF_TOKEN or the library's own store. Raises UserError where there is none."""
    found = get_token()
    if not found:
        raise UserError("the Hub wants a token: log in with `hf auth login`, or set HF_TOKEN. Nothing was sent.")
    return found


def status(error: BaseException | None) -> int:
    """The HTTP status of an error; 0 where there was no answer, -1 where the error is none of the network's."""
    if isinstance(error, HfHubHTTPError):
        return error.response.status_code
    if isinstance(error, httpx2.TransportError | json.JSONDecodeError):
        return 0
    return -1


def patiently(step: Callable[[], T], repo: Repo) -> T:
    """The step's result. Repeats it after a failure that may pass; any other becomes UserError or HubError."""
    for wait in (*WAITS, None):
        try:
            return step()
        except (HfHubHTTPError, httpx2.TransportError, json.JSONDecodeError) as error:
            if wait is None or status(error) not in (0, *TRANSIENT):
                raise explained(error, repo) from None
            time.sleep(wait)
        except OfflineModeIsEnabled:
            raise UserError("HF_HUB_OFFLINE is set, and this command talks to the Hub. Unset it.") from None
        except RuntimeError as error:
            # A file whose upload the library has repeated in vain. The message has its name, the cause the reason.
            if status(error.__cause__) == -1:
                raise
            raise HubError(f"{error} {explained(error.__cause__, repo)}") from None
        except HFValidationError as error:
            raise UserError(f"REPO={repo.id}: {error}") from None
        except ValueError as error:
            raise HubError(f"{repo.id}: {error}") from None
    raise AssertionError("the last try returns or raises")


def explained(error: BaseException | None, repo: Repo) -> Exception:
    """The error in words, with what to do about it."""
    code = status(error)
    if isinstance(error, RepositoryNotFoundError):
        return NoRepository(f"{repo.id}: there is no such repository, or your token may not see it.")
    if isinstance(error, RevisionNotFoundError):
        return UserError(f"{repo.id}: has no revision '{repo.revision}'.")
    if code == 401:
        return UserError("the Hub refuses your token. Log in again with `hf auth login`, or set another HF_TOKEN.")
    if code == 403:
        return UserError(f"{repo.id}: your token may not write there. Give it write access, or name another REPO=.")
    if code == 412:
        return HubError(f"{repo.id}: somebody else committed to it meanwhile. Look at it, then run the command again.")
    why = f"answered {code}" if code > 0 else f"cannot be reached ({type(error).__name__})"
    return HubError(f"{repo.id}: the Hub {why} until patience ran out. The same command goes on from there.")


def commit_of(api: HfApi, repo: Repo) -> str:
    """The commit that the repository, or its named revision, stands at."""
    return str(api.repo_info(repo.id, repo_type=repo.kind, revision=repo.revision).sha)


def hashes(api: HfApi, repo: Repo, revision: str) -> dict[str, str]:
    """Every file of a revision with its sha256 where the Hub stores it by that, else git's hash of it."""
    tree = api.list_repo_tree(repo.id, recursive=True, revision=revision, repo_type=repo.kind)
    return {f.path: f.lfs.sha256 if f.lfs else f.blob_id for f in tree if isinstance(f, RepoFile)}


def read_marker(api: HfApi, repo: Repo, revision: str) -> dict[str, Any] | None:
    """The revision's `groundup.json`; None where it has none, or one that cannot be read."""
    if MARKER not in hashes(api, repo, revision):
        return None
    with TemporaryDirectory() as folder:
        path = download(api, repo, revision, MARKER, Path(folder))
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            whole = all({"sha256", "git"} <= entry.keys() for entry in found["files"].values())
            return found if whole and isinstance(found["stage"], str) else None
        except (ValueError, KeyError, TypeError, AttributeError):
            return None


def is_empty(present: dict[str, str]) -> bool:
    """Whether a repository holds nothing but what the Hub itself put there."""
    return present.keys() <= {SERVERS_OWN}


def download(api: HfApi, repo: Repo, revision: str, name: str, folder: Path) -> Path:
    """One file of a revision below `folder`; what a broken download left there is gone on from."""
    return Path(api.hf_hub_download(repo.id, name, revision=revision, repo_type=repo.kind, local_dir=folder))


def differs(api: HfApi, repo: Repo, revision: str, expected: dict[str, str]) -> list[str]:
    """Names of the files whose bytes, downloaded one after the other, do not have the expected sha256."""
    different = []
    with TemporaryDirectory() as folder:
        for name, digest in sorted(expected.items()):
            path = fetch(api, repo, revision, name, Path(folder))
            if sha256(path) != digest:
                different.append(name)
            path.unlink()  # so that the disk holds one file at a time
    return different


def fetch(api: HfApi, repo: Repo, revision: str, name: str, folder: Path) -> Path:
    """`download` with patience."""
    return patiently(lambda: download(api, repo, revision, name, folder), repo)


def say(where: str, message: str) -> None:
    """One line on the terminal."""
    sys.stderr.write(f"[{where}] {message}\n")
    sys.stderr.flush()


def exit_status(command: Callable[[], Any]) -> int:
    """Runs the command: 0 where it is done, 2 with its message after the user's mistake, 1 after any other failure."""
    try:
        command()
    except UserError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    except (HubError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0
