"""The two sources that need nothing from the user: the story world and the installed documentation."""

from typing import Self

from pydantic import Field, model_validator

from pipeline.stage import Section


class StoryWorld(Section):
    """The built-in story world as a small dirty web.

    documents: clean stories. cards: short clean documents that say who is who and has what, the primer of a small
        model. planted: pieces of dirt of each kind, on top of the clean stories. text_files: documents
        that become single text files; a third of all documents are web pages, the rest JSONL.
    labelled: labelled documents for the classifier of spam and abuse, from a seed of their own.
    evaluation_items: held-out stories that must not be in the corpus; some documents leak them.
    conversations, heldout_conversations: of the SFT training and of its held-out loss.
    preferences, rl, evaluate: prompts of each kind.
    """

    documents: int = Field(17_000, ge=20)
    cards: int = Field(3_200, ge=0)
    planted: int = Field(240, ge=1)
    text_files: int = Field(1_500, ge=0)
    labelled: int = Field(1_500, ge=10)
    evaluation_items: int = Field(300, ge=1)
    conversations: int = Field(5_500, ge=1)
    heldout_conversations: int = Field(300, ge=1)
    preferences: int = Field(1_600, ge=1)
    rl: int = Field(600, ge=1)
    evaluate: int = Field(1_000, ge=1)

    @model_validator(mode="after")
    def fits(self) -> Self:
        if self.text_files > self.documents:
            raise ValueError(
                f"text_files = {self.text_files} is more than documents = {self.documents}: it counts the stories "
                "that become text files. Lower text_files or raise documents."
            )
        if self.planted > self.documents // 4:
            raise ValueError(
                f"planted = {self.planted} is more than a quarter of documents = {self.documents}: too few clean "
                "stories to stand beside thirteen kinds of dirt. Lower planted or raise documents."
            )
        return self


class PyDocs(Section):
    """The documentation of Python and of every installed distribution.

    max_bytes: of documents kept (UTF-8); modules come in the order of a hash, so fewer bytes are a fair sample.
    conversations, heldout_conversations, preferences, rl, evaluate: at most so many of each.
    """

    max_bytes: int = Field(12_000_000, ge=10_000)
    conversations: int = Field(9_000, ge=1)
    heldout_conversations: int = Field(300, ge=1)
    preferences: int = Field(1_600, ge=1)
    rl: int = Field(600, ge=1)
    evaluate: int = Field(500, ge=1)
