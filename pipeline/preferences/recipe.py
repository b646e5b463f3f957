"""The recipe of `preferences`: how pairs of answers are made and who judges them."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from pipeline.stage import Section, Stage, StageRecipe

Temperature = Annotated[float, Field(gt=0.0)]


class Gold(Section):
    """What only the gold judge makes use of, since it alone compares several samples by a score.

    samples_per_prompt: answers drawn for each prompt.
    pairs_per_prompt: at most so many pairs of one prompt's answers, drawn among those further apart than `margin`.
    margin: least difference of gold scores for two answers to make a pair.
    label_noise: share of pairs whose labels are swapped, a stand-in for people who disagree.
    """

    samples_per_prompt: int = Field(default=4, ge=2, le=64)
    pairs_per_prompt: int = Field(default=3, ge=1)
    margin: float = Field(default=0.05, ge=0.0, le=1.0)
    label_noise: float = Field(default=0.1, ge=0.0, lt=0.5)

    @model_validator(mode="after")
    def _enough_samples(self) -> Self:
        possible = self.samples_per_prompt * (self.samples_per_prompt - 1) // 2
        if self.pairs_per_prompt > possible:
            raise ValueError(
                f"pairs_per_prompt: {self.pairs_per_prompt} pairs cannot be made of {self.samples_per_prompt} "
                f"samples, {possible} at most. Lower it, or raise samples_per_prompt."
            )
        return self


class Recipe(StageRecipe):
    """The keys of preferences.yaml.

    judge: "gold" (the story world's judge orders the model's own samples) or "reference" (the author's text is chosen,
        the model's own sample rejected).
    gold: the gold judge's keys; belongs to judge: gold alone.
    max_prompts: how many of the collected prompts are used; null for all.
    temperature: one for all answers, or a list, one for each of samples_per_prompt: a prompt's answers then differ in
        quality as those of several models would.
    top_p, max_new_tokens, batch_size: the rest of how answers are drawn.
    heldout: share of the prompts whose pairs no training sees.
    """

    judge: Literal["gold", "reference"]
    gold: Gold | None = None
    max_prompts: int | None = Field(default=None, ge=2)
    temperature: Temperature | Annotated[list[Temperature], Field(min_length=1)] = 1.0
    top_p: float = Field(default=1.0, gt=0.0, le=1.0)
    max_new_tokens: int = Field(default=200, ge=1)
    batch_size: int = Field(default=256, ge=1)
    heldout: float = Field(default=0.2, gt=0.0, lt=1.0)

    @model_validator(mode="after")
    def _section_of_the_judge(self) -> Self:
        if self.judge == "gold" and self.gold is None:
            raise ValueError("judge: gold needs the section 'gold' (samples_per_prompt, pairs_per_prompt, ...).")
        if self.judge == "reference" and self.gold is not None:
            raise ValueError(
                "the section 'gold' is without effect under judge: reference, which sets the author's text against "
                "one sample of the model. Take it out, or set judge: gold."
            )
        return self

    @model_validator(mode="after")
    def _a_temperature_for_each_sample(self) -> Self:
        if isinstance(self.temperature, list) and len(self.temperature) != self.num_samples:
            raise ValueError(
                f"temperature: {len(self.temperature)} of them are given for {self.num_samples} sample(s) of each "
                "prompt. Give one number for all, or as many as there are samples."
            )
        return self

    @property
    def num_samples(self) -> int:
        """How many answers are drawn for each prompt."""
        return self.gold.samples_per_prompt if self.gold else 1

    @property
    def temperatures(self) -> list[float]:
        """The temperature of each of a prompt's answers."""
        return self.temperature if isinstance(self.temperature, list) else [self.temperature] * self.num_samples


STAGE = Stage(
    name="preferences",
    version=4,
    recipe=Recipe,
    verb="pipeline.preferences.make:run",
    reads=("collect", "sft"),
)
