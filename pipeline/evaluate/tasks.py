"""Benchmarks through EleutherAI's lm-evaluation-harness: its task files, its prompts, its scores; our models.

The harness is imported once and asks `HarnessModel` in this process. Its score of every question is kept, so that
figures have our intervals and models are paired question by question; the harness's own means are the same numbers.
A group (mmlu) is one figure over all questions of its tasks.
"""

import difflib
import importlib.util
import math
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.evaluate.bits import linearised
from pipeline.evaluate.exam import Measures, digest
from pipeline.evaluate.models import Candidate
from pipeline.evaluate.recipe import LocalData, Tasks
from pipeline.evaluate.score import Calibration, Exponential, Measure
from pipeline.stage import UserError

Sample = Mapping[str, Any]  # what the harness says about one question under one filter
WORDS = {
    "acc": "accuracy",
    "acc_norm": "accuracy, by length of the choices",
    "exact_match": "exact match",
    "calibration_error": "calibration error",
}


class Benchmarks:
    """The exam. Loads every task and its data before any model is loaded; raises UserError for what is not there."""

    def __init__(self, keys: Tasks, batch_size: int, seed: int) -> None:
        if importlib.util.find_spec("lm_eval") is None:
            raise UserError(
                "evaluate.yaml: tasks need lm-evaluation-harness, which is not installed. Run "
                "`.venv/bin/pip install -c constraints.txt -e '.[eval]'`, or remove the section."
            )
        self.keys, self.batch_size, self.seed = keys, batch_size, seed
        self.manager = manager_of(keys)
        self.tasks = load(keys, self.manager)  # name -> the harness's tasks
        for tasks in self.tasks.values():
            for task in tasks:
                check_examples(task, keys)
        self.titles: dict[str, str] = {}
        self.items_by_kind: dict[str, list[str]] = {}
        self.facts: dict[str, Any] = {}
        self.chatted: list[str] = []

    def questions(self, name: str) -> list[list[str]]:
        """Of each question that is asked the texts that tell it: as the harness renders it, and the longest of its
        data, since a rendering may begin with more than the question, or be a number."""
        found = []
        for task in self.tasks[name]:
            for doc in list(task.eval_docs)[: self.keys.limit]:
                texts = [text for value in doc.values() if isinstance(text := value, str)]
                rendered = task.doc_to_text(doc)
                found.append(
                    [
                        *([rendered] if isinstance(rendered, str) else []),
                        max(texts, key=lambda text: len(text.split()), default=""),
                    ]
                )
        return found

    def measure(self, candidate: Candidate, model: Any) -> dict[str, Measure]:
        """Every metric of every task."""
        from lm_eval import simple_evaluate

        from pipeline.evaluate.harness import HarnessModel

        chat = self.keys.chat_template and candidate.chats
        if chat:
            self.chatted.append(candidate.name)
        found = simple_evaluate(
            HarnessModel(candidate, model, batch_size=self.batch_size, seed=self.seed, chat=chat),
            tasks=[task for tasks in self.tasks.values() for task in tasks],
            num_fewshot=self.keys.num_fewshot,
            limit=self.keys.limit,
            task_manager=self.manager,  # or it would read all of its task files again
            bootstrap_iters=0,
            apply_chat_template=chat,
            random_seed=self.seed,
            numpy_random_seed=self.seed,
            torch_random_seed=self.seed,
            fewshot_random_seed=self.seed,
        )
        measures: dict[str, Measure] = {}
        for name, tasks in self.tasks.items():
            samples = [sample for task in tasks for sample in found["samples"][task.task_name]]
            measures |= self._measures(name, tasks, samples)
        return measures

    def _measures(self, name: str, tasks: Sequence[Any], samples: Sequence[Sample]) -> dict[str, Measure]:
        means = {metric for task in tasks for metric, how in task.aggregation().items() if is_mean(how)}
        by_filter: dict[str, list[Sample]] = defaultdict(list)
        for sample in samples:
            by_filter[sample["filter"]].append(sample)
        found, left_out = {}, set()
        for kind, asked in by_filter.items():
            for metric in asked[0]["metrics"]:
                measure = as_measure(metric, [sample[metric] for sample in asked], metric in means, over=name)
                if measure is None:
                    left_out.add(metric)
                    continue
                key = slug(name, metric, *([] if kind == "none" else [kind]))
                found[key] = measure
                self.titles[key] = title(name, metric, kind)
        asked = next(iter(by_filter.values()))
        if all(task.OUTPUT_TYPE == "multiple_choice" for task in tasks) and "acc" in asked[0]["metrics"]:
            key = slug(name, "calibration_error")
            found[key] = calibration(asked, over=name)
            self.titles[key] = title(name, "calibration_error", "none")
        self.items_by_kind[name] = [digest(sample["prompt_hash"] + sample["doc_hash"]) for sample in asked]
        self.facts[name] = {
            "questions": len(asked),
            "tasks": [task.task_name for task in tasks],
            "versions": sorted({str(task.VERSION) for task in tasks}),
            "num_fewshot": sorted({int(task.config.num_fewshot or 0) for task in tasks}),
            "data": sorted({str(task.config.dataset_path) for task in tasks}),
            "without_interval": sorted(left_out),
        }
        return found

    def afterwards(self) -> Measures:
        """Nothing."""
        return {}

    def results(self) -> dict[str, Any]:
        """What was asked, by task."""
        chat = {"tasks_chat_template": self.chatted} if self.keys.chat_template else {}
        return {"tasks": self.facts, "settings": {"tasks_limit": self.keys.limit, **chat}}


def manager_of(keys: Tasks) -> Any:
    """The harness's list of tasks: of our own folder alone where that has all of them, since reading the harness's
    thousands of task files takes seconds."""
    from lm_eval.tasks import TaskManager

    if keys.folder is None:
        return TaskManager()
    folder = str(Path(keys.folder).expanduser())
    alone = TaskManager(include_path=folder, include_defaults=False)
    return alone if set(keys.names) <= set(alone.all_tasks) else TaskManager(include_path=folder)


def load(keys: Tasks, manager: Any) -> dict[str, list[Any]]:
    """The harness's tasks behind each name, with their data. Raises UserError for a name or data that is not there."""
    found = {}
    for name in keys.names:
        if name not in manager.all_tasks:
            close = difflib.get_close_matches(name, manager.all_tasks, n=1)
            hint = f" Did you mean '{close[0]}'?" if close else ""
            place = f" and no file of {keys.folder}" if keys.folder else ""
            raise UserError(f"evaluate.yaml: tasks.names: '{name}' is no task of the harness{place}.{hint}")
        try:
            found[name] = list(manager.load([specification(name, keys.data.get(name))])["tasks"].values())
        except (OSError, ValueError) as error:
            raise UserError(
                f"evaluate.yaml: tasks: {name} cannot be loaded: {error}. Without a network give its data: "
                f"`data: {{{name}: {{test: <file of JSON lines>}}}}`."
            ) from None
        if unsafe := [task.task_name for task in found[name] if getattr(task, "UNSAFE_CODE", False)]:
            raise UserError(f"evaluate.yaml: tasks: {', '.join(unsafe)} runs code that a model wrote. Remove it.")
    names = [task.task_name for tasks in found.values() for task in tasks]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UserError(f"evaluate.yaml: tasks.names: {', '.join(twice)} is part of two of them. Keep one of the two.")
    return found


def check_examples(task: Any, keys: Tasks) -> None:
    """Raises UserError where there are not as many examples as are to stand before each question."""
    wanted = int(keys.num_fewshot if keys.num_fewshot is not None else task.config.num_fewshot or 0)
    if not wanted:
        return
    # Where examples are other questions, the question itself must not be among them.
    own = task.config.fewshot_split in (None, task.config.test_split or task.config.validation_split)
    there = len(list(task.fewshot_docs() or ()))
    if there < wanted + own:
        raise UserError(
            f"evaluate.yaml: tasks: {task.task_name} puts {wanted} examples before each question, and its data have "
            f"{there} to take them from{', the question itself among them' if own else ''}. Give more as `fewshot` of "
            f"its data, or a lower tasks.num_fewshot."
        )


def specification(name: str, data: LocalData | None) -> str | dict[str, Any]:
    """What the harness is asked for: a name, or the task of that name over other data."""
    if data is None:
        return name
    files = {split: str(Path(path).expanduser().resolve()) for split, path in data.files.items()}
    over = {
        "dataset_path": "json",
        "dataset_name": None,
        "dataset_kwargs": {"data_files": files},
        "test_split": "test",
        "fewshot_split": "fewshot" if data.fewshot else None,
        "training_split": None,
        "validation_split": None,
    }
    return {"group": f"{name} over other data", "task": [{"task": name, **over}]}


def is_mean(how: Any) -> bool:
    """Whether the harness takes the mean of a metric's values: only then are our intervals of it right."""
    return getattr(how, "__name__", "") == "mean"


def as_measure(metric: str, values: Sequence[Any], mean: bool, over: str) -> Measure | None:
    """The harness's values of one metric; None for one that is no mean and that is not known here.

    Its perplexities come as log-likelihoods in nats, of a document with its number of words or bytes.
    """
    if metric == "perplexity":
        return Exponential(values=[-value for value in values], over=over)
    if metric in ("word_perplexity", "byte_perplexity", "bits_per_byte"):
        nats, sizes = [-value[0] for value in values], [int(value[1]) for value in values]
        ratios = linearised(nats, sizes)
        if metric == "bits_per_byte":
            return Measure(values=[ratio / math.log(2) for ratio in ratios], over=over)
        return Exponential(values=ratios, over=over)
    if not mean or not all(isinstance(value, bool | int | float | np.number) for value in values):
        return None
    numbers = [float(value) for value in values]
    return Measure(values=numbers, share=set(numbers) <= {0.0, 1.0}, over=over)


def calibration(samples: Sequence[Sample], over: str) -> Calibration:
    """Of multiple choice: the confidence is the likeliest choice's share of all choices' probability."""
    confidence = []
    for sample in samples:
        log_p = np.array([response[0] for response in sample["filtered_resps"]])
        confidence.append(float(1 / np.exp(log_p - log_p.max()).sum()))
    return Calibration(values=confidence, right=[float(sample["acc"]) for sample in samples], over=over)


def slug(*parts: str) -> str:
    """The parts as a metric's name."""
    return re.sub(r"\W+", "_", "_".join(parts).lower()).strip("_")


def title(name: str, metric: str, kind: str) -> str:
    """A metric in words."""
    words = WORDS.get(metric, metric.replace("_", " "))
    return f"{name}, {words}" + ("" if kind == "none" else f" ({kind})")
