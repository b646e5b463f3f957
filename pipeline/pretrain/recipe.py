"""What pretraining may be told, and what it reads."""

import copy
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field, ModelWrapValidatorHandler, PrivateAttr, model_validator

from pipeline.pretrain.fields import check
from pipeline.pretrain.size import expand
from pipeline.stage import Stage, StageRecipe

SMALL_LLAMA: dict[str, Any] = {
    "model_type": "llama",
    "hidden_size": 128,
    "intermediate_size": 512,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "head_dim": 64,
    "tie_word_embeddings": True,
}


class Recipe(StageRecipe):
    """Keys of pretrain.yaml.

    size: one dial, such as 12M: gives model, batch_size, learning_rate and tokens (pipeline/pretrain/size.py). A key
        that is given beside it, or a field in `model:`, replaces what the dial says. Only what
        it gives is hashed.
    model: model_type and any field of its transformers config; vocabulary and special ids come from the tokenizer,
        and initializer_range is 1 / sqrt(hidden_size) unless given.
    context: tokens a row. packing: "documents" (rows begin where documents begin) or "stream" (anywhere).
    short_first: documents of up to so many tokens come first, in the first epoch: a curriculum. None: all are mixed.
    batch_size: rows an optimiser step, over all processes. micro_batch_size: rows at once in one process; the batch's
        gradients are accumulated. None: the whole share of a process at once.
    tokens or steps: the budget.
    optimizer: "adamw", or "muon" for the matrices inside the model (AdamW for the rest).
    learning_rate: its peak, after warmup_share of the steps; then the schedule down to 0.
    """

    unhashed: ClassVar[frozenset[str]] = frozenset({"size", "evaluate_every", "checkpoint_every", "log_every"})

    size: str | None = None
    model: Annotated[dict[str, Any], AfterValidator(check)] = SMALL_LLAMA
    context: int = Field(default=256, ge=8)
    packing: Literal["documents", "stream"] = "documents"
    short_first: int | None = Field(default=None, ge=2)
    batch_size: int = Field(default=8, ge=1)
    micro_batch_size: int | None = Field(default=None, ge=1)
    tokens: int | None = Field(default=None, ge=1)
    steps: int | None = Field(default=None, ge=1)
    optimizer: Literal["adamw", "muon"] = "muon"
    learning_rate: float = Field(default=1e-2, gt=0)
    schedule: Literal["cosine", "linear", "wsd"] = "cosine"
    warmup_share: float = Field(default=0.05, ge=0, le=1)
    weight_decay: float = Field(default=0.1, ge=0)
    max_grad_norm: float = Field(default=1.0, gt=0)
    evaluate_every: int = Field(default=200, ge=1)
    checkpoint_every: int = Field(default=200, ge=1)
    log_every: int = Field(default=10, ge=1)

    _given: dict[str, Any] | None = PrivateAttr(None)  # beside `size`, before it was expanded

    @model_validator(mode="wrap")
    @classmethod
    def dial(cls, data: Any, handler: ModelWrapValidatorHandler["Recipe"]) -> "Recipe":
        """Puts in what `size` gives."""
        if not isinstance(data, dict) or data.get("size") is None:
            return handler(data)
        context = data.get("context", cls.model_fields["context"].default)
        recipe = handler(expand(data, context) if isinstance(context, int) and context > 0 else data)
        recipe._given = copy.deepcopy(data)
        return recipe

    def given(self) -> dict[str, Any]:
        """The keys that were given, so that another size gives everything anew."""
        return super().given() if self._given is None else copy.deepcopy(self._given)

    @model_validator(mode="after")
    def one_budget(self) -> "Recipe":
        """Exactly one of tokens and steps."""
        if (self.tokens is None) == (self.steps is None):
            raise ValueError("give the budget as exactly one of 'tokens' and 'steps'")
        if self.tokens is not None and self.tokens < self.batch_size * self.context:
            raise ValueError(
                f"tokens = {self.tokens} is less than one step: batch_size x context = "
                f"{self.batch_size * self.context}"
            )
        return self

    @property
    def num_steps(self) -> int:
        """Optimiser steps of the whole run."""
        if self.steps is not None:
            return self.steps
        assert self.tokens is not None, "one_budget"
        return self.tokens // (self.batch_size * self.context)


STAGE = Stage(
    name="pretrain",
    version=3,
    recipe=Recipe,
    verb="pipeline.pretrain.train:run",
    reads=("tokenizer",),
    distributed=True,
)
