"""What the stage `dpo` may be told: which pairs, an optional adapter, and TRL's own settings (beta and loss_type)."""

import difflib
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from pipeline.lora import Lora
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
# The losses that DPOTrainer knows (a test compares them with the installed one).
LOSSES = (
    "sigmoid", "hinge", "ipo", "exo_pair", "nca_pair", "robust", "bco_pair", "sppo_hard", "aot", "aot_unpaired",
    "apo_zero", "apo_down", "discopop", "sft", "sigmoid_norm",
)  # fmt: skip
# Those that label_smoothing takes part in.
SMOOTHED = ("robust", "exo_pair", "aot", "aot_unpaired")


class Recipe(StageRecipe):
    """The keys of dpo.yaml.

    pairs: "all"; or of each prompt the answer that won most against the one that lost most ("best_against_worst"), or
        against the next best that lost to it ("best_against_next").
    max_pairs: at most so many of them, drawn at random; null takes all.
    lora: a low-rank adapter in place of the full weights; the reference is then the model without it.
    trainer: keys of trl's DPOConfig. loss_type: a list of losses, weighted by loss_weights.
    """

    pairs: Literal["all", "best_against_worst", "best_against_next"] = "all"
    max_pairs: int | None = Field(default=None, ge=1)
    lora: Lora | None = None
    trainer: Annotated[DPOKeys, without_effect(WITHOUT_EFFECT)] = Field(default_factory=dict)

    def hashed(self) -> dict[str, Any]:
        """Without `lora` where it is not given: it came later, and older artifacts keep their fingerprint."""
        return {key: value for key, value in super().hashed().items() if key != "lora" or value is not None}

    @property
    def losses(self) -> list[str]:
        """The losses of trainer.loss_type."""
        return list(self.trainer.get("loss_type", ["sigmoid"]))

    @model_validator(mode="after")
    def _losses_that_work(self) -> Self:
        for loss in self.losses:
            if loss not in LOSSES:
                close = difflib.get_close_matches(str(loss), LOSSES, n=1)
                hint = f" Did you mean '{close[0]}'?" if close else ""
                raise ValueError(f"trainer.loss_type: trl has no loss {loss!r}.{hint} It has: {', '.join(LOSSES)}.")
        weights = self.trainer.get("loss_weights")
        if weights is not None and len(weights) != len(self.losses):
            raise ValueError(
                f"trainer.loss_weights: {len(weights)} weights for {len(self.losses)} losses: give as many."
            )
        smoothing = self.trainer.get("label_smoothing", 0.0)
        if smoothing and not set(self.losses) & set(SMOOTHED):
            raise ValueError(
                f"trainer.label_smoothing has no effect on {', '.join(self.losses)}, only on {', '.join(SMOOTHED)}."
            )
        if not 0 <= smoothing < 0.5 or ("exo_pair" in self.losses and not smoothing):
            raise ValueError(
                "trainer.label_smoothing must be at least 0 and below 0.5, and above 0 for exo_pair (1e-3, say)."
            )
        if not self.trainer.get("beta", 0.1) > 0:
            raise ValueError("trainer.beta must be above 0: it is the price of leaving the reference.")
        return self


STAGE = Stage(
    name="dpo",
    version=3,
    recipe=Recipe,
    verb="pipeline.dpo.train:run",
    reads=("sft", "preferences"),
)
