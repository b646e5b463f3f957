"""What a recipe still needs: its unfinished stages, each with what it waits for and what it is given.

A stage is needed unless its folder holds a manifest of the right fingerprint, which is the driver's own rule; so a
chain that broke off anywhere is queued again from there. The stages of a base recipe count as well.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline import artifact
from pipeline.chain import CHAIN
from pipeline.cluster.profile import Resources, Sky, Slurm
from pipeline.launch import config
from pipeline.ppo.recipe import Recipe as Ppo
from pipeline.pretrain.recipe import Recipe as Pretrain
from pipeline.recipe import Recipe
from pipeline.run import Plan, check_worth, plan
from pipeline.stage import UserError


@dataclass(frozen=True, kw_only=True)
class Step:
    """One stage to be made. after: the folders that it reads and that are not sealed either."""

    plan: Plan
    after: tuple[Path, ...]

    @property
    def name(self) -> str:
        """run/stage, as people read it."""
        return f"{self.plan.run.name}/{self.plan.stage.name}"


def plans(run: Recipe, runs: Path) -> list[Plan]:
    """Every stage that the recipe consists of, its base's included, in an order in which they can be made."""
    known: dict[tuple[str, str], Plan] = {}
    for stage in CHAIN:
        if run.owner(stage.name) is not None:
            plan(stage.name, run, runs, known=known)
    return list(known.values())


def sealed(todo: Plan) -> dict[str, Any] | None:
    """The manifest of the artifact that is to be, where it is there."""
    found = artifact.manifest(todo.folder)
    return found if found and found["fingerprint"] == todo.fingerprint else None


def needed(run: Recipe, runs: Path) -> list[Step]:
    """The stages that are to be made, in order. Raises UserError where one would replace an expensive artifact."""
    missing = [todo for todo in plans(run, runs) if not sealed(todo)]
    folders = {todo.folder for todo in missing}
    for todo in missing:
        if other := artifact.manifest(todo.folder):
            check_worth(todo, other)
    return [
        Step(plan=todo, after=tuple(sorted(folder for folder in todo.inputs.values() if folder in folders)))
        for todo in missing
    ]


def processes(resources: Resources) -> int:
    """How many processes one node runs of a stage that can have several."""
    if resources.gpus:
        return resources.gpus
    return int(config(resources.accel or "cpu").get("num_processes", 1))


def given(profile: Slurm | Sky, stage: str) -> Resources:
    """What the stage is given."""
    return profile.resources(stage) if isinstance(profile, Slurm) else profile.default


def check_shares(steps: list[Step], profile: Slurm | Sky) -> None:
    """Raises UserError where a batch cannot be shared out equally among the processes that the profile gives, or their
    accelerate config does not exist."""
    for step in steps:
        recipe, stage = step.plan.recipe, step.plan.stage
        resources = given(profile, stage.name)
        if resources.accel:
            config(resources.accel)
        if not stage.distributed or not isinstance(recipe, Pretrain | Ppo):
            continue
        ranks = resources.nodes * processes(resources)
        # Pretraining cuts a batch into micro-batches, PPO into mini-batches.
        part = (recipe.micro_batch_size or 1) if isinstance(recipe, Pretrain) else recipe.trainer.num_mini_batches
        batch = recipe.batch_size if isinstance(recipe, Pretrain) else recipe.trainer.batch_size
        if batch % (ranks * part):
            key = "micro_batch_size" if isinstance(recipe, Pretrain) else "num_mini_batches"
            raise UserError(
                f"{step.plan.run.folder / stage.name}.yaml: batch_size = {batch} does not divide by {ranks} "
                f"processes, the {resources.nodes} node(s) x {ranks // resources.nodes} of the cluster's profile"
                f"{f', and {key} = {part}' if part > 1 else ''}. Change one of the two."
            )
