"""Recipes: loads `recipes/<name>/` strictly, so that a mistake is one clear message before anything expensive starts.

Reads `recipe.yaml` (`seed`, `base`) and one `<stage>.yaml` for each stage that the recipe has. Unknown and duplicate
keys, wrong types and keys that another setting makes ineffective are errors which name file, key, value, what is
accepted and the nearest valid key. A stage's file may also be one line, `hub: org/name@<commit>`: then its artifact is
taken from the Hub. Try: `python -m pipeline.run sft --recipe storyworld --set epochs=two`
"""

import difflib
import json
import re
import types
import typing
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, Field, ValidationError, field_validator

from pipeline.hub.layout import PUSHABLE
from pipeline.licences import LICENCES
from pipeline.stage import Section, Stage, StageRecipe, UserError

# The recipes that come with the source tree; a wheel has none, there --recipe takes a path.
RECIPES = Path(__file__).resolve().parent.parent / "recipes"


class RunRecipe(Section):
    """The keys of recipe.yaml.

    seed: of every stage. base: the recipe whose run gives the stages that have no file. licence: under which
    `make push` publishes models, in the Hub's words (apache-2.0); null: the card says that none is stated.
    tracking: what the trainings' logs are handed on to as they grow; null: nothing. trackio and tensorboard stay on
    the machine, wandb sends.
    usd_per_hour: what the machine costs, from which report and card say what each stage did; null: it is unknown.
    """

    seed: int = 0
    base: str | None = None
    licence: str | None = None
    tracking: Literal["trackio", "tensorboard", "wandb"] | None = "trackio"
    usd_per_hour: float | None = Field(default=None, gt=0.0, le=100_000.0)

    @field_validator("licence")
    @classmethod
    def known(cls, value: str | None) -> str | None:
        if value is not None and value not in LICENCES:
            close = difflib.get_close_matches(value.lower(), LICENCES, n=1)
            hint = f" Did you mean '{close[0]}'?" if close else ""
            raise ValueError(f"the Hub lists no such licence.{hint} Write `other` for one of your own.")
        return value


class HubSource(StageRecipe):
    """A stage whose artifact is taken from the Hub, where `make push` put it. hub: `org/name@` and the commit."""

    hub: Annotated[str, Field(pattern=r"^(datasets/)?[\w-][\w.-]*/[\w-][\w.-]*@[0-9a-f]{40}$")]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A loaded recipe folder. `own` holds the stages that it has a file for."""

    name: str
    folder: Path
    seed: int
    base: "Recipe | None"
    licence: str | None = None
    tracking: str | None = None
    usd_per_hour: float | None = None
    own: Mapping[str, StageRecipe] = field(default_factory=dict)

    def owner(self, stage: str) -> "Recipe | None":
        """This recipe or the base that has a file for the stage; None where the stage is left out."""
        if stage in self.own:
            return self
        return self.base.owner(stage) if self.base else None


class StrictLoader(yaml.SafeLoader):
    """PyYAML's safe loader, which refuses duplicate keys and reads 3e-4 as the number that it is."""


def _mapping(loader: StrictLoader, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
    seen: set[Hashable] = set()
    for key_node, _ in node.value:
        key = loader.construct_object(key_node, deep=True)
        if key in seen:
            line = key_node.start_mark.line + 1
            raise UserError(f"{node.start_mark.name}, line {line}: the key '{key}' stands twice. Keep one of the two.")
        seen.add(key)
    return yaml.SafeLoader.construct_mapping(loader, node, deep=True)


StrictLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)
# YAML 1.1 wants a dot in a float; people and papers write 3e-4.
StrictLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9][0-9_]*[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def load_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file, {} where it is empty. Raises UserError for anything else."""
    try:
        loader = StrictLoader(path.read_text(encoding="utf-8"))
        loader.name = str(path)
        data = loader.get_single_data()
    except yaml.YAMLError as error:
        raise UserError(f"{path}: not valid YAML: {error}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from None
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise UserError(f"{path}: expected keys and values, found {type(data).__name__}.")
    return data


def accepted(model: type[BaseModel], location: tuple[str | int, ...]) -> list[str]:
    """The keys that the section with the key at `location` accepts. A section is a pydantic model or dataclass."""
    fields = model.__pydantic_fields__
    for part in location[:-1]:
        inner = fields[str(part)].annotation if str(part) in fields else None
        for option in typing.get_args(inner) if isinstance(inner, types.UnionType) else (inner,):
            inside = getattr(option, "__pydantic_fields__", None)
            if inside is not None:
                fields = inside
                break
    return list(fields)


def explain(model: type[BaseModel], error: ValidationError, where: str) -> str:
    """One line a mistake: file, key, value, what is accepted, and the nearest valid key."""
    lines = []
    for mistake in error.errors(include_url=False):
        location = mistake["loc"]
        key = ".".join(str(part) for part in location)
        value = json.dumps(mistake.get("input"), default=str, ensure_ascii=False)
        shown = value if len(value) <= 80 else value[:77] + "..."
        # The same mistake in a pydantic model and in a pydantic dataclass.
        if mistake["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
            names = accepted(model, location)
            close = difflib.get_close_matches(str(location[-1]), names, n=1, cutoff=0.5)
            hint = f" Did you mean '{close[0]}'?" if close else ""
            lines.append(f"{where}: unknown key '{key}'.{hint} Accepted here: {', '.join(sorted(names))}.")
        elif mistake["type"] == "missing":
            lines.append(f"{where}: the key '{key}' is missing.")
        elif mistake["type"] == "value_error":
            message = mistake["msg"].removeprefix("Value error, ")
            lines.append(f"{where}: {key + ' = ' + shown + ': ' if key else ''}{message}")
        else:
            lines.append(f"{where}: {key} = {shown}: {mistake['msg']}.")
    return "\n".join(lines)


def validate(model: type[Section], data: Mapping[str, Any], where: str) -> Any:
    """`data` as a frozen `model`. JSON rules of pydantic's strict mode: lists become tuples, "3" is no number."""
    try:
        text = json.dumps(data)
    except (TypeError, ValueError) as error:
        raise UserError(f"{where}: holds a value that is no JSON type (a date, a set?): {error}") from None
    try:
        return model.model_validate_json(text)
    except ValidationError as error:
        raise UserError(explain(model, error, where)) from None


def find(recipe: str) -> Path:
    """The folder of a recipe given by name or by path."""
    given = Path(recipe).expanduser()
    for folder in (RECIPES / recipe, given):
        if folder.is_dir():
            return folder.resolve()
    known = sorted(p.name for p in RECIPES.iterdir() if p.is_dir()) if RECIPES.is_dir() else []
    close = difflib.get_close_matches(recipe, known, n=1)
    hint = f" Did you mean '{close[0]}'?" if close else ""
    raise UserError(f"no recipe '{recipe}': no folder under recipes/, no path.{hint} There are: {', '.join(known)}.")


def load(recipe: str, chain: tuple[Stage, ...], above: tuple[Path, ...] = ()) -> Recipe:
    """Loads and checks a whole recipe folder, and the recipes that it builds on. Raises UserError."""
    folder = find(recipe)
    if folder in above:
        raise UserError(f"{folder}/recipe.yaml: 'base' leads back to {folder.name} itself.")
    top = folder / "recipe.yaml"
    run = validate(RunRecipe, load_yaml(top) if top.exists() else {}, str(top))
    files = {stage.name: folder / f"{stage.name}.yaml" for stage in chain}
    known = [*files.values(), top]
    for path in sorted(folder.glob("*.y*ml")):
        if path not in known:
            close = difflib.get_close_matches(path.name, [p.name for p in known], n=1, cutoff=0.5)
            hint = f" Did you mean {close[0]}?" if close else ""
            raise UserError(f"{path}: no stage has this name.{hint} Accepted: {', '.join(p.name for p in known)}.")
    own = {stage.name: load_stage(stage, files[stage.name]) for stage in chain if files[stage.name].exists()}
    if not own:
        raise UserError(f"{folder}: holds no stage's file, such as collect.yaml. Copy one from recipes/storyworld.")
    base = load(run.base, chain, (*above, folder)) if run.base else None
    return Recipe(
        name=folder.name,
        folder=folder,
        seed=run.seed,
        base=base,
        licence=run.licence or (base.licence if base else None),
        tracking=run.tracking if base is None or "tracking" in run.model_fields_set else base.tracking,
        usd_per_hour=run.usd_per_hour or (base.usd_per_hour if base else None),
        own=own,
    )


def load_stage(stage: Stage, path: Path) -> StageRecipe:
    """The keys of a stage's file: its own, or `hub:` alone."""
    data = load_yaml(path)
    if "hub" in data and stage.name not in PUSHABLE:
        raise UserError(
            f"{path}: hub = {data['hub']!r}: `make push` publishes no {stage.name}. It does {', '.join(PUSHABLE)}."
        )
    return validate(HubSource if "hub" in data else stage.recipe, data, str(path))


def sourced(stage: Stage, recipe: StageRecipe) -> Stage:
    """The stage as this recipe wants it: as declared, or as one that reads nothing but the Hub."""
    if not isinstance(recipe, HubSource):
        return stage
    return Stage(name=stage.name, version=1, recipe=HubSource, verb="pipeline.hub.pull:run")


def override(recipe: StageRecipe, settings: list[str], stage: str) -> StageRecipe:
    """The stage's recipe with `--set key=value` applied; values are YAML, dots reach into sections."""
    data = recipe.given()
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals:
            raise UserError(f"--set {setting}: expected key=value.")
        *sections, last = key.split(".")
        place = data
        for section in sections:
            place[section] = place.get(section) or {}
            place = place[section]
            if not isinstance(place, dict):
                raise UserError(f"--set {setting}: '{section}' is a value, not a section.")
        loader = StrictLoader(value)
        loader.name = f"--set {key}"
        place[last] = loader.get_single_data()
    return validate(type(recipe), data, f"{stage} (with --set)")
