"""What the stage `sft` may be told: the model it starts from, its data, TRL's own settings, an optional adapter."""

import re
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from pipeline.chat_columns import ChatTable
from pipeline.lora import Lora
from pipeline.screen.keys import Screen
from pipeline.stage import Section, Stage, StageRecipe
from pipeline.trl_keys import SFTKeys, without_intervals

NUM_HELDOUT = 512  # held-out conversations measured after training; more would cost time and tell little


class Model(Section):
    """A model to start from, where the recipe has no pretrain.yaml.

    id: of the Hub, or a folder (`./..`, `/..` or `~/..`). revision: the Hub's commit, 40 hex digits.
    chat_template: "own", or "chatml", which gives a model without a template of its own (or with one that does not
        mark what the assistant writes) the project's, and those of its tokens that the vocabulary lacks.
    """

    id: str
    revision: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")] | None = None
    chat_template: Literal["own", "chatml"] = "own"

    @property
    def is_folder(self) -> bool:
        """Whether the id is a path on this machine."""
        return bool(re.match(r"[./~]", self.id))

    @model_validator(mode="after")
    def _pinned(self) -> Self:
        if self.is_folder and self.revision:
            raise ValueError("a folder has no revision: leave it out.")
        if not self.is_folder and not self.revision:
            raise ValueError(
                f"the Hub's {self.id} needs `revision`, the commit (40 hex digits), so that the run can be repeated. "
                "A folder is written ./name, /name or ~/name."
            )
        return self


class Source(ChatTable):
    """One data set of the mixture. weight: how often each of its conversations is taken; 0.5 takes a random half,
    2.5 each twice and a random half once more."""

    weight: float = Field(default=1.0, gt=0)


class Data(Section):
    """Conversations of one's own, in place of those that collect found.

    heldout: share that is not trained on and gives the held-out loss; chats with equal beginnings stay together.
    max_left_out: share of the chats that may be left out, counted by reason, because they cannot be trained on (an
        empty message, an unknown role, a special token in a text, too long). With 0 the first of them stops the stage;
        only too long ones may be up to 5 % by default.
    """

    sources: tuple[Source, ...] = Field(min_length=1)
    heldout: float = Field(default=0.05, gt=0, lt=1)
    max_left_out: float = Field(default=0.0, ge=0, lt=1)


class SFTLora(Lora):
    """load_in_4bit: QLoRA, the frozen weights in 4 bits (Dettmers et al. 2023, 2305.14314); needs bitsandbytes. The
    adapter is merged into the unrounded weights."""

    load_in_4bit: bool = False


class Recipe(StageRecipe):
    """The keys of sft.yaml.

    trainer: keys of trl's SFTConfig. max_rows: at most so many conversations, drawn at random; null takes all.
    screen: what is replaced or dropped before training (pipeline/screen/keys.py).
    """

    model: Model | None = None
    data: Data | None = None
    lora: SFTLora | None = None
    max_rows: Annotated[int, Field(gt=0)] | None = None
    screen: Screen = Screen()
    trainer: SFTKeys = Field(default_factory=dict)

    def hashed(self) -> dict[str, Any]:
        """Without intervals, and without keys that came later where they are not given."""
        keys = super().hashed()
        if self.data is None:
            del keys["data"]
        if self.model is not None and self.model.chat_template == "own":
            del keys["model"]["chat_template"]
        return {**keys, "trainer": without_intervals(keys["trainer"])}

    @model_validator(mode="after")
    def packing_knows_documents(self) -> "Recipe":
        """The one packing strategy of TRL's that lets a conversation see the one before it is refused."""
        if self.trainer.get("packing_strategy") == "wrapped":
            raise ValueError("trainer.packing_strategy = 'wrapped' leaks between conversations: use 'bfd'")
        return self


STAGE = Stage(
    name="sft",
    version=4,
    recipe=Recipe,
    verb="pipeline.sft.train:run",
    reads=("collect", "pretrain"),
    outside="pipeline.sft.outside:identity",
)
