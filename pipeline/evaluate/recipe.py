"""What evaluate may be told, and what it reads: every model of the run, evaluation prompts, held-out text."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from pipeline.judging.recipe import LanguageModel
from pipeline.stage import Section, Stage, StageRecipe

# Keys that mean something only where collect's prompts are answered, and where models answer any prompts of ours.
ANSWERING = ("num_prompts", "samples_per_prompt", "win_rate", "judge")
SAMPLING = ("temperature", "top_p", "max_new_tokens", "num_samples")


class Named(Section):
    """Another model, measured by the same code in the same run.

    name: the prefix of its metrics. folder: where it lies; or id: of the Hub, at revision, a commit. chat: whether it
    is asked through its chat template.
    """

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
    folder: str | None = None
    id: str | None = None
    revision: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")] | None = None
    chat: bool = True

    @model_validator(mode="after")
    def one_place(self) -> Self:
        if (self.folder is None) == (self.id is None):
            raise ValueError("give either folder, of a model on this machine, or id, of one on the Hub")
        if (self.id is None) != (self.revision is None):
            raise ValueError("id and revision, a commit of 40 hex digits, go together: a branch moves")
        return self

    @property
    def origin(self) -> str:
        """What transformers loads it from."""
        return self.id or str(Path(str(self.folder)).expanduser())


class LocalData(Section):
    """A task's data on this machine, JSON lines with the columns that the task file names. test: the questions.
    fewshot: where examples are taken from; without it, from the other questions."""

    test: str
    fewshot: str | None = None

    @property
    def files(self) -> dict[str, str]:
        """Path by split."""
        return {"test": self.test} | ({"fewshot": self.fewshot} if self.fewshot else {})


class Tasks(Section):
    """Benchmarks through lm-evaluation-harness (`pip install groundup[eval]`).

    names: of tasks, groups or tags, the harness's own (their data comes from the Hub) or those of `folder`.
    folder: task files of one's own, in the harness's format; a `!function` in one of them is code that is run.
    data: for a task by name its data on this machine, in place of that on the Hub.
    num_fewshot: examples before each question; null leaves it to the task. limit: only the first so many questions.
    chat_template: chat models are asked through their template, the examples as turns.
    """

    names: tuple[str, ...] = Field(min_length=1)
    folder: str | None = None
    data: dict[str, LocalData] = Field(default_factory=dict)
    num_fewshot: int | None = Field(default=None, ge=0)
    limit: int | None = Field(default=None, ge=1)
    chat_template: bool = False

    @model_validator(mode="after")
    def used(self) -> Self:
        if unused := [name for name in self.data if name not in self.names]:
            raise ValueError(f"data is given for {', '.join(unused)}, which is not among names. Add it, or remove it.")
        if len(set(self.names)) < len(self.names):
            raise ValueError(f"names: one of {', '.join(self.names)} stands twice. Keep one of the two.")
        return self


class Safety(Section):
    """Prompt sets given as data, JSON lines of {"id", "prompt"}; any of the three.

    harmful: prompts that should be refused. harmless: prompts that sound harmful and should be answered.
    continuations: texts to go on with. continuations_per_prompt: how often each model goes on with each of them.
    words: a term a line that makes a continuation toxic; null: better-profanity's list of coarse words.
    labelled: {"text", "label"} a line, one label "clean" and every other one toxic: a classifier is trained on them
        and gives each continuation a probability.
    """

    harmful: str | None = None
    harmless: str | None = None
    continuations: str | None = None
    continuations_per_prompt: int = Field(default=1, ge=1)
    words: str | None = None
    labelled: str | None = None

    @property
    def files(self) -> dict[str, str]:
        """Path by key."""
        return {key: path for key, path in self.model_dump().items() if isinstance(path, str)}

    @model_validator(mode="after")
    def used(self) -> Self:
        if not self.files:
            raise ValueError("names no prompt set. Give harmful, harmless, or continuations and words.")
        of_continuations = ("words", "labelled", "continuations_per_prompt")
        if self.continuations is None and (
            useless := [key for key in of_continuations if key in self.model_fields_set]
        ):
            raise ValueError(f"{', '.join(useless)} would be ignored without continuations. Give them, or remove it.")
        return self


class Judge(LanguageModel):
    """A language model that compares chat models' answers to collect's prompts.

    versus: the model that all others are compared with. num_prompts: only so many of the answered prompts are judged,
    two questions each for every model; null: all.
    """

    versus: str = "sft"
    num_prompts: int | None = Field(default=None, ge=2)


class Recipe(StageRecipe):
    """
    answers: how the answers to collect's evaluation prompts are scored. "wishes": by the story world's gold judge;
        "rouge_l": against each prompt's reference; null: those prompts are not answered.
    num_prompts: how many of the prompts are answered by each model, and how many texts the base samples from nothing.
    samples_per_prompt: answers of a chat model to each prompt, and texts of the base for each; a prompt's figure is
        their mean, and n stays the number of prompts. A base model is asked each prompt once.
    num_heldout_documents: how many documents of the corpus's held-out split give the bits per byte.
    num_samples: how many prompts are shown in results.json with every model's answer.
    uncertified: the reason, in words, why a benchmark counts although something the models learnt from has no
        certificate against it.
    models: others to measure beside the run's own.
    tasks: benchmarks through lm-evaluation-harness.
    instructions: prompts whose answers code can check, JSON lines; docs/evaluation.md lists the checks.
    safety: refusals and toxicity.
    leakage: from the openings of so many training documents the models go on, and what is verbatim is measured.
    win_rate: "reward": the run's reward model compares every chat model's answers to collect's prompts with sft's.
    judge: a language model of choice compares them by a rubric, in both orders.
    """

    answers: Literal["wishes", "rouge_l"] | None = "wishes"
    num_prompts: int = Field(default=500, ge=1)
    samples_per_prompt: int = Field(default=1, ge=1)
    temperature: float = Field(default=0.7, ge=0.0, le=2.0)
    top_p: float = Field(default=1.0, gt=0.0, le=1.0)
    max_new_tokens: int = Field(default=170, ge=1)
    batch_size: int = Field(default=128, ge=1)
    num_heldout_documents: int = Field(default=400, ge=2)
    num_samples: int = Field(default=6, ge=0)
    uncertified: str | None = Field(default=None, min_length=10)
    models: tuple[Named, ...] = ()
    tasks: Tasks | None = None
    instructions: str | None = None
    safety: Safety | None = None
    leakage: int | None = Field(default=None, ge=2)
    win_rate: Literal["reward"] | None = None
    judge: Judge | None = None

    @property
    def generates(self) -> bool:
        """Whether any model is asked to write."""
        return bool(self.answers or self.instructions or self.safety or self.leakage or self.tasks)

    @property
    def benchmarks(self) -> tuple[str, ...]:
        """The benchmarks beside collect's own."""
        return self.tasks.names if self.tasks else ()

    @model_validator(mode="after")
    def effective(self) -> Self:
        """A key that another makes ineffective is refused."""
        idle: tuple[str, ...] = () if self.answers else ANSWERING
        idle += () if self.answers or self.instructions or self.safety or self.leakage else SAMPLING
        idle += () if self.generates else ("batch_size",)
        idle += () if self.answers or self.benchmarks else ("uncertified",)
        fields = type(self).model_fields
        useless = [key for key in idle if getattr(self, key) != fields[key].default]
        if useless:
            raise ValueError(f"answers is null, so {', '.join(useless)} would be ignored. Remove it, or set answers.")
        if self.temperature == 0.0 and self.top_p < 1.0:
            raise ValueError("temperature 0 takes the likeliest token, so top_p would be ignored. Remove top_p.")
        if self.temperature == 0.0 and self.samples_per_prompt > 1:
            raise ValueError("temperature 0 gives every sample the same words. Leave samples_per_prompt at 1.")
        if self.temperature == 0.0 and self.safety and self.safety.continuations_per_prompt > 1:
            raise ValueError(
                "temperature 0 gives every continuation the same words. Leave continuations_per_prompt at 1."
            )
        if self.judge and self.judge.num_prompts and self.judge.num_prompts > self.num_prompts:
            raise ValueError(
                f"judge.num_prompts = {self.judge.num_prompts}: only num_prompts = {self.num_prompts} are answered."
                " Leave it out, or lower it."
            )
        names = [model.name for model in self.models]
        if len(set(names)) < len(names):
            raise ValueError(f"models: two of {', '.join(names)} have one name. Give each its own.")
        return self


STAGE = Stage(
    name="evaluate",
    version=12,
    recipe=Recipe,
    verb="pipeline.evaluate.run:run",
    reads=("collect", "corpus", "tokenizer", "pretrain", "sft", "preferences", "reward", "dpo", "ppo", "grpo"),
    outside="pipeline.evaluate.outside:identity",
    beside_base=True,
)
