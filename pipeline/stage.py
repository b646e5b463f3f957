"""What a stage is: its declaration, its recipe's base class, and the job that its verb is handed.

A room `pipeline/<stage>/recipe.py` declares one `Stage` named STAGE and one `StageRecipe` subclass named Recipe. Both
must import in milliseconds (no torch, trl or datatrove), since the driver and `make` read all of them at every call.
The verb that does the work is named by a string and imported in the worker process only.
"""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict


class UserError(Exception):
    """A mistake that the user can mend: the message names what, where and how. Exit status 2, no traceback."""


class Section(BaseModel):
    """A strict, frozen group of recipe keys; unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, protected_namespaces=())


class StageRecipe(Section):
    """The keys of one stage. `unhashed` names the top-level keys that cannot change the result (log intervals)."""

    unhashed: ClassVar[frozenset[str]] = frozenset()

    def hashed(self) -> dict[str, Any]:
        """The keys that go into the artifact's fingerprint, as JSON types."""
        return self.model_dump(mode="json", exclude=set(self.unhashed))

    def given(self) -> dict[str, Any]:
        """The keys that were given, as JSON types; defaults left out. What `--set` changes."""
        return self.model_dump(mode="json", exclude_unset=True)


@dataclass(frozen=True, kw_only=True)
class Job:
    """What a verb is handed. It writes its payload under `out` and returns a flat dict of numbers, its metrics.

    `out` holds nothing but `out/resume/` when the verb starts: what a killed earlier run of the same fingerprint left
    there (checkpoints, finished tasks) is the verb's to use, and the driver removes it before it seals the artifact.
    `inputs` maps a stage's name to its sealed folder; a recipe with a base also sees the base's own models under
    "<base>/<stage>" where this recipe has its own. `cluster` is a profile's name or path, for a stage that shares its
    work out over a cluster; it cannot change the result.
    """

    stage: str
    recipe: Any
    out: Path
    inputs: Mapping[str, Path]
    seed: int
    run_name: str
    cluster: str | None = None

    @property
    def resume(self) -> Path:
        """The folder that survives a crash of this stage; made on first use."""
        folder = self.out / "resume"
        folder.mkdir(exist_ok=True)
        return folder

    def needs(self, stage: str) -> Path:
        """The folder of an input that this recipe cannot do without. Raises UserError where the recipe lacks it."""
        if stage not in self.inputs:
            raise UserError(
                f"{self.stage}: needs the artifact of '{stage}', and the recipe '{self.run_name}' has no "
                f"{stage}.yaml. Add that file, or leave {self.stage}.yaml out."
            )
        return self.inputs[stage]


@dataclass(frozen=True, kw_only=True)
class Stage:
    """The declaration of a room.

    name: the room's folder under pipeline/, the recipe's file and the artifact's folder.
    version: raised whenever the code changes what the stage would write; part of the fingerprint.
    verb: "module:function", called with a Job in the worker process, returning the metrics.
    reads: the stages whose artifacts it reads where the recipe has them. A recipe without such a stage is fine by the
        driver; the verb says with `Job.needs` which ones it cannot do without.
    outside: "module:function", called with the Recipe in the driver, returning a JSON value that identifies what the
        stage reads from outside (files with sha256, installed versions); part of the fingerprint.
    beside_base: whether the stage also reads the base's artifacts that this recipe overrides.
    distributed: whether the worker is started once per process of the accelerate config.
    optional: few recipes have it, so that a report does not say of a run that it lacks this stage.
    """

    name: str
    version: int
    recipe: type[StageRecipe]
    verb: str
    reads: tuple[str, ...] = ()
    outside: str | None = None
    beside_base: bool = False
    distributed: bool = False
    optional: bool = False


def resolve(path: str) -> Callable[..., Any]:
    """The function behind "module:function"."""
    module, _, function = path.partition(":")
    return getattr(importlib.import_module(module), function)
