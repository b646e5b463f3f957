"""Checkpoints that are either whole or not there.

A checkpoint is a folder `<anything>-<number>` that holds payload files and, written last, `sha256.json` with the size
and the hash of each. Writers build it under a temporary name and rename it; readers take the newest one whose list
agrees with its bytes, and name and pass over the others. A trainer that insists on writing in place (TRL's) calls
`seal` when it has finished: until then the folder counts as broken.

    save_atomically(resume / "step-120", write=lambda folder: ..., keep=2)
    newest = newest_valid(resume)
"""

import json
import logging
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

from pipeline.artifact import sha256

SEAL = "sha256.json"
NUMBERED = re.compile(r".*-(\d+)")
TEMPORARY = ".tmp"

log = logging.getLogger(__name__)


def save_atomically(folder: Path, write: Callable[[Path], None], keep: int = 2) -> None:
    """Calls `write(temporary folder)`, seals what it wrote, renames it to `folder`, then removes its oldest siblings.

    `keep` newest checkpoints stay, and never fewer than one: the new one is in place before an old one goes. When
    `write` fails (a full disk), its remains are removed, the older checkpoints stay, and the error goes on.
    """
    if keep < 1:
        raise ValueError(f"keep={keep}: at least one checkpoint must stay")
    if number(folder) is None:
        raise ValueError(f"{folder.name}: a checkpoint's folder must end in a dash and a number")
    temporary = folder.with_name(folder.name + TEMPORARY)
    for stale in folder.parent.glob(f"*{TEMPORARY}"):
        shutil.rmtree(stale)
    temporary.mkdir(parents=True)
    try:
        write(temporary)
        seal(temporary)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    replaced = folder.with_name(folder.name + ".old" + TEMPORARY)
    if folder.exists():
        folder.rename(replaced)
    temporary.rename(folder)
    sync(folder.parent)
    shutil.rmtree(replaced, ignore_errors=True)
    for old in numbered(folder.parent)[keep:]:
        if old != folder:
            remove(old)


def seal(folder: Path) -> None:
    """Flushes every file of the folder to the disk and writes the list of sizes and hashes, last and atomically."""
    files = payload(folder)
    if not files:
        raise ValueError(f"{folder}: nothing to seal")
    listed = {}
    for path in files:
        sync(path)
        listed[path.relative_to(folder).as_posix()] = {"bytes": path.stat().st_size, "sha256": sha256(path)}
    temporary = folder / (SEAL + TEMPORARY)
    temporary.write_text(json.dumps(listed, indent=1, sort_keys=True), encoding="utf-8")
    sync(temporary)
    temporary.rename(folder / SEAL)
    sync(folder)


def newest_valid(folder: Path) -> Path | None:
    """The checkpoint with the highest number under `folder` whose files are as sealed; None when there is none."""
    for candidate in numbered(folder):
        fault = find_fault(candidate)
        if fault is None:
            return candidate
        log.warning("checkpoint %s is passed over: %s", candidate, fault)
    return None


def find_fault(checkpoint: Path) -> str | None:
    """What is wrong with a checkpoint, naming the file; None when every file has the sealed size and hash."""
    try:
        listed = json.loads((checkpoint / SEAL).read_text(encoding="utf-8"))
        expected = {name: (int(entry["bytes"]), str(entry["sha256"])) for name, entry in listed.items()}
    except FileNotFoundError:
        return f"{SEAL} is missing, so it was never finished"
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        return f"{SEAL} is damaged: {error}"
    for name, (size, digest) in expected.items():
        path = checkpoint / name
        if not path.is_file():
            return f"{name} is missing"
        if path.stat().st_size != size:
            return f"{name} has {path.stat().st_size} bytes, sealed with {size}"
        if sha256(path) != digest:
            return f"{name} has another sha256 than it was sealed with"
    unlisted = {path.relative_to(checkpoint).as_posix() for path in payload(checkpoint)} - set(expected)
    return f"{min(unlisted)} is not in {SEAL}" if unlisted or not expected else None


def number(folder: Path) -> int | None:
    """The number at the end of a checkpoint's name; None for any other folder."""
    match = NUMBERED.fullmatch(folder.name)
    return int(match.group(1)) if match else None


def numbered(folder: Path) -> list[Path]:
    """The checkpoints directly under `folder`, whole or broken, highest number first."""
    if not folder.is_dir():
        return []
    found = [(number(path), path) for path in folder.iterdir() if path.is_dir()]
    return [path for _, path in sorted(((n, path) for n, path in found if n is not None), reverse=True)]


def remove(checkpoint: Path) -> None:
    """Removes a checkpoint; a kill in between leaves a name that no reader takes for a checkpoint."""
    doomed = checkpoint.with_name(checkpoint.name + ".old" + TEMPORARY)
    checkpoint.rename(doomed)
    shutil.rmtree(doomed)


def payload(folder: Path) -> list[Path]:
    """The files that a seal covers, in a stable order."""
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.name not in (SEAL, SEAL + TEMPORARY))


def sync(path: Path) -> None:
    """Flushes a file or a folder's entries to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
