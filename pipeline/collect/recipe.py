"""What `collect` may be told: where the raw documents come from.

`storyworld:` invents them, `pydocs:` reads the documentation installed on this machine, `files:` reads a folder;
`sources:` is a list of several, each with a name, a weight and a licence (pipeline/collect/source.py). `evaluation:`
names the benchmarks whose items must not be trained on.
"""

from typing import Any, Self

from pydantic import Field, field_validator, model_validator

from pipeline.collect.source import MAX_SOURCES, Benchmark, BenchmarkName, Files, Source
from pipeline.collect.worlds import PyDocs, StoryWorld
from pipeline.stage import Stage, StageRecipe

SECTIONS = ("storyworld", "pydocs", "files", "sources")


class Recipe(StageRecipe):
    """Exactly one of SECTIONS; `storyworld: {}` is a section with every default, `files:` is a list of one source.

    evaluation: benchmarks by name (of a task of the harness, say), each a table of items.
    """

    storyworld: StoryWorld | None = None
    pydocs: PyDocs | None = None
    files: Files | None = None
    sources: tuple[Source, ...] | None = None
    evaluation: dict[BenchmarkName, Benchmark] | None = Field(default=None, min_length=1)

    @field_validator("sources")
    @classmethod
    def distinct(cls, value: tuple[Source, ...] | None) -> tuple[Source, ...] | None:
        if value is not None and not 1 <= len(value) <= MAX_SOURCES:
            raise ValueError(f"a recipe has 1 to {MAX_SOURCES} sources, not {len(value)}.")
        names = [source.name.casefold() for source in value or ()]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two sources are called '{twice[0]}'. Give each a name of its own.")
        talking = [source.name for source in value or () if source.storyworld or source.pydocs]
        if len(talking) > 1:
            raise ValueError(
                f"{' and '.join(talking)}: the story world and the installed documentation both write conversations "
                "and prompts, so a recipe holds one of the two."
            )
        return value

    @model_validator(mode="after")
    def one_section(self) -> Self:
        given = [name for name in SECTIONS if getattr(self, name) is not None]
        if len(given) != 1:
            names = ", ".join(SECTIONS)
            found = " and ".join(given) if given else "none"
            raise ValueError(
                f"give exactly one of {names}; found {found}. `storyworld: {{}}` takes every default, several "
                "sources stand under `sources:`."
            )
        return self

    def listed(self) -> tuple[Source, ...]:
        """The sources of a recipe that has `files:` or `sources:`."""
        if self.files is not None:
            return (Source(name="files", weight=1.0, licence=self.files.licence, files=self.files),)
        return self.sources or ()

    def hashed(self) -> dict[str, Any]:
        """Without the sections that are absent, so that a new kind of source leaves old artifacts valid."""
        return self.model_dump(mode="json", exclude_none=True)


STAGE = Stage(
    name="collect",
    version=6,
    recipe=Recipe,
    verb="pipeline.collect.collect:run",
    outside="pipeline.collect.outside:identity",
)
