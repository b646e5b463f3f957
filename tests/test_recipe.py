"""Recipes are strict: every mistake is one message that names file, key, value and the nearest valid key."""

from pathlib import Path

import pytest

from pipeline.chain import CHAIN
from pipeline.recipe import RECIPES, StrictLoader, load, load_yaml, override, validate
from pipeline.stage import Section, Stage, StageRecipe, UserError


class Optimizer(Section):
    learning_rate: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.95)


class Toy(StageRecipe):
    steps: int = 10
    name: str = "toy"
    optimizer: Optimizer | None = None


TOY = Stage(name="toy", version=1, recipe=Toy, verb="nowhere:run")


def write(folder: Path, **files: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text)
    return folder


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "stpes: 3",
            ["toy.yaml", "unknown key 'stpes'", "Did you mean 'steps'", "Accepted here: name, optimizer, steps"],
        ),
        ("steps: three", ["toy.yaml", 'steps = "three"', "integer"]),
        ("steps: 3.5", ["toy.yaml", "steps = 3.5", "integer"]),
        ("name: 3", ["toy.yaml", "name = 3", "string"]),
        ("steps: 3\nsteps: 4", ["toy.yaml, line 2", "'steps' stands twice"]),
        ("optimizer: {learning_rat: 1}", ["unknown key 'optimizer.learning_rat'", "Did you mean 'learning_rate'"]),
        ("optimizer: {betas: [0.9]}", ["optimizer.betas"]),
        ("- 1", ["expected keys and values, found list"]),
        ("steps: [", ["not valid YAML"]),
        ("name: !!python/object/apply:os.getcwd []", ["not valid YAML"]),
    ],
)
def test_a_mistake_in_a_recipe_is_one_message_that_says_how_to_mend_it(tmp_path, text, words):
    folder = write(tmp_path / "mine", toy=text)
    with pytest.raises(UserError) as error:
        load(str(folder), (TOY,))
    for word in words:
        assert word in str(error.value)


def test_numbers_are_read_as_people_write_them(tmp_path):
    folder = write(tmp_path / "mine", toy="optimizer: {learning_rate: 3e-4, betas: [0.9, 1]}", recipe="seed: 7")
    recipe = load(str(folder), (TOY,))
    assert recipe.own["toy"] == Toy(optimizer=Optimizer(learning_rate=3e-4, betas=(0.9, 1.0)))
    assert recipe.seed == 7
    assert load_yaml(folder / "toy.yaml")["optimizer"]["learning_rate"] == 0.0003


def test_a_recipe_is_frozen():
    with pytest.raises(ValueError, match="frozen"):
        Toy().steps = 4


def test_a_misnamed_stage_file_is_an_error(tmp_path):
    folder = write(tmp_path / "mine", toy="", tyo="")
    with pytest.raises(UserError, match=r"tyo\.yaml: no stage has this name\. Did you mean toy\.yaml"):
        load(str(folder), (TOY,))


def test_an_unknown_recipe_is_named_with_the_nearest_one():
    with pytest.raises(UserError, match=r"no recipe 'storyword'.*Did you mean 'storyworld'"):
        load("storyword", CHAIN)


def test_a_folder_without_stages_is_an_error(tmp_path):
    with pytest.raises(UserError, match="holds no stage's file"):
        load(str(write(tmp_path / "mine")), (TOY,))


def test_a_base_gives_the_stages_that_have_no_file(tmp_path):
    other = Stage(name="other", version=1, recipe=Toy, verb="nowhere:run")
    base = write(tmp_path / "base", toy="steps: 1", other="steps: 2", recipe="seed: 3")
    mine = write(tmp_path / "mine", toy="steps: 9", recipe=f"base: {base}")
    recipe = load(str(mine), (TOY, other))
    assert recipe.owner("toy").name == "mine"
    assert recipe.owner("other").name == "base"
    assert recipe.owner("other").seed == 3


def test_a_base_that_leads_back_is_an_error(tmp_path):
    mine = write(tmp_path / "mine", toy="", recipe=f"base: {tmp_path / 'mine'}")
    with pytest.raises(UserError, match="leads back to mine"):
        load(str(mine), (TOY,))


def test_overrides_follow_the_same_rules():
    assert override(Toy(), ["steps=3", "optimizer.learning_rate=1e-2"], "toy").optimizer.learning_rate == 0.01
    with pytest.raises(UserError, match="unknown key 'stps'"):
        override(Toy(), ["stps=3"], "toy")
    with pytest.raises(UserError, match="expected key=value"):
        override(Toy(), ["steps"], "toy")
    with pytest.raises(UserError, match="'name' is a value, not a section"):
        override(Toy(name="x"), ["name.first=3"], "toy")


def test_values_that_json_lacks_are_refused():
    data = {"name": StrictLoader("2026-11-22").get_single_data()}
    with pytest.raises(UserError, match="no JSON type"):
        validate(Toy, data, "here")


# recipes/clusters holds examples of cluster profiles; tests/test_cluster.py loads those.
@pytest.mark.parametrize("name", sorted(p.name for p in RECIPES.iterdir() if p.is_dir() and p.name != "clusters"))
def test_every_recipe_in_the_repository_loads(name):
    recipe = load(name, CHAIN)
    assert recipe.own
    assert (recipe.folder / "README.md").is_file()
