"""Profiles: what a cluster is, in a file of the user's own. `make submit RECIPE=storyworld CLUSTER=lab`

Reads ~/.config/groundup/clusters/<name>.yaml, or a path; recipes/clusters/ holds examples. A recipe says what is to be
made and a profile where, so that neither names the other. As strict as a recipe: an unknown key, a wrong type, a stage
that does not exist, a key that another setting makes ineffective are errors before anything is queued.
"""

import difflib
import re
import shlex
import subprocess
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, field_validator, model_validator

from pipeline.chain import BY_NAME
from pipeline.recipe import load_yaml, validate
from pipeline.stage import Section, UserError

PROFILES = Path("~/.config/groundup/clusters")


def shaped(pattern: str, what: str) -> AfterValidator:
    """A text of a form, which a mistake's message says in words."""

    def check(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError(f"expected {what}")
        return text

    return AfterValidator(check)


def quoted(value: Any) -> Any:
    """YAML 1.1 reads 4:00:00 as a number to the base of 60."""
    if isinstance(value, int):
        clock = f"{value // 3600}:{value // 60 % 60:02}:{value % 60:02}"
        raise ValueError(f'YAML reads a time without quotes as a number. Write "{clock}", in quotes, if that is meant')
    return value


def with_unit(value: Any) -> Any:
    """A number of what?"""
    if isinstance(value, int):
        raise ValueError(f"expected whole gigabytes with their unit: {value}G")
    return value


Time = Annotated[
    str,
    shaped(r"(\d+-)?\d{1,3}:\d{2}:\d{2}", "[days-]hours:minutes:seconds, such as 4:00:00"),
    BeforeValidator(quoted),
]
Gigabytes = Annotated[str, shaped(r"\d+G", "whole gigabytes, such as 64G"), BeforeValidator(with_unit)]
# What ends up in a line of #SBATCH and in the names of files.
Name = Annotated[str, shaped(r"[\w.,+-]+", "a name as the cluster lists it: letters, digits and . , + - _")]
Bucket = Annotated[
    str,
    shaped(r"(s3|gs|r2|oci|nebius|cos)://\S+|https://\S+\.blob\.core\.windows\.net/\S+", "s3://, gs:// or the like"),
]
Address = Annotated[str, shaped(r"auto|(ray://)?[\w.-]+:\d+", "auto, host:6379 or ray://host:10001")]

# The options of sbatch that the profile's own keys set, or that the chain stands on.
OURS = {
    "array", "chdir", "comment", "cpus-per-task", "dependency", "error", "gpus-per-node", "job-name",
    "kill-on-invalid-dep", "mem", "no-requeue", "nodes", "ntasks", "ntasks-per-node", "open-mode", "output",
    "partition", "requeue", "signal", "time",
}  # fmt: skip


class Resources(Section):
    """What one stage is given. nodes: only stages that train on several processes take more than one. gpus, cpus: of
    one node. gpu: which kind, in the cluster's own word. memory: of one node, 64G. accel: a file under
    accelerate_configs/; left out, it is picked on the node."""

    nodes: int = Field(default=1, ge=1)
    gpus: int = Field(default=0, ge=0)
    gpu: Name | None = None
    cpus: int = Field(default=1, ge=1)
    memory: Gigabytes = "8G"
    accel: str | None = None

    @model_validator(mode="after")
    def kind_has_a_number(self) -> "Resources":
        if self.gpu is not None and not self.gpus:
            raise ValueError(f"gpu = {self.gpu} without gpus: say how many of them a node has")
        return self


class SlurmResources(Resources):
    """What a job is given. partition: as `sinfo` lists it. time: its limit, [days-]hours:minutes:seconds; a job that
    reaches it goes on in another."""

    partition: Name | None = None
    time: Time = "1:00:00"

    @property
    def seconds(self) -> int:
        """The time limit."""
        days, _, clock = self.time.rpartition("-")
        hours, minutes, seconds = map(int, clock.split(":"))
        return ((int(days or 0) * 24 + hours) * 60 + minutes) * 60 + seconds


class Profile(Section):
    """What both kinds of profile have in common. setup: lines of bash that run before anything else on every machine.
    default: what a stage is given; stages: what single ones are given otherwise."""

    setup: str = ""

    @field_validator("setup")
    @classmethod
    def bash_reads_it(cls, value: str) -> str:
        """An open quote, `if` or here-document would swallow the rest of every script that it is put into."""
        done = subprocess.run(["/bin/bash", "-n"], input=f"{value}\n", text=True, capture_output=True, check=False)
        if done.returncode or done.stderr:
            raise ValueError(f"bash cannot read it: {done.stderr.strip()}")
        if value.rstrip().endswith("\\"):
            raise ValueError("ends with a backslash, which would join what comes after it")
        return value

    @field_validator("stages", check_fields=False)
    @classmethod
    def stages_exist(cls, value: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        for name in value:
            if name not in BY_NAME:
                close = difflib.get_close_matches(name, BY_NAME, n=1)
                hint = f" Did you mean '{close[0]}'?" if close else ""
                raise ValueError(f"no stage '{name}'.{hint} There are: {', '.join(BY_NAME)}")
        return value


class Slurm(Profile):
    """A Slurm cluster. runs: the folder for runs, on storage that every node has under this path. python: what starts
    Python for the stages' own processes, such as one in a container that sees runs and this checkout. warning: seconds
    before its time limit at which a job writes a checkpoint and queues itself again. requeues: how often it may.
    preemptible: whether Slurm itself may queue a job again; a failed node then does so too. options: further ones of
    sbatch, such as --account=lab."""

    kind: Literal["slurm"]
    runs: str
    python: str | None = None
    default: SlurmResources = SlurmResources()
    stages: dict[str, dict[str, Any]] = Field(default_factory=dict)
    warning: int = Field(default=120, ge=1)
    requeues: int = Field(default=100, ge=0)
    preemptible: bool = False
    options: tuple[str, ...] = ()

    @field_validator("runs")
    @classmethod
    def absolute(cls, value: str) -> str:
        if not value.startswith("/"):
            raise ValueError("must begin with /: a path that every node has, on shared storage")
        return value.rstrip("/")

    @field_validator("python")
    @classmethod
    def words(cls, value: str | None) -> str | None:
        if value is not None and not value.strip():
            raise ValueError("is empty; leave it out for the Python of this environment")
        try:
            shlex.split(value or "")
        except ValueError as error:
            raise ValueError(f"cannot be split into words as a shell does it: {error}") from None
        return value

    @field_validator("options")
    @classmethod
    def not_ours(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for option in value:
            found = re.fullmatch(r"--([a-z-]+)(=\S+)?", option)
            if not found:
                raise ValueError(f"'{option}' is no option of sbatch in the form --name=value")
            if found[1] in OURS:
                raise ValueError(f"--{found[1]} is set by groundup; the profile's other keys decide it")
        return value

    def resources(self, stage: str) -> SlurmResources:
        """What the stage is given: the default, with its own keys in their place."""
        return SlurmResources(**{**self.default.model_dump(exclude_unset=True), **self.stages.get(stage, {})})


class Sky(Profile):
    """A cloud or a Kubernetes cluster through SkyPilot: one task makes the whole chain. infra: aws, gcp/us-central1,
    kubernetes, in SkyPilot's words. image: a container, docker:name. bucket: an object store (s3://.., gs://..) that
    is mounted for the runs; volume: a shared SkyPilot volume, which several nodes need. spot: take machines that may
    be taken away, and begin again on others."""

    kind: Literal["skypilot"]
    infra: str | None = None
    image: str | None = None
    bucket: Bucket | None = None
    volume: str | None = None
    spot: bool = False
    default: Resources = Resources()
    disk: int = Field(default=100, ge=50)  # GB

    @model_validator(mode="after")
    def one_place_for_the_runs(self) -> "Sky":
        if (self.bucket is None) == (self.volume is None):
            raise ValueError("give either bucket (one machine) or volume (any number): that is where the runs lie")
        if self.default.nodes > 1 and self.volume is None:
            raise ValueError(
                f"nodes = {self.default.nodes} need storage that they share, and a mounted bucket shows each machine "
                f"its own cache of it. Give `volume:`, a SkyPilot volume that several nodes mount"
            )
        return self


class Ray(Section):
    """A Ray cluster that is there already, for the corpus stage alone (`executor: ray`). address: of its head,
    host:6379 or ray://host:10001; auto for the one on this machine. cpus, memory_gb: of one task."""

    kind: Literal["ray"]
    address: Address
    cpus: int = Field(default=1, ge=1)
    memory_gb: float = Field(default=2.0, gt=0)


KINDS: dict[str, type[Slurm] | type[Sky] | type[Ray]] = {"slurm": Slurm, "skypilot": Sky, "ray": Ray}


def find(name: str) -> Path:
    """The file of a profile given by name or by path. Raises UserError where there is none."""
    if not name.strip():
        raise UserError(
            f"CLUSTER= is empty: name a profile, a file in {PROFILES} (copy one from recipes/clusters/) or its path."
        )
    folder = PROFILES.expanduser()
    for path in (folder / f"{name}.yaml", Path(name).expanduser()):
        if path.is_file():
            return path
    known = sorted(path.stem for path in folder.glob("*.yaml"))
    close = difflib.get_close_matches(name, known, n=1)
    hint = f" Did you mean '{close[0]}'?" if close else ""
    raise UserError(
        f"CLUSTER={name}: no {PROFILES / name}.yaml, and no such file.{hint} "
        f"There are: {', '.join(known) or 'none yet; copy one from recipes/clusters/'}."
    )


def load(name: str) -> Slurm | Sky | Ray:
    """The checked profile. Raises UserError, naming file, key and what is accepted."""
    path = find(name)
    data = load_yaml(path)
    kind = data.get("kind")
    if kind not in KINDS:
        raise UserError(f"{path}: kind = {kind!r}: accepted here: {', '.join(KINDS)}.")
    profile = validate(KINDS[kind], data, str(path))
    if isinstance(profile, Slurm):
        for key in ("nodes", "gpus"):
            if (number := getattr(profile.default, key)) > 1:
                raise UserError(f"{path}: default.{key} = {number}: give more than one to single stages alone.")
        check_given(path, "default", profile.default, profile.warning)
        for stage, given in profile.stages.items():
            merged = {**profile.default.model_dump(mode="json", exclude_unset=True), **given}
            found = validate(SlurmResources, merged, f"{path}: stages.{stage}")
            one_process(path, stage, found)
            check_given(path, f"stages.{stage}", found, profile.warning)
    return profile


def one_process(path: Path, stage: str, found: Resources) -> None:
    """Refuses nodes and GPUs that a stage would hold and not use."""
    able = ", ".join(name for name, other in BY_NAME.items() if other.distributed)
    for key, number in (("nodes", found.nodes), ("gpus", found.gpus)):
        if number > 1 and not BY_NAME[stage].distributed:
            raise UserError(
                f"{path}: stages.{stage}.{key} = {number}: this stage is one process, on one node and one GPU; "
                f"several take {able}."
            )


def check_given(path: Path, where: str, found: SlurmResources, warning: int) -> None:
    """Refuses a time limit that leaves no time before its warning."""
    if found.seconds <= warning:
        raise UserError(
            f"{path}: {where}.time = {found.time}: no longer than warning = {warning} s, so the job would be told to "
            f"stop as it starts. Give it more time, or a later warning."
        )
