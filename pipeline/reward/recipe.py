"""What the stage `reward` may be told: how many pairs, and TRL's own settings."""

from typing import Self

from pydantic import Field, model_validator

from pipeline.stage import Stage, StageRecipe
from pipeline.trl_keys import RewardKeys

# Keys of RewardConfig that a setting of this stage leaves without effect, with the reason.
WITHOUT_EFFECT = {
    "dataset_num_proc": "the stage encodes the pairs by itself",
    "remove_unused_columns": "the stage makes the columns by itself",
}


class Recipe(StageRecipe):
    """The keys of reward.yaml.

    max_pairs: at most so many training pairs, drawn at random; null takes all.
    trainer: keys of trl's RewardConfig.
    """

    max_pairs: int | None = Field(default=None, ge=1)
    trainer: RewardKeys = Field(default_factory=dict)

    @model_validator(mode="after")
    def _no_key_without_effect(self) -> Self:
        for key, reason in WITHOUT_EFFECT.items():
            if key in self.trainer:
                raise ValueError(f"trainer.{key} would have no effect: {reason}. Remove it.")
        return self


STAGE = Stage(
    name="reward",
    version=1,
    recipe=Recipe,
    verb="pipeline.reward.train:run",
    reads=("sft", "preferences"),
)
