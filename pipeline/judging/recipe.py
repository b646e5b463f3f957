"""The section of preferences.yaml and evaluate.yaml that names a judging language model. Imports nothing heavy."""

import re
from typing import Annotated, Self

from pydantic import Field, model_validator

from pipeline.stage import Section


class LanguageModel(Section):
    """A language model that compares two answers by a written rubric. Both orders are asked, and only where they agree
    has one of the two won.

    rubric: what makes an answer better, in words.
    model: a folder (./.., /.. or ~/..), a model of the Hub with its revision, or with `url` that server's name of it.
    url: of an OpenAI-compatible server, up to and with /v1. key_env: the environment variable that holds its key.
    max_new_tokens: room for the verdict and its reasons. parallel: questions asked of the server at a time.
    """

    rubric: str = Field(min_length=1)
    model: str
    revision: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")] | None = None
    url: Annotated[str, Field(pattern=r"^https?://[^\s]+$")] | None = None
    key_env: Annotated[str, Field(pattern=r"^[A-Z_][A-Z0-9_]*$")] | None = None
    max_new_tokens: int = Field(default=200, ge=1)
    parallel: int = Field(default=8, ge=1, le=256)

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if self.url and self.revision:
            raise ValueError("a server's model has no revision here: leave it out, or leave url out.")
        if self.key_env and not self.url:
            raise ValueError("key_env belongs to url: a local model needs no key.")
        if not self.url and (re.match(r"[./~]", self.model) is None) == (self.revision is None):
            raise ValueError(
                f"model {self.model}: a model of the Hub needs `revision` (the commit), a folder (./name) has none."
            )
        return self
