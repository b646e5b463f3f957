"""What a recipe still needs: its unfinished stages, each with what it waits for and what it is given.

A stage is needed unless its folder holds a manifest of the right fingerprint, which is the driver's own rule; so a
chain that broke off anywhere is queued again from there. The stages of a base recipe count as well.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline import artifact
from pipeline.chain import BY_NAME, CHAIN
from pipeline.cluster.profile import Resources, Sky, Slurm
from pipeline.corpus.recipe import Recipe as Corpus
from pipeline.launch import config
from pipeline.ppo.recipe import Recipe as Ppo
from pipeline.pretrain.recipe import Recipe as Pretrain
from pipeline.recipe import Recipe, sourced
from pipeline.run import Plan, check_worth, plan, stage_inputs
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


def outline(run: Recipe, runs: Path) -> list[Plan]:
    """The same stages without their identities, and so without a look at the files that only other machines have."""
    known: dict[tuple[str, str], Plan] = {}

    def add(name: str, of: Recipe) -> None:
        owner = of.owner(name)
        assert owner is not None, f"{name} is left out of {of.name}"
        if (owner.name, name) in known:
            return
        recipe = owner.own[name]
        stage = sourced(BY_NAME[name], recipe)
        for above, source in stage_inputs(stage, owner).values():
            add(source, above)
        known[owner.name, name] = Plan(
            stage=stage, recipe=recipe, identity={}, inputs={}, folder=runs / owner.name / name, run=owner
        )

    for stage in CHAIN:
        if run.owner(stage.name) is not None:
            add(stage.name, run)
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


def check(stages: list[Plan], profile: Slurm | Sky) -> None:
    """Raises UserError where a stage could not work, or would ignore a key, with what the profile gives it."""
    for todo in stages:
        check_executor(todo, profile)
        check_accel(todo, profile)
        check_share(todo, given(profile, todo.stage.name))


def check_executor(todo: Plan, profile: Slurm | Sky) -> None:
    """Raises UserError where the corpus is to be shared out over a cluster that this is not."""
    if not isinstance(todo.recipe, Corpus) or todo.recipe.executor in ("local", profile.kind):
        return
    able = "local or slurm" if isinstance(profile, Slurm) else "local"
    raise UserError(
        f"{todo.run.folder / 'corpus.yaml'}: executor = {todo.recipe.executor}, and the cluster's profile is of kind "
        f"{profile.kind}, where it cannot work. Say executor: {able}; or make that stage alone, before: make corpus "
        f"CLUSTER=<a profile of kind {todo.recipe.executor}>."
    )


def check_accel(todo: Plan, profile: Slurm | Sky) -> None:
    """Raises UserError where the stage's accelerate config does not exist, or contradicts what else it is given."""
    stage, resources = todo.stage.name, given(profile, todo.stage.name)
    if not resources.accel:
        return
    accel, where = config(resources.accel), f"stages.{stage}: accel = {resources.accel}"
    own = isinstance(profile, Slurm) and "accel" in profile.stages.get(stage, {})
    if own and not todo.stage.distributed and accel["distributed_type"] != "NO":
        able = ", ".join(name for name, other in BY_NAME.items() if other.distributed)
        raise UserError(
            f"{where}: this stage is one process, which would ignore it; {able} take several. Leave it out."
        )
    if accel.get("use_cpu") and resources.gpus:
        raise UserError(
            f"{where} works on the processor, and gpus = {resources.gpus} would idle. Leave one of them out."
        )
    if resources.accel == "single_gpu" and todo.stage.distributed and resources.gpus > 1:
        raise UserError(f"{where} takes one of gpus = {resources.gpus}. Say accel: ddp, or leave it out.")


def check_share(todo: Plan, resources: Resources) -> None:
    """Raises UserError where a batch cannot be shared out equally among the processes that the profile gives."""
    recipe, stage = todo.recipe, todo.stage
    if not stage.distributed or not isinstance(recipe, Pretrain | Ppo):
        return
    ranks = resources.nodes * processes(resources)
    # Pretraining cuts a batch into micro-batches, PPO into mini-batches.
    part = (recipe.micro_batch_size or 1) if isinstance(recipe, Pretrain) else recipe.trainer.num_mini_batches
    batch = recipe.batch_size if isinstance(recipe, Pretrain) else recipe.trainer.batch_size
    if batch % (ranks * part):
        key = "micro_batch_size" if isinstance(recipe, Pretrain) else "num_mini_batches"
        raise UserError(
            f"{todo.run.folder / stage.name}.yaml: batch_size = {batch} does not divide by {ranks} "
            f"processes, the {resources.nodes} node(s) x {ranks // resources.nodes} of the cluster's profile"
            f"{f', and {key} = {part}' if part > 1 else ''}. Change one of the two."
        )
