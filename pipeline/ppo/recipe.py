"""What the stage `ppo` may be told: which critic, how many prompts, and the trainer's own settings."""

from typing import Any, Literal

from pydantic import Field, field_validator

from pipeline.chat_columns import PromptTable
from pipeline.lora import Lora
from pipeline.ppo.config import PPOConfig
from pipeline.screen.keys import Screen
from pipeline.stage import Stage, StageRecipe
from pipeline.table import identity as table_identity

# Keys of PPOConfig that the stage sets by itself, with the reason.
REFUSED = {"output_dir": "the stage writes into its own artifact", "seed": "seeds come from `seed` in recipe.yaml"}
INTERVALS = ("save_steps", "num_samples")  # they cannot change the result


class Recipe(StageRecipe):
    """The keys of ppo.yaml.

    value: the critic: "head", a number read off the policy's last hidden state, or "reward", a model of its own that
        starts as the reward model.
    lora: a low-rank adapter in place of the full weights; the reference is then the model without it.
    prompts: prompts of your own, in place of those that collect found.
    max_prompts: at most so many of the prompts, drawn at random; null takes all.
    screen: what is replaced in prompts, or drops them (pipeline/screen/keys.py).
    trainer: keys of PPOConfig (pipeline/ppo/config.py).
    """

    value: Literal["head", "reward"] = "head"
    lora: Lora | None = None
    prompts: PromptTable | None = None
    max_prompts: int | None = Field(default=None, ge=1)
    screen: Screen = Screen()
    trainer: PPOConfig = Field(default_factory=PPOConfig)

    @field_validator("trainer", mode="before")
    @classmethod
    def _stage_sets(cls, keys: Any) -> Any:
        for key, why in REFUSED.items() if isinstance(keys, dict) else ():
            if key in keys and keys[key] != getattr(PPOConfig(), key):
                raise ValueError(f"trainer.{key} cannot be set in a recipe: {why}. Take it out.")
        return keys

    def hashed(self) -> dict[str, Any]:
        keys = super().hashed()
        trainer = {key: value for key, value in keys["trainer"].items() if key not in (*REFUSED, *INTERVALS)}
        if self.prompts is None:  # the key came later: older artifacts keep their fingerprint
            del keys["prompts"]
        return {**keys, "trainer": trainer}


def identity(recipe: Recipe) -> Any:
    """What the stage reads from outside of the run: the files of prompts of one's own."""
    return None if recipe.prompts is None else table_identity([recipe.prompts])


STAGE = Stage(
    name="ppo",
    version=6,
    recipe=Recipe,
    verb="pipeline.ppo.train:run",
    reads=("collect", "sft", "reward"),
    outside="pipeline.ppo.recipe:identity",
    distributed=True,
)
