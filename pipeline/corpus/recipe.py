"""The recipe of `corpus`: which cleaning steps run, in which strength.

A step that is null (or false, or empty) is left out. The sections under `quality` take the arguments of datatrove's
filters under that library's own names.
"""

from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from pipeline.screen.keys import NGRAM, PRIVACY, known_types
from pipeline.stage import Section, Stage, StageRecipe


class Safety(Section):
    """What must not be learnt from: by a classifier, by a list of coarse words, or by both.

    labelled: JSONL, {"text", "label"} a line with the label "clean" and others; null takes collect's labelled.jsonl.
    labels: those of which documents are dropped; with none, nothing is trained.
    clean_share: the share of labelled clean documents (held out of training) that may score above the threshold.
    coarse_share: the share of coarse words from which a document is dropped; null does not look at them.
    """

    labelled: str | None = None
    labels: tuple[str, ...] = ()
    clean_share: float = Field(default=0.005, gt=0, lt=0.1)
    coarse_share: float | None = Field(default=0.03, gt=0, lt=1)

    @model_validator(mode="after")
    def does_something(self) -> "Safety":
        """A section without effect, or a file that nothing is trained on."""
        if not self.labels and self.coarse_share is None:
            raise ValueError("neither labels nor coarse_share: nothing would be dropped. Give one, or safety: null")
        if self.labelled is not None and not self.labels:
            raise ValueError("labelled is only read where labels are given: name those that must go")
        return self


class Classifier(Section):
    """A fastText classifier of quality, trained from labelled text or taken from an earlier run.

    labelled: JSONL, {"text", "label"} a line. model: a trained one, say runs/web/corpus/models/quality.bin.
    keep: the labels that are wanted. least: their probability, together, below which a document is dropped.
    """

    labelled: str | None = None
    model: str | None = None
    keep: tuple[str, ...] = Field(min_length=1)
    least: float = Field(default=0.5, gt=0, lt=1)

    @model_validator(mode="after")
    def one_origin(self) -> "Classifier":
        """Exactly one of the two."""
        if (self.labelled is None) == (self.model is None):
            raise ValueError("give exactly one of labelled (to train) and model (trained before)")
        return self


class Quality(Section):
    """Quality heuristics. Each null leaves that filter out; {} takes it with datatrove's own thresholds."""

    gopher_quality: dict[str, Any] | None = None
    gopher_repetition: dict[str, Any] | None = None
    c4: dict[str, Any] | None = None
    fineweb: dict[str, Any] | None = None
    classifier: Classifier | None = None
    # A document is gibberish when its spelling is less likely than in all but this share of labelled text; needs
    # collect's labelled.jsonl.
    gibberish_share: float | None = Field(default=None, gt=0, lt=0.1)


class Dedup(Section):
    """Deduplication. near: Jaccard similarity of word 5-grams, case and punctuation aside, from which two documents
    are near-copies; null looks for none, so one may be trained on and another held out: the run and its card say so.

    exact: of documents with the same text, white space and the encoding of accents aside, the first stays. url: of
    documents with the same address the first stays. passages: of passages repeated inside a document the first stays.
    across: a line that stands in so many documents stays in the first of them only; null leaves them.
    """

    url: bool = True
    exact: bool = True
    near: float | None = Field(default=0.7, ge=0.3, le=1)
    passages: bool = True
    across: int | None = Field(default=6, ge=2)


class Recipe(StageRecipe):
    """The keys of corpus.yaml."""

    # The order of documents and what is kept do not depend on how the work was shared out.
    unhashed: ClassVar[frozenset[str]] = frozenset({"tasks", "workers", "executor"})

    tasks: int = Field(default=4, ge=1)
    workers: int = Field(default=2, ge=1)
    # The longest document that is read; a longer one, or a longer line, is counted as lost.
    max_document_bytes: int = Field(default=50_000_000, ge=1_000)
    # Where the tasks run: here, as an array of Slurm jobs, on a Ray cluster. The last two want CLUSTER=, a profile.
    executor: Literal["local", "slurm", "ray"] = "local"
    # either: the better of the two, page by page; resiliparse alone is ten times faster and as good on articles.
    extractor: Literal["either", "resiliparse", "trafilatura"] = "either"
    repair: bool = True
    languages: tuple[str, ...] | None = ("en",)
    # A fastText model (lid.176.bin, GlotLID's model.bin); null takes the two that are installed.
    language_model: str | None = None
    quality: Quality = Quality()
    safety: Safety | None = Safety()
    boilerplate: bool = True
    privacy: tuple[str, ...] = PRIVACY
    dedup: Dedup = Dedup()
    decontaminate_ngram: int | None = Field(default=NGRAM, ge=4)
    heldout_share: float = Field(default=0.02, ge=0, lt=0.5)
    # What is held out: that share of the documents, or the end of each, for a corpus of one long text.
    heldout: Literal["documents", "ends"] = "documents"
    shard_documents: int = Field(default=20_000, ge=1)

    def hashed(self) -> dict[str, Any]:
        """Without `heldout` where it says what was the only way once, so that older corpora stay valid."""
        return {key: value for key, value in super().hashed().items() if (key, value) != ("heldout", "documents")}

    @field_validator("languages")
    @classmethod
    def some_language(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        """An empty list would drop every document."""
        if value is not None and not value:
            raise ValueError("an empty list would drop every document; name ISO 639-1 codes, or null for no check")
        return value

    _known = field_validator("privacy")(known_types)

    @model_validator(mode="after")
    def workers_have_tasks(self) -> "Recipe":
        """A worker without a task would idle."""
        if self.workers > self.tasks:
            raise ValueError(f"workers {self.workers} > tasks {self.tasks}: raise tasks, or lower workers")
        return self


STAGE = Stage(
    name="corpus",
    version=5,
    recipe=Recipe,
    verb="pipeline.corpus.build:run",
    reads=("collect",),
    outside="pipeline.corpus.outside:identity",
)
