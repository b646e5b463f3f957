"""What evaluate may be told, and what it reads: every model of the run, evaluation prompts, held-out text."""

from typing import Literal

from pydantic import Field, model_validator

from pipeline.stage import Stage, StageRecipe

# Keys that mean something only where prompts are answered.
ANSWERING = ("num_prompts", "temperature", "top_p", "max_new_tokens", "batch_size", "num_samples", "uncertified")


class Recipe(StageRecipe):
    """
    answers: how the answers to collect's evaluation prompts are scored. "wishes": by the story world's gold judge;
        "rouge_l": against each prompt's reference; null: no prompts are answered, only held-out text is measured.
    num_prompts: how many of the prompts are answered by each model, and how many texts the base samples from nothing.
    num_heldout_documents: how many documents of the corpus's held-out split give the bits per byte.
    num_samples: how many prompts are shown in results.json with every model's answer.
    uncertified: the reason, in words, why a benchmark counts although the corpus has no certificate against it.
    """

    answers: Literal["wishes", "rouge_l"] | None = "wishes"
    num_prompts: int = Field(default=500, ge=1)
    temperature: float = Field(default=0.7, ge=0.0, le=2.0)
    top_p: float = Field(default=1.0, gt=0.0, le=1.0)
    max_new_tokens: int = Field(default=170, ge=1)
    batch_size: int = Field(default=128, ge=1)
    num_heldout_documents: int = Field(default=400, ge=2)
    num_samples: int = Field(default=6, ge=0)
    uncertified: str | None = Field(default=None, min_length=10)

    @model_validator(mode="after")
    def _effective(self) -> "Recipe":
        if self.answers is None:
            fields = type(self).model_fields
            useless = [key for key in ANSWERING if getattr(self, key) != fields[key].default]
            if useless:
                raise ValueError(
                    f"answers is null, so {', '.join(useless)} would be ignored. Remove it, or set answers."
                )
        if self.temperature == 0.0 and self.top_p < 1.0:
            raise ValueError("temperature 0 takes the likeliest token, so top_p would be ignored. Remove top_p.")
        return self


STAGE = Stage(
    name="evaluate",
    version=5,
    recipe=Recipe,
    verb="pipeline.evaluate.run:run",
    reads=("collect", "corpus", "tokenizer", "pretrain", "sft", "dpo", "ppo"),
    beside_base=True,
)
