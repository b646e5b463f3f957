"""What the stage `reward` may be told: how many pairs, and TRL's own settings."""

from pydantic import Field

from pipeline.stage import Stage, StageRecipe
from pipeline.trl_keys import RewardKeys


class Recipe(StageRecipe):
    """The keys of reward.yaml.

    max_pairs: at most so many training pairs, drawn at random; null takes all.
    trainer: keys of trl's RewardConfig.
    """

    max_pairs: int | None = Field(default=None, ge=1)
    trainer: RewardKeys = Field(default_factory=dict)


STAGE = Stage(
    name="reward",
    version=1,
    recipe=Recipe,
    verb="pipeline.reward.train:run",
    reads=("sft", "preferences"),
)
