"""What the stage `reward` may be told: how many pairs, and TRL's own settings."""

from typing import Annotated

from pydantic import Field

from pipeline.stage import Stage, StageRecipe
from pipeline.trl_keys import RewardKeys, without_effect

# Keys of RewardConfig that a setting of this stage leaves without effect, with the reason.
WITHOUT_EFFECT = {
    "dataset_num_proc": "the stage encodes the pairs by itself",
    "remove_unused_columns": "the stage makes the columns by itself",
}


class Recipe(StageRecipe):
    """The keys of reward.yaml.

    max_pairs: about so many training pairs, those of prompts drawn at random; null takes all.
    trainer: keys of trl's RewardConfig. All pairs of a prompt are trained together, so per_device_train_batch_size
        counts prompts.
    """

    max_pairs: int | None = Field(default=None, ge=1)
    trainer: Annotated[RewardKeys, without_effect(WITHOUT_EFFECT)] = Field(default_factory=dict)


STAGE = Stage(
    name="reward",
    version=4,
    recipe=Recipe,
    verb="pipeline.reward.train:run",
    reads=("sft", "preferences"),
)
