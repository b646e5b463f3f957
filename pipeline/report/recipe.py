"""What the report may be told, and what it reads: every stage of the run, as far as the recipe has them."""

from pydantic import Field

from pipeline.stage import Stage, StageRecipe


class Recipe(StageRecipe):
    """
    title: the page's heading; null: the run's name.
    num_dropped: how many examples of what the corpus dropped are shown for each reason.
    num_characters: at how many characters an example or an answer is cut.
    """

    title: str | None = None
    num_dropped: int = Field(default=3, ge=0)
    num_characters: int = Field(default=1200, ge=50)


STAGE = Stage(
    name="report",
    version=11,
    recipe=Recipe,
    verb="pipeline.report.run:run",
    reads=(
        *("collect", "corpus", "tokenizer", "pretrain", "sft", "preferences", "reward", "dpo", "ppo", "grpo"),
        "evaluate",
    ),
)
