"""What the tokenizer stage may be told, and what it reads."""

from pydantic import Field

from pipeline.stage import Stage, StageRecipe


class Recipe(StageRecipe):
    """Keys of tokenizer.yaml. vocab_size: of the byte-level BPE, the 256 bytes and the special tokens included; the
    vocabulary is smaller where the corpus does not hold that many merges."""

    vocab_size: int = Field(default=2048, ge=320, le=1_000_000)


STAGE = Stage(name="tokenizer", version=1, recipe=Recipe, verb="pipeline.tokenizer.train:run", reads=("corpus",))
