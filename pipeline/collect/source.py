"""One source of raw documents as a recipe describes it: a name, a weight, a licence, and exactly one section.

`files:` is a folder of this machine, `fetch:` files elsewhere, `dataset:` a Hugging Face data set, `storyworld:` and
`pydocs:` what comes with the project; `preset:` fills in a classic public data set (pipeline/collect/presets.py).
"""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from pipeline.collect.presets import PRESETS
from pipeline.collect.worlds import PyDocs, StoryWorld
from pipeline.formats import SUFFIXES
from pipeline.stage import Section
from pipeline.table import Table

MAX_SOURCES = 64  # the story world makes three of one; corpus can number 256
SECTIONS = ("files", "fetch", "dataset", "storyworld", "pydocs")
COMMIT = r"^[0-9a-f]{40}$"
LOCAL = ("/", "~", ".", "$")  # how the path of a data set on this machine begins
ADDRESS = re.compile(r"[a-z0-9+.-]+://.+")
# The preset's keys are filled in as Python values, where a list is not yet a tuple.
Names = Annotated[tuple[str, ...], Field(strict=False)]


class Columns(Section):
    """Which columns of a row (CSV, JSONL, Parquet, a data set) mean what; `metadata.url` looks into an object.

    text: several are joined by an empty line. html: read where a row has no text. Absent columns are passed over.
    """

    text: str | Names = "text"
    html: str = "html"
    id: str = "id"
    url: str = "url"
    licence: str = "licence"

    def row(self) -> dict[str, Any]:
        """As sources.json says it."""
        return {**self.model_dump(), "text": [self.text] if isinstance(self.text, str) else list(self.text)}


class Folder(Section):
    """A folder of documents, read with everything below it, or a single file.

    folder: its path; `~` is the home folder, `$NAME` what the environment says, a relative path starts where the
        command runs. suffixes: the file names to take, each also with .gz or .zst; null: all that can be read.
    """

    folder: str = Field(min_length=1)
    suffixes: Names | None = Field(None, min_length=1)
    columns: Columns | None = None

    @field_validator("suffixes")
    @classmethod
    def known(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        unknown = [suffix for suffix in value or () if suffix not in SUFFIXES]
        if unknown:
            raise ValueError(f"cannot read {', '.join(unknown)}. Accepted: {', '.join(SUFFIXES)}.")
        return value


class Files(Folder):
    """A folder that is the recipe's only source. licence: of the documents, for the data card."""

    licence: str = "unknown"


class Fetch(Section):
    """Files elsewhere, by fsspec address (https://.., s3://.., hf://..): copied once, before anything is read.

    addresses: of files, or with * of several, or of a list of addresses (`..paths.gz`, as Common Crawl publishes).
    max_files: take so many, evenly spread over what the addresses give. The addresses alone go into the fingerprint:
        name what does not change.
    """

    addresses: Names = Field(min_length=1)
    max_files: int | None = Field(None, ge=1)
    columns: Columns | None = None

    @field_validator("addresses")
    @classmethod
    def absolute(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for address in value:
            if not ADDRESS.fullmatch(address):
                raise ValueError(f"{address} is no address (https://.., s3://..); a folder stands under files:.")
            if "@" in urlsplit(address).netloc:
                raise ValueError(
                    f"an address of {urlsplit(address).hostname} holds a user's name or password, which recipe and "
                    "manifest would keep. Leave it out; the library has its own place for it (a .netrc file, say)."
                )
        return value


class DataSet(Section):
    """A Hugging Face data set, streamed row by row.

    path: `org/name` on the Hub, or a folder of this machine (beginning with / ~ . or $).
    config, split: as the data set names them.
    revision: the commit, 40 hex digits; of a Hub data set only, and needed there, since a branch moves.
    max_documents: the first so many rows.
    """

    path: str = Field(min_length=1)
    config: str | None = None
    split: str = "train"
    revision: str | None = Field(None, pattern=COMMIT)
    max_documents: int | None = Field(None, ge=1)
    columns: Columns = Columns()

    @property
    def local(self) -> bool:
        """Whether it lies on this machine."""
        return self.path.startswith(LOCAL)

    @model_validator(mode="after")
    def pinned(self) -> Self:
        if self.local and self.revision:
            raise ValueError("revision is of a Hub data set; a folder is known by its files' sha256. Leave it out.")
        if not self.local and not self.revision:
            raise ValueError(
                f"revision is missing: name the commit (40 hex digits) of https://huggingface.co/datasets/{self.path}"
                "/commits/main that you want; a branch could hold other data tomorrow."
            )
        return self


class Benchmark(Table):
    """A benchmark's items: a file or folder of rows on this machine, or a data set of the Hub at a commit.

    text: the columns that an item is made of (question, choices, answer), read one below the other; id: the column
        that names it, without one its number.
    """

    text: Names = Field(min_length=1)
    id: str | None = None


# A file's name, and what a task of the harness may be called.
BenchmarkName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)]


class Source(Section):
    """A source. weight: how many times each of its documents is to stand in the corpus, on average (0.1: a tenth of
    them, 3: three times). licence: for the data card; null: what the source itself states."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=60)
    weight: float = Field(1.0, gt=0, le=100)
    licence: str | None = None
    preset: str | None = None
    files: Folder | None = None
    fetch: Fetch | None = None
    dataset: DataSet | None = None
    storyworld: StoryWorld | None = None
    pydocs: PyDocs | None = None

    @model_validator(mode="before")
    @classmethod
    def filled(cls, data: Any) -> Any:
        """The preset's keys, under those that were given."""
        if not isinstance(data, Mapping) or data.get("preset") is None:
            return data
        preset = PRESETS.get(data["preset"])
        if preset is None:
            raise ValueError(f"preset = {data['preset']!r} is unknown. Accepted: {', '.join(PRESETS)}.")
        given = data.get(preset.section) or {}
        licence = data.get("licence") or preset.licence
        return {**data, "licence": licence, preset.section: {**preset.keys, **given}}

    @model_validator(mode="after")
    def one_section(self) -> Self:
        given = [name for name in SECTIONS if getattr(self, name) is not None]
        if len(given) != 1:
            found = " and ".join(given) if given else "none"
            raise ValueError(f"give exactly one of {', '.join(SECTIONS)}, or a preset; found {found}.")
        return self
