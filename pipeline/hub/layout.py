"""What a revision on the Hub holds: which files of an artifact stand where, and the marker that says who made it.

A model stands at the root, where `from_pretrained` looks for it; so do the splits of a data set. Everything else of
the artifact is under `artifact/`, its manifest included, so that a pull restores it file by file. `groundup.json`
lists every file with its hashes: a revision whose files are exactly those listed was made by `make push`.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from pipeline import artifact
from pipeline.chain import MODEL_STAGES
from pipeline.stage import UserError

MARKER, CARD, MANIFEST = "groundup.json", "README.md", "artifact/manifest.json"
SERVERS_OWN = ".gitattributes"  # the Hub writes it into every new repository
DATA_STAGES = ("corpus", "preferences")
PUSHABLE = (*MODEL_STAGES, "reward", *DATA_STAGES)
# Names at the root of an artifact that keep their place: the splits of a data set, and a LoRA adapter.
IN_PLACE = ("train", "heldout", "adapter")
# Not published: samples of what was dropped, which are the spam, abuse and personal data that a data set was cleaned
# of; a chat of the training data; and peft's card of an adapter, which is empty but for the folder of the base model.
LEFT_OUT = ("dropped.jsonl", "trained_tokens.json", "adapter/README.md")
ADAPTER = "adapter/adapter_config.json"
# What this machine alone knows about an artifact; not part of what is published.
LOCAL_KEYS = ("published", "pulled")
SMALL = 10 * 2**20  # bytes; above, the Hub stores a file by its sha256 and never by git's hash

Kind = Literal["model", "dataset"]
REPO = re.compile(r"(?P<dataset>datasets/)?(?P<id>[\w-][\w.-]*/[\w-][\w.-]*)(?:@(?P<revision>[\w./-]+))?")


def kind_of(stage: str) -> Kind:
    """As what the Hub holds the stage's artifact. Raises UserError for a stage that is not published."""
    if stage not in PUSHABLE:
        raise UserError(f"STAGE={stage}: is no model and no data set. Accepted: {', '.join(PUSHABLE)}.")
    return "dataset" if stage in DATA_STAGES else "model"


@dataclass(frozen=True, kw_only=True)
class Repo:
    """A repository, and a revision of it where one is named. kind: None where the user did not say."""

    id: str
    kind: Kind | None = None
    revision: str | None = None

    @classmethod
    def parse(cls, text: str) -> "Repo":
        """`org/name`, `datasets/org/name`, either with `@revision`. Raises UserError for anything else."""
        found = REPO.fullmatch(text)
        if not found:
            raise UserError(
                f"REPO={text}: expected org/name, or org/name@revision, or datasets/org/name, as on the Hub."
            )
        return cls(id=found["id"], kind="dataset" if found["dataset"] else None, revision=found["revision"])

    def at(self, revision: str) -> str:
        """`org/name@revision`, with `datasets/` in front of a data set."""
        return f"{'datasets/' if self.kind == 'dataset' else ''}{self.id}@{revision}"


@dataclass(frozen=True, kw_only=True)
class File:
    """A file to publish: its place in the repository, and its content, on disk or made for the occasion."""

    name: str
    content: Path | bytes
    num_bytes: int
    sha256: str
    git: str | None  # git's hash of the content, None where the Hub cannot store it by that

    @classmethod
    def of(cls, name: str, content: Path | bytes) -> "File":
        """The file with its hashes."""
        size = content.stat().st_size if isinstance(content, Path) else len(content)
        digest = artifact.sha256(content) if isinstance(content, Path) else hashlib.sha256(content).hexdigest()
        git = None
        if size <= SMALL:
            data = content.read_bytes() if isinstance(content, Path) else content
            git = hashlib.sha1(b"blob %d\0" % size + data, usedforsecurity=False).hexdigest()
        return cls(name=name, content=content, num_bytes=size, sha256=digest, git=git)

    def entry(self) -> dict[str, Any]:
        """The file's entry in the marker."""
        return {"bytes": self.num_bytes, "sha256": self.sha256, "git": self.git}


def place(file: str) -> str:
    """Where a file of an artifact stands in the repository."""
    first, _, rest = file.partition("/")
    if first == "model" and rest:
        return rest
    return file if first.partition(".")[0] in IN_PLACE else f"artifact/{file}"


def artifact_files(folder: Path, sealed: Mapping[str, Any], base: str | None) -> list[File]:
    """The artifact's files as they are published, and its manifest without what only this machine knows.

    base: the Hub id of the model that an adapter belongs on, in place of the folder that peft wrote into its config.
    """
    names = [entry["file"] for entry in sealed["outputs"]]
    public = {key: value for key, value in sealed.items() if key not in LOCAL_KEYS}
    public |= {"outputs": [], "not_published": [name for name in names if name in LEFT_OUT]}
    files = []
    for name in names:
        if name in LEFT_OUT:
            continue
        content: Path | bytes = folder / name
        if name == ADAPTER:
            content = text(json.loads((folder / name).read_text(encoding="utf-8")) | {"base_model_name_or_path": base})
        file = File.of(place(name), content)
        public["outputs"].append({"file": name, "bytes": file.num_bytes, "sha256": file.sha256})
        files.append(file)
    return [*files, File.of(MANIFEST, text(public))]


def text(value: Any) -> bytes:
    """JSON for people and machines, as `artifact.write_json` writes it."""
    return (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode()


def marker(sealed: Mapping[str, Any], files: list[File]) -> File:
    """`groundup.json` of a revision that holds these files."""
    names = [file.name for file in files]
    assert len(set(names)) == len(names), f"two files of one name: {sorted(names)}"
    return File.of(
        MARKER,
        text(
            {
                "made_by": "groundup: make push",
                "run": sealed["run"],
                "stage": sealed["stage"],
                "fingerprint": sealed["fingerprint"],
                "files": {file.name: file.entry() for file in sorted(files, key=lambda file: file.name)},
            }
        ),
    )


def same_files(listed: Mapping[str, Mapping[str, Any]], present: Mapping[str, str]) -> list[str]:
    """Names in which a revision differs from its marker; `present` has the sha256 or git's hash of each file."""
    rest = {name: digest for name, digest in present.items() if name not in (MARKER, SERVERS_OWN)}
    different = [n for n in listed.keys() & rest.keys() if rest[n] not in (listed[n]["sha256"], listed[n]["git"])]
    return sorted([*different, *(listed.keys() ^ rest.keys())])


def safe(name: str) -> bool:
    """Whether a file name from elsewhere stays inside of the folder that it is put into and off the driver's files."""
    path = PurePosixPath(name)
    own = (artifact.MANIFEST, artifact.CLAIM, artifact.RESUME)
    plain = bool(path.parts) and not path.is_absolute() and not re.search(r"[\\\x00:]", name)
    return plain and ".." not in path.parts and path.parts[0] not in own
