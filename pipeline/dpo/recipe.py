"""What the stage `dpo` may be told: which pairs, and TRL's own settings (beta and loss_type among them)."""

from typing import Annotated, Literal

from pydantic import Field

from pipeline.stage import Stage, StageRecipe
from pipeline.trl_keys import DPOKeys, without_effect

# Keys of DPOConfig that a setting of this stage leaves without effect, with the reason.
WITHOUT_EFFECT = {
    "padding_free": "TRL ignores it for now",
    "sync_ref_model": "the reference is the SFT model throughout",
    "ref_model_mixup_alpha": "the reference is the SFT model throughout",
    "ref_model_sync_steps": "the reference is the SFT model throughout",
    "precompute_ref_log_probs": "the stage always computes them once, before the first step",
    "dataset_num_proc": "the stage encodes the pairs by itself",
    "remove_unused_columns": "the stage makes the columns by itself",
}


class Recipe(StageRecipe):
    """The keys of dpo.yaml.

    pairs: "all"; or of each prompt the answer that won most against the one that lost most ("best_against_worst"), or
        against the next best that lost to it ("best_against_next").
    max_pairs: at most so many of them, drawn at random; null takes all.
    trainer: keys of trl's DPOConfig.
    """

    pairs: Literal["all", "best_against_worst", "best_against_next"] = "all"
    max_pairs: int | None = Field(default=None, ge=1)
    trainer: Annotated[DPOKeys, without_effect(WITHOUT_EFFECT)] = Field(default_factory=dict)


STAGE = Stage(
    name="dpo",
    version=2,
    recipe=Recipe,
    verb="pipeline.dpo.train:run",
    reads=("sft", "preferences"),
)
