"""The recipe of `preferences`: how pairs of answers are made and who judges them."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from pipeline.functions import FunctionName
from pipeline.judging.recipe import LanguageModel
from pipeline.screen.keys import Screen
from pipeline.stage import Section, Stage, StageRecipe
from pipeline.table import Table

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


class Pairing(Section):
    """Which answers to a prompt are set against each other, for every judge but gold and reference.

    samples_per_prompt: answers drawn for each prompt; without effect where the answers are given.
    pick: the answer judged best against the worst, or "random" pairs of answers.
    pairs_per_prompt: at most so many random pairs of a prompt's answers.
    margin: least difference of scores for two answers to make a pair.
    balance_length: leave out pairs at random until the longer answer is chosen as often as the shorter one, so that
        length alone tells nothing.
    """

    samples_per_prompt: int = Field(default=4, ge=2, le=64)
    pick: Literal["best_against_worst", "random"] = "best_against_worst"
    pairs_per_prompt: int = Field(default=1, ge=1)
    margin: float = Field(default=0.0, ge=0.0)
    balance_length: bool = False

    @model_validator(mode="after")
    def _one_best(self) -> Self:
        if self.pick == "best_against_worst" and self.pairs_per_prompt != 1:
            raise ValueError("pairs_per_prompt: the best against the worst is one pair. Set pick: random for several.")
        return self


class Given(Table):
    """A preference set that is there already.

    format: what its rows are.
        pairs: chosen, rejected and, unless both begin with the same messages, prompt.
        transcripts: chosen, rejected, each a text of "\\n\\nHuman: .." and "\\n\\nAssistant: .." turns.
        choices: prompt, first, second, and label, the number of the better one (0: a tie).
        ranked: prompt, answers from best to worst. rated: prompt, answers, scores.
        A prompt or an answer is a text, a message or a list of messages; a row may have system, input (put after the
        prompt), history ([[question, answer], ..]) and source as well.
    columns: our name of a column -> theirs.
    """

    format: Literal["pairs", "transcripts", "choices", "ranked", "rated"] = "pairs"
    columns: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _known_columns(self) -> Self:
        accepted = (*NEEDED[self.format], *OPTIONAL[self.format])
        unknown = [name for name in self.columns if name not in accepted]
        if unknown:
            raise ValueError(f"columns: format: {self.format} has no '{unknown[0]}'. Accepted: {', '.join(accepted)}.")
        return self


_ASIDE = ("system", "input", "history", "source")
NEEDED: dict[str, tuple[str, ...]] = {
    "pairs": ("chosen", "rejected"),
    "transcripts": ("chosen", "rejected"),
    "choices": ("prompt", "first", "second", "label"),
    "ranked": ("prompt", "answers"),
    "rated": ("prompt", "answers", "scores"),
}
OPTIONAL: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(NEEDED, _ASIDE), "pairs": ("prompt", *_ASIDE), "transcripts": ("source",),
}  # fmt: skip


JUDGES = ("gold", "dataset", "function", "reward_model", "language_model")  # each with a key of its own name


class Recipe(StageRecipe):
    """The keys of preferences.yaml.

    judge: "gold" (the story world's judge orders the model's own samples), "reference" (the author's text is chosen,
        the model's own sample rejected), "dataset" (a set of preferences that is there already), or the model's own
        samples ordered by a "function", a "reward_model" or a "language_model". All but reference have a key of their
        own name, which belongs to that judge alone.
    function: `module:name` or `./file.py:name` of a function (prompt, answer, row) -> number: the messages, the
        answer's text, and everything that collect wrote about the prompt.
    reward_model: the folder of a sequence classifier with one output and the chat model's tokenizer.
    pairing: which answers are set against each other; for every judge but gold and reference.
    max_prompts: how many of the prompts are used; null for all.
    temperature: one for all answers, or a list, one for each of samples_per_prompt: a prompt's answers then differ in
        quality as those of several models would.
    top_p, max_new_tokens, batch_size: the rest of how answers are drawn.
    heldout: share of the prompts whose pairs no training sees.
    screen: what is replaced in prompts and pairs, or drops them (pipeline/screen/keys.py).
    """

    judge: Literal["gold", "reference", "dataset", "function", "reward_model", "language_model"]
    gold: Gold | None = None
    dataset: Given | None = None
    function: FunctionName | None = None
    reward_model: Annotated[str, Field(pattern=r"^[./~]")] | None = None
    language_model: LanguageModel | None = None
    pairing: Pairing | None = None
    max_prompts: int | None = Field(default=None, ge=2)
    temperature: Temperature | Annotated[list[Temperature], Field(min_length=1)] = 1.0
    top_p: float = Field(default=1.0, gt=0.0, le=1.0)
    max_new_tokens: int = Field(default=200, ge=1)
    batch_size: int = Field(default=256, ge=1)
    heldout: float = Field(default=0.2, gt=0.0, lt=1.0)
    screen: Screen = Screen()

    def hashed(self) -> dict[str, Any]:
        """Without keys that came later where they are not given, so that older artifacts keep their fingerprint."""
        newer = ("dataset", "function", "reward_model", "language_model", "pairing")
        return {key: value for key, value in super().hashed().items() if key not in newer or value is not None}

    @model_validator(mode="after")
    def _section_of_the_judge(self) -> Self:
        if self.judge in JUDGES and getattr(self, self.judge) is None:
            inside = "(samples_per_prompt, pairs_per_prompt, ...)" if self.judge == "gold" else "that says which"
            raise ValueError(f"judge: {self.judge} needs the section '{self.judge}' {inside}.")
        for name in (*JUDGES, "pairing"):
            used = self.judge not in ("gold", "reference") if name == "pairing" else name == self.judge
            if getattr(self, name) is not None and not used:
                raise ValueError(
                    f"the section '{name}' is without effect under judge: {self.judge}. Take it out, or change the "
                    "judge."
                )
        if self.judge == "language_model" and self.pairs.margin:
            raise ValueError("pairing.margin is without effect under judge: language_model, which gives no scores.")
        return self

    @model_validator(mode="after")
    def _drawing_has_effect(self) -> Self:
        if self.judge == "dataset":
            for name in ("temperature", "top_p", "max_new_tokens", "batch_size"):
                if name in self.model_fields_set and getattr(self, name) != type(self).model_fields[name].default:
                    raise ValueError(f"{name}: is without effect under judge: dataset, which draws no answers.")
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
    def pairs(self) -> Pairing:
        """The pairing with its defaults."""
        return self.pairing or Pairing()

    @property
    def num_samples(self) -> int:
        """How many answers are drawn for each prompt."""
        if self.judge in ("function", "reward_model", "language_model"):
            return self.pairs.samples_per_prompt
        return self.gold.samples_per_prompt if self.gold else 1

    @property
    def temperatures(self) -> list[float]:
        """The temperature of each of a prompt's answers."""
        return self.temperature if isinstance(self.temperature, list) else [self.temperature] * self.num_samples


STAGE = Stage(
    name="preferences",
    version=9,
    recipe=Recipe,
    verb="pipeline.preferences.make:run",
    reads=("collect", "sft"),
    outside="pipeline.preferences.outside:identity",
)
