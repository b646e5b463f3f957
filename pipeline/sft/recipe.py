"""What the stage `sft` may be told: the model it starts from, TRL's own settings, and an optional adapter."""

from typing import Annotated, Any

from pydantic import Field, field_validator, model_validator

from pipeline.stage import Section, Stage, StageRecipe
from pipeline.trl_keys import SFTKeys, without_intervals


class Model(Section):
    """A model of the Hub to start from, where the recipe has no pretrain.yaml. revision: a commit, 40 hex digits."""

    id: str
    revision: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")]


class Lora(Section):
    """A low-rank adapter, under peft's own names.

    target_modules: "all-linear", or names of modules. trainable_tokens: tokens whose embedding rows are trained too;
    the chat's own, which pretraining never saw, are no more than noise without it. merge_tolerance: the largest
    difference of a logit between the model with its adapter and the merged model that is accepted.
    """

    r: Annotated[int, Field(gt=0)] = 16
    lora_alpha: Annotated[float, Field(gt=0)] = 32
    lora_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    target_modules: str | tuple[str, ...] = "all-linear"
    trainable_tokens: tuple[str, ...] = ("<|im_start|>", "<|im_end|>")
    merge_tolerance: Annotated[float, Field(gt=0)] = 1e-3

    @field_validator("target_modules")
    @classmethod
    def no_output_layer(cls, value: str | tuple[str, ...]) -> str | tuple[str, ...]:
        """TRL refuses an adapter on the output layer: its loss reads that layer's weight directly."""
        if value == "lm_head" or "lm_head" in value:
            raise ValueError("an adapter on 'lm_head' would never be trained: leave it out")
        if not value:
            raise ValueError("names no module: write 'all-linear' or a list such as [q_proj, v_proj]")
        return value


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
