"""The recipe section `lora:`, the same in every stage that can train an adapter. Imports nothing heavy."""

from typing import Annotated, Any

from pydantic import Field, SerializerFunctionWrapHandler, field_validator, model_serializer

from pipeline.stage import Section

NEWER = ("use_dora", "load_in_4bit")


class Lora(Section):
    """A low-rank adapter, under peft's own names.

    target_modules: "all-linear", or names of modules. trainable_tokens: tokens whose embedding rows are trained too;
    the chat's own, which pretraining never saw, are no more than noise without it. merge_tolerance: the largest
    difference of a logit between the model with its adapter and the merged model that is accepted. use_dora: the
    weights' directions alone are adapted by low rank, their lengths by a number each (Liu et al. 2024, 2402.09353).
    """

    r: Annotated[int, Field(gt=0)] = 16
    lora_alpha: Annotated[float, Field(gt=0)] = 32
    lora_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    target_modules: str | tuple[str, ...] = "all-linear"
    trainable_tokens: tuple[str, ...] = ("<|im_start|>", "<|im_end|>")
    merge_tolerance: Annotated[float, Field(gt=0)] = 1e-3
    use_dora: bool = False

    @model_serializer(mode="wrap")
    def without_newer_defaults(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Keys that came later are left out while they are off, so that older artifacts keep their fingerprint."""
        return {key: value for key, value in serialize(self).items() if key not in NEWER or value}

    @field_validator("target_modules")
    @classmethod
    def no_output_layer(cls, value: str | tuple[str, ...]) -> str | tuple[str, ...]:
        """TRL refuses an adapter on the output layer: its loss reads that layer's weight directly."""
        if value == "lm_head" or "lm_head" in value:
            raise ValueError("an adapter on 'lm_head' would never be trained: leave it out")
        if not value:
            raise ValueError("names no module: write 'all-linear' or a list such as [q_proj, v_proj]")
        return value
