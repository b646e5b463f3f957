"""Artifacts: folders whose `manifest.json`, written last and atomically, says that they are whole and what made them.

A folder under construction holds `job.json` (the claim: what is being built) and no manifest. Sealing hashes every
payload file, writes the manifest, and only then is the stage done. `verify` recomputes all of it.
"""

import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.stage import Stage, StageRecipe, UserError

MANIFEST, CLAIM, RESUME, ASIDE = "manifest.json", "job.json", "resume", ".aside"


def canonical(value: Any) -> str:
    """JSON text that is the same for equal values."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def identity(stage: Stage, recipe: StageRecipe, seed: int, inputs: Mapping[str, str], outside: Any) -> dict[str, Any]:
    """What decides a stage's result: the stage and its version, the recipe's keys that can change the result, the
    seed, the inputs' fingerprints and what is read from outside. Hardware and number of processes are not among it."""
    return {
        "stage": stage.name,
        "version": stage.version,
        "recipe": recipe.hashed(),
        "seed": seed,
        "inputs": dict(inputs),
        "outside": outside,
    }


def fingerprint(identity: Mapping[str, Any]) -> str:
    """64 hex digits that name what a stage of this identity makes."""
    return hashlib.sha256(canonical(identity).encode()).hexdigest()


def differing(old: Any, new: Any, key: str = "") -> Iterator[tuple[str, Any, Any]]:
    """(key, old, new) of every leaf in which two identities or recipes differ; dots lead into sections."""
    if isinstance(old, dict) and isinstance(new, dict):
        for part in sorted(old.keys() | new.keys()):
            yield from differing(old.get(part), new.get(part), f"{key}.{part}" if key else part)
    elif old != new:
        yield key, old, new


def sha256(path: Path) -> str:
    """The file's sha256 in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_atomically(path: Path, text: str) -> None:
    """Writes a file so that it is either whole or absent, also after a power cut."""
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def write_json(path: Path, value: Any) -> None:
    """Writes JSON for people and machines, atomically."""
    write_atomically(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def payload(folder: Path) -> Iterator[Path]:
    """Every file of the artifact, sorted: all but the manifest, the claim and what a killed run would go on from."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.relative_to(folder).parts[0] not in (MANIFEST, CLAIM, RESUME):
            yield path


def manifest(folder: Path) -> dict[str, Any] | None:
    """The manifest of a sealed artifact; None where there is none. Raises UserError where it cannot be read."""
    path = folder / MANIFEST
    if not path.is_file():
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path}: is damaged ({error}). Remove the folder {folder} and run make again.") from None


def claimed(folder: Path) -> str | None:
    """The fingerprint that an unfinished folder was building; None where it cannot be told."""
    try:
        return json.loads((folder / CLAIM).read_text(encoding="utf-8"))["fingerprint"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


@contextmanager
def lock(folder: Path, patience: float = 20.0) -> Iterator[int]:
    """Holds the artifact for one writer; the file descriptor is inherited by the worker, so the lock lives as long as
    either of the two. Raises UserError where another run keeps it for longer than `patience` seconds."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    path = folder.parent / f".{folder.name}.lock"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    deadline = time.monotonic() + patience
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise UserError(f"{folder}: another run is building it (it holds {path}). Wait for it.") from None
                time.sleep(0.2)
        yield descriptor
    finally:
        os.close(descriptor)


def set_aside(folder: Path, name: str) -> Path:
    """Moves an artifact to .aside/<stage>-<fingerprint>: nothing that was trained is ever deleted or overwritten."""
    target = folder.parent / ASIDE / f"{folder.name}-{name[:16]}"
    number = 1
    while target.exists():
        number += 1
        target = target.with_name(f"{folder.name}-{name[:16]}.{number}")
    target.parent.mkdir(exist_ok=True)
    folder.rename(target)
    return target


def kept_aside(folder: Path, wanted: str) -> Path | None:
    """The sealed artifact of this fingerprint in .aside, where there is one."""
    for candidate in sorted((folder.parent / ASIDE).glob(f"{folder.name}-{wanted[:16]}*")):
        found = manifest(candidate)
        if found and found["fingerprint"] == wanted:
            return candidate
    return None


def claim(folder: Path, job: Mapping[str, Any]) -> None:
    """Prepares a folder for its verb: writes the claim, clears all but `resume/`, which a killed run left."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        if path.name not in (RESUME, CLAIM):
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    write_json(folder / CLAIM, job)


def seal(folder: Path, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Hashes the payload and writes the manifest, the last file of an artifact. Returns the manifest."""
    outputs = [
        {"file": str(p.relative_to(folder)), "bytes": p.stat().st_size, "sha256": sha256(p)} for p in payload(folder)
    ]
    sealed = {**facts, "outputs": outputs}
    write_json(folder / MANIFEST, sealed)
    sweep(folder)
    return sealed


def sweep(folder: Path) -> None:
    """Removes from a sealed artifact what only an unfinished one needs; last of all, so that a kill loses nothing."""
    (folder / CLAIM).unlink(missing_ok=True)
    if (folder / RESUME).exists():
        shutil.rmtree(folder / RESUME)


def verify(folder: Path) -> list[str]:
    """What differs between a sealed artifact's files and its manifest; [] where all is well."""
    sealed = manifest(folder)
    if sealed is None:
        return [f"{folder}: no {MANIFEST}: the stage is unfinished"]
    problems = []
    listed = {entry["file"]: entry for entry in sealed["outputs"]}
    present = {str(path.relative_to(folder)): path for path in payload(folder)}
    for name in sorted(listed.keys() - present.keys()):
        problems.append(f"{folder / name}: is missing")
    for name in sorted(present.keys() - listed.keys()):
        problems.append(f"{folder / name}: is not in the manifest")
    for name in sorted(listed.keys() & present.keys()):
        if present[name].stat().st_size != listed[name]["bytes"] or sha256(present[name]) != listed[name]["sha256"]:
            problems.append(f"{folder / name}: differs from the manifest's sha256")
    return problems
