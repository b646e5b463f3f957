"""What the tokenizer stage may be told, and what it reads."""

from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from pipeline.stage import Section, Stage, StageRecipe
from pipeline.tokenizer.named import REFERENCE

Named = Annotated[str, Field(pattern=REFERENCE)]
BYTES, SPECIAL = 256, 4  # special: pipeline.chat.SPECIAL_TOKENS
# The smallest vocabulary of a kind: its alphabet, the special tokens and room for some pieces. WordPiece has its
# alphabet twice, at the beginning of a word and inside it.
SMALLEST = {"bpe": 320, "unigram": 320, "wordpiece": 576, "char": SPECIAL + 2}


class Extend(Section):
    """An existing byte-pair tokenizer to extend with what the corpus wants.

    tokenizer: a folder, or `org/name@` and the commit on the Hub. new_tokens: how many to add at most.
    """

    tokenizer: Named
    new_tokens: int = Field(ge=1, le=1_000_000)


class Recipe(StageRecipe):
    """Keys of tokenizer.yaml.

    kind: "bpe", "unigram" and "wordpiece" learn pieces of bytes, "byte" has the bytes alone, "char" the characters of
        the corpus and one token for any other.
    vocab_size: everything counted; the vocabulary is smaller where the corpus does not hold that many pieces. None:
        2048; of bytes always 260.
    normalization: Unicode's, before anything else. lowercase: likewise. Either is a loss that the report measures.
    digits: "together" (1984 may be one piece), "single", or "threes" from the left.
    conversations: learn the pieces from collect's conversations too, so that a chat's words are whole; for they are
        not in a corpus of documents. What is said there counts once, as a document does.
    extend: no tokenizer of one's own, but an existing one with more pieces.
    compare: other tokenizers to stand beside this one in the report: folders, or `org/name@` and the commit.
    parallel: a folder or zip of one text in many languages, `<language>.txt` each, for the report.
    """

    kind: Literal["bpe", "unigram", "wordpiece", "byte", "char"] = "bpe"
    vocab_size: int | None = Field(default=None, le=1_000_000)
    normalization: Literal["nfc", "nfkc"] | None = None
    lowercase: bool = False
    digits: Literal["together", "single", "threes"] = "together"
    conversations: bool = False
    extend: Extend | None = None
    compare: tuple[Named, ...] = ()
    parallel: str | None = Field(default=None, min_length=1)

    @field_validator("compare")
    @classmethod
    def once(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(value)) < len(value):
            raise ValueError("a tokenizer stands twice. Name each once.")
        return value

    @model_validator(mode="after")
    def every_key_counts(self) -> Self:
        if self.extend is not None:
            mine = [key for key in ("kind", "vocab_size", "normalization", "lowercase", "digits") if self._says(key)]
            if mine:
                raise ValueError(f"'{mine[0]}' is the extended tokenizer's own to say. Remove it, or remove 'extend'.")
        elif self.kind == "byte" and self.vocab_size is not None:
            raise ValueError(f"kind: byte always has {BYTES + SPECIAL} tokens. Remove vocab_size.")
        elif self.vocab_size is not None and self.vocab_size < SMALLEST[self.kind]:
            raise ValueError(
                f"vocab_size = {self.vocab_size} is too small: kind: {self.kind} wants {SMALLEST[self.kind]} or more."
            )
        if self.kind == "byte" and self.conversations:
            raise ValueError("kind: byte learns nothing. Remove 'conversations'.")
        if self.kind in ("byte", "char") and self.digits != "together":
            raise ValueError(f"kind: {self.kind} takes every digit by itself anyway. Remove 'digits'.")
        return self

    def _says(self, key: str) -> bool:
        return getattr(self, key) != type(self).model_fields[key].default

    @property
    def vocabulary(self) -> int | None:
        """The largest that the vocabulary can be; None where only an extended tokenizer knows."""
        if self.extend is not None:
            return None
        return BYTES + SPECIAL if self.kind == "byte" else self.vocab_size or 2048


STAGE = Stage(
    name="tokenizer",
    version=4,
    recipe=Recipe,
    verb="pipeline.tokenizer.train:run",
    reads=("collect", "corpus"),
    outside="pipeline.tokenizer.named:identity",
)
