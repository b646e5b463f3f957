"""What pretraining may be told, and what it reads."""

import copy
import re
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, Field, ModelWrapValidatorHandler, PrivateAttr, model_validator

from pipeline.pretrain.fields import check
from pipeline.pretrain.size import expand
from pipeline.stage import Section, Stage, StageRecipe

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


# Came later than the first artifacts: hashed only where they say something, so that those stay valid.
LATER = (
    "continue_from", "documents_apart", "attention", "precision", "compile", "activation_checkpointing", "z_loss",
    "keep_best",
)  # fmt: skip


class Rope(Section):
    """A longer context by rotary positions: "linear" interpolates them (Chen et al. 2023, 2306.15595), "yarn" only the
    slow frequencies (Peng et al. 2023, 2309.00071). factor: the new context over the one that the model has."""

    rope_type: Literal["linear", "yarn"]
    factor: float = Field(gt=1)


class Checkpoint(Section):
    """A model to go on from, with its own shape in place of `model:`.

    id: of the Hub, or a folder (`./..`, `/..` or `~/..`). revision: the Hub's commit, 40 hex digits. rope: lengthens
    its context.
    """

    id: str
    revision: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")] | None = None
    rope: Rope | None = None

    @property
    def is_folder(self) -> bool:
        """Whether the id is a path on this machine."""
        return bool(re.match(r"[./~]", self.id))

    @model_validator(mode="after")
    def pinned(self) -> Self:
        """A folder, or a commit of the Hub."""
        if self.is_folder == (self.revision is not None):
            raise ValueError(
                "a folder is written ./name, /name or ~/name and has no revision; a model of the Hub needs one, the "
                "commit (40 hex digits), so that the run can be repeated"
            )
        return self


class Recipe(StageRecipe):
    """Keys of pretrain.yaml.

    size: one dial, such as 12M: gives model, batch_size, learning_rate and tokens (pipeline/pretrain/size.py). A key
        that is given beside it, or a field in `model:`, replaces what the dial says. Only what
        it gives is hashed.
    model: model_type and any field of its transformers config; vocabulary and special ids come from the tokenizer,
        and initializer_range is 1 / sqrt(hidden_size) unless given.
    continue_from: a checkpoint whose weights, shape and tokenizer the run goes on with, in place of `model:`.
    context: tokens a row. packing: "documents" (rows begin where documents begin) or "stream" (anywhere).
    short_first: documents of up to so many tokens come first, in the first epoch: a curriculum. None: all are mixed.
    documents_apart: whether a document in a row is hidden from the next one.
    batch_size: rows an optimiser step, over all processes. micro_batch_size: rows at once in one process; the batch's
        gradients are accumulated. None: the whole share of a process at once.
    tokens or steps: the budget.
    optimizer: "adamw", "muon" for the matrices inside the model (AdamW for the rest), or "sgd" with momentum.
    learning_rate: its peak, after warmup_share of the steps; then the schedule down to 0.
    z_loss: weight of the squared logarithm of the softmax's denominator, which keeps logits from growing without end
        (Chowdhery et al. 2022, 2204.02311, section 5: 1e-4).
    attention: transformers' name of an implementation; None: sdpa where the model has it.
    precision: "auto" is bfloat16 on GPUs that have it, else float32. compile: torch.compile, some tens of seconds.
    activation_checkpointing: every layer is computed again in the backward pass, for a fraction of the memory.
    keep_last: checkpoints that stay. keep_best: the model is that of the evaluation with the fewest bits per byte,
        rather than the last one.
    """

    unhashed: ClassVar[frozenset[str]] = frozenset(
        {"size", "evaluate_every", "checkpoint_every", "log_every", "keep_last"}
    )

    size: str | None = None
    model: Annotated[dict[str, Any], AfterValidator(check)] = SMALL_LLAMA
    continue_from: Checkpoint | None = None
    context: int = Field(default=256, ge=8)
    packing: Literal["documents", "stream"] = "documents"
    documents_apart: bool = True
    short_first: int | None = Field(default=None, ge=2)
    batch_size: int = Field(default=8, ge=1)
    micro_batch_size: int | None = Field(default=None, ge=1)
    tokens: int | None = Field(default=None, ge=1)
    steps: int | None = Field(default=None, ge=1)
    optimizer: Literal["adamw", "muon", "sgd"] = "muon"
    learning_rate: float = Field(default=1e-2, gt=0)
    schedule: Literal["cosine", "linear", "wsd"] = "cosine"
    warmup_share: float = Field(default=0.05, ge=0, le=1)
    weight_decay: float = Field(default=0.1, ge=0)
    max_grad_norm: float = Field(default=1.0, gt=0)
    z_loss: float = Field(default=0.0, ge=0)
    attention: Literal["eager", "sdpa", "flash_attention_2", "flash_attention_3", "flex_attention"] | None = None
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    compile: bool = False
    activation_checkpointing: bool = False
    keep_last: int = Field(default=2, ge=1)
    keep_best: bool = False
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

    def hashed(self) -> dict[str, Any]:
        """Without keys that came later where they are at their default, and with the interval that decides which
        model is the best one."""
        fields = type(self).model_fields
        keys = {
            name: value
            for name, value in super().hashed().items()
            if name not in LATER or getattr(self, name) != fields[name].default
        }
        if self.continue_from is not None:
            del keys["model"]
        return {**keys, **({"evaluate_every": self.evaluate_every} if self.keep_best else {})}

    @model_validator(mode="after")
    def one_model(self) -> "Recipe":
        """A model of its own or a checkpoint's."""
        given = {"model", "size"} & (self.model_fields_set - ({"model"} if self.size else set()))
        if self.continue_from is not None and given:
            raise ValueError(
                f"{' and '.join(sorted(given))} would have no effect beside continue_from, which brings its model: "
                f"remove one of them"
            )
        return self

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
    version=4,
    recipe=Recipe,
    verb="pipeline.pretrain.train:run",
    reads=("tokenizer",),
    outside="pipeline.pretrain.outside:identity",
    distributed=True,
)
