"""The documentation on this machine: docstrings of the standard library and of every installed distribution.

Also Python's reference topics (`pydoc_data.topics`) and the distributions' long descriptions. Modules are read in the
order of a hash until `max_bytes` is reached. A module's hash also puts it on one side: train, heldout, preferences,
rl or evaluate. Modules of evaluate are in the evaluation alone, not in the corpus.

Writes raw/pydocs/*.jsonl, conversations.jsonl, heldout_conversations.jsonl, prompts/*.jsonl, evaluation/pydocs.jsonl.
Try: `make collect RECIPE=pydocs`
"""

import ast
import hashlib
import importlib.metadata
import random
import re
import sysconfig
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.collect import raw
from pipeline.collect.docstrings import Pair, read_module
from pipeline.collect.recipe import PyDocs
from pipeline.progress import Progress
from pipeline.stage import UserError

# Per mille of modules up to which a side reaches.
SIDES = (("train", 720), ("heldout", 750), ("preferences", 870), ("rl", 930), ("evaluate", 1000))
MAX_SOURCE_BYTES = 2_000_000  # a larger module is generated tables
# Folders whose modules are tests, or copies of another distribution, which would stand on two sides.
PASSED_OVER = frozenset({
    "test", "tests", "testing", "idlelib", "lib2to3", "turtledemo", "site-packages", "dist-packages", "__pycache__",
    "_vendor", "vendor", "vendored", "externals", "third_party",
})  # fmt: skip
QUESTIONS = (
    "{signature}\nWhat does this do? Answer in one line.",
    "Write the one-line summary of this:\n{signature}",
    "Document this in one line.\n{signature}",
    "Here is a signature.\n{signature}\nGive its docstring's first line.",
)


@dataclass(frozen=True, kw_only=True)
class Found:
    """A module's source on this machine; id is distribution/module."""

    id: str
    path: Path
    module: str
    licence: str


def collect(recipe: PyDocs, out: Path, seed: int) -> dict[str, float]:
    """Writes the artifact and returns its metrics."""
    documents, pairs = read(recipe.max_bytes)
    if not all(pairs[side] for side, _ in SIDES):
        raise UserError(
            f"collect.yaml: pydocs.max_bytes = {recipe.max_bytes} leaves a split without one documented function. "
            "Raise it, or install more packages."
        )
    raw_folder = out / "raw"
    raw.write_jsonl_shards(raw_folder / "pydocs", documents)
    raw.write_sources(raw_folder, [("pydocs", "jsonl", "pydocs", "see each document")])

    rng = random.Random(f"{seed}/pydocs")
    counts = {
        "conversations": raw.write_jsonl(
            out / "conversations.jsonl", _conversations(pairs["train"], recipe.conversations, rng)
        ),
        "heldout_conversations": raw.write_jsonl(
            out / "heldout_conversations.jsonl", _conversations(pairs["heldout"], recipe.heldout_conversations, rng)
        ),
    }
    limits = {"preferences": recipe.preferences, "rl": recipe.rl, "evaluate": recipe.evaluate}
    for side, limit in limits.items():
        counts[f"prompts_{side}"] = raw.write_jsonl(
            out / "prompts" / f"{side}.jsonl", _prompts(pairs[side], limit, rng)
        )
    items = ({"id": name, "text": f"{pair.signature}\n{pair.summary}"} for name, pair in pairs["evaluate"])
    counts["evaluation_items"] = raw.write_jsonl(out / "evaluation" / "pydocs.jsonl", items)
    size = sum(len(row["text"].encode("utf-8")) for row in documents)
    return {"documents": len(documents), "bytes": size, **counts}


def read(max_bytes: int) -> tuple[list[dict[str, Any]], dict[str, list[tuple[str, Pair]]]]:
    """Documents for the corpus, and the (id, pair)s of each side.

    A summary that stands in two modules is kept in the first alone: else an answer would be known on two sides.
    """
    documents: list[dict[str, Any]] = []
    pairs: dict[str, list[tuple[str, Pair]]] = defaultdict(list)
    seen: set[str] = set()
    size = 0
    with Progress(max_bytes, "pydocs", "bytes") as progress:
        for found in sorted(sources(), key=lambda found: digest("order", found.id)):
            texts, own = _parse(found)
            side = side_of(found.id)
            for pair in own:
                normal = " ".join(re.findall(r"\w+", pair.summary.lower()))
                if normal not in seen:
                    seen.add(normal)
                    pairs[side].append((f"{found.id}:{pair.name}:{len(pairs[side])}", pair))
            if side == "evaluate":
                continue
            taken = sum(len(text.encode("utf-8")) for text in texts.values())
            if size + taken > max_bytes:
                break
            size += taken
            documents.extend({"id": name, "text": text, "licence": found.licence} for name, text in texts.items())
            progress.update(taken)
    return documents, pairs


def side_of(module: str) -> str:
    """The side of a module, by a hash of its id."""
    share = digest("side", module) % 1000
    return next(side for side, bound in SIDES if share < bound)


def digest(purpose: str, name: str) -> int:
    """A number from a name, independent for each purpose."""
    return int.from_bytes(hashlib.sha256(f"{purpose}/{name}".encode()).digest()[:8], "big")


def sources() -> Iterator[Found]:
    """Every module, topic list and long description; ids are unique."""
    seen: set[str] = set()
    for found in _everything():
        if found.id not in seen:
            seen.add(found.id)
            yield found


def _everything() -> Iterator[Found]:
    stdlib = Path(sysconfig.get_path("stdlib"))
    for path in sorted(stdlib.rglob("*.py")):
        if found := _found("python", path, path.relative_to(stdlib), "PSF-2.0"):
            yield found
    for dist in sorted(importlib.metadata.distributions(), key=lambda dist: dist.metadata["Name"] or ""):
        name, licence = dist.metadata["Name"], licence_of(dist)
        if not name:
            continue
        for file in dist.files or ():
            path = Path(str(dist.locate_file(file)))
            if file.suffix == ".py" and (found := _found(name, path, Path(file), licence)):
                yield found
            elif file.name == "METADATA" and path.is_file():
                yield Found(id=f"{name}/METADATA", path=path, module="", licence=licence)


def _found(distribution: str, path: Path, relative: Path, licence: str) -> Found | None:
    """None for what is passed over: tests, vendored copies, scripts outside the library folder, huge files."""
    parts = relative.with_suffix("").parts
    if any(part in PASSED_OVER or part == ".." or part.startswith(("test_", ".")) for part in parts):
        return None
    if not path.is_file() or path.stat().st_size > MAX_SOURCE_BYTES:
        return None
    module = ".".join(parts).removesuffix(".__init__")
    return Found(id=f"{distribution}/{module}", path=path, module=module, licence=licence)


def _parse(found: Found) -> tuple[dict[str, str], tuple[Pair, ...]]:
    """Texts by id, and pairs, of one source; no text where it documents nothing."""
    source = found.path.read_text(encoding="utf-8", errors="replace")
    if not found.module:
        # The long description is the body behind the headers of METADATA.
        description = source.partition("\n\n")[2].strip()
        return ({found.id: description} if description else {}), ()
    if found.module == "pydoc_data.topics":
        return {f"{found.id}:{name}": text for name, text in _topics(source).items()}, ()
    module = read_module(source, found.module)
    return ({found.id: module.text}, module.pairs) if module else ({}, ())


def _topics(source: str) -> dict[str, str]:
    """Python's reference topics: the one dictionary in the module."""
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict):
            return {str(name): str(text).strip() for name, text in ast.literal_eval(node.value).items()}
    return {}


def licence_of(dist: importlib.metadata.Distribution) -> str:
    """The licence as the distribution states it, "unknown" where it does not."""
    meta = dist.metadata
    stated = meta["License-Expression"] or meta["License"] or ""
    if stated and "\n" not in stated and len(stated) < 80:
        return stated
    classifiers = [line for line in meta.get_all("Classifier") or () if line.startswith("License ::")]
    return classifiers[0].rpartition(" :: ")[2] if classifiers else "unknown"


def _conversations(pairs: list[tuple[str, Pair]], limit: int, rng: random.Random) -> Iterator[dict[str, Any]]:
    for name, pair in rng.sample(pairs, min(limit, len(pairs))):
        question = rng.choice(QUESTIONS).format(signature=pair.signature)
        messages = [{"role": "user", "content": question}, {"role": "assistant", "content": pair.summary}]
        yield {"id": name, "kind": "summary", "messages": messages}


def _prompts(pairs: list[tuple[str, Pair]], limit: int, rng: random.Random) -> Iterator[dict[str, Any]]:
    """`plain` is the signature as it stands in the documents, where the docstring follows it."""
    for name, pair in rng.sample(pairs, min(limit, len(pairs))):
        question = rng.choice(QUESTIONS).format(signature=pair.signature)
        yield {
            "id": name,
            "prompt": [{"role": "user", "content": question}],
            "wishes": None,
            "plain": pair.signature + "\n",
            "reference": pair.summary,
        }
