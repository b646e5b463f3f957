"""What the stage `sft` may be told: the model it starts from, TRL's own settings, and an optional adapter."""

from typing import Annotated, Any

from pydantic import Field, model_validator

from pipeline.lora import Lora
from pipeline.stage import Section, Stage, StageRecipe
from pipeline.trl_keys import SFTKeys, without_intervals


class Model(Section):
    """A model of the Hub to start from, where the recipe has no pretrain.yaml. revision: a commit, 40 hex digits."""

    id: str
    revision: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")]


class Recipe(StageRecipe):
    """The keys of sft.yaml.

    trainer: keys of trl's SFTConfig. max_rows: at most so many conversations, drawn at random; null takes all.
    """

    model: Model | None = None
    lora: Lora | None = None
    max_rows: Annotated[int, Field(gt=0)] | None = None
    trainer: SFTKeys = Field(default_factory=dict)

    def hashed(self) -> dict[str, Any]:
        keys = super().hashed()
        return {**keys, "trainer": without_intervals(keys["trainer"])}

    @model_validator(mode="after")
    def packing_knows_documents(self) -> "Recipe":
        """The one packing strategy of TRL's that lets a conversation see the one before it is refused."""
        if self.trainer.get("packing_strategy") == "wrapped":
            raise ValueError("trainer.packing_strategy = 'wrapped' leaks between conversations: use 'bfd'")
        return self


STAGE = Stage(
    name="sft",
    version=1,
    recipe=Recipe,
    verb="pipeline.sft.train:run",
    reads=("collect", "pretrain"),
)
