"""Evaluate: measures every model of a run by the same code, on the same prompts, tasks and held-out documents.

Reads collect/ (prompts and benchmark items), corpus/ (held-out text), tokenizer/ (token store), the models, and the
certificates of what they were made from; writes results.json, scores.json and table.md (docs/evaluation.md says what
is in them). Everything cheap is checked before the first model is loaded. `make evaluate RECIPE=storyworld`
"""

import gc
import json
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from typing import Any

from pipeline.artifact import write_atomically, write_json
from pipeline.evaluate.answers import Answers
from pipeline.evaluate.bits import HeldoutText, heldout
from pipeline.evaluate.certificate import check
from pipeline.evaluate.exam import Exam, Measures
from pipeline.evaluate.judged import JudgedWinRate
from pipeline.evaluate.leakage import Leakage
from pipeline.evaluate.models import Candidate, candidates
from pipeline.evaluate.optimised import Optimised, answers_of
from pipeline.evaluate.prompt_sets import instructions, safety
from pipeline.evaluate.recipe import Recipe
from pipeline.evaluate.results import metrics, scores, table
from pipeline.evaluate.score import Measure, difference
from pipeline.evaluate.tasks import Benchmarks
from pipeline.evaluate.toxicity import continuations
from pipeline.evaluate.win_rate import WinRate
from pipeline.stage import Job, UserError

VERSUS = "sft"


def run(job: Job) -> dict[str, float]:
    """Measures, writes results.json, scores.json and table.md, and returns the flat metrics."""
    recipe: Recipe = job.recipe
    models = candidates(job.inputs, recipe.models)
    tasks = cache(partial(Benchmarks, recipe.tasks, recipe.batch_size, job.seed)) if recipe.tasks else None
    certificates = certified(job, recipe, models, tasks)
    exams = prepared(job, recipe, models, tasks)
    if not exams:
        raise UserError(
            "evaluate: nothing to measure: answers is null, no tasks or prompt sets are named, and the run has no "
            "held-out text in a corpus."
        )
    measured: Measures = {}
    for candidate in models:
        model = candidate.load()
        measured[candidate.name] = {
            metric: found for exam in exams for metric, found in exam.measure(candidate, model).items()
        }
        del model
        gc.collect()  # before the next one is loaded
    for exam in exams:
        for name, found in exam.afterwards().items():
            measured.setdefault(name, {}).update(found)
    results = written(job, exams, models, measured, certificates)
    write_json(job.out / "results.json", results)
    items = {kind: digests for exam in exams for kind, digests in exam.items_by_kind.items()}
    write_atomically(job.out / "scores.json", json.dumps(scores(items, measured)) + "\n")
    write_atomically(job.out / "table.md", table(results))
    return metrics(results["rows"], results["differences"])


def certified(
    job: Job, recipe: Recipe, models: Sequence[Candidate], tasks: Callable[[], Benchmarks] | None
) -> list[dict[str, Any]]:
    """What may be believed of the benchmarks; raises UserError where something was not searched for one.

    tasks: loads them, which takes a while: only where there are certificates to hold their questions against.
    """
    if recipe.answers is None and not recipe.benchmarks:
        return []
    answered = recipe.answers is not None
    collect = job.needs("collect") if answered else job.inputs.get("collect")
    questions = (lambda name: tasks().questions(name)) if tasks else None
    found = check(collect, job.inputs, recipe.uncertified, recipe.benchmarks, answered, questions)
    strangers = [model.name for model in models if not model.stage]
    if strangers and found:
        reason = f"what {', '.join(strangers)} saw in training is not known here"
        found.append({"benchmark": "any", "status": "not certifiable", "reason": reason, "certificates": {}})
    return found


def prepared(
    job: Job, recipe: Recipe, models: Sequence[Candidate], tasks: Callable[[], Benchmarks] | None
) -> list[Exam]:
    """The exams that the recipe asks for and the run has the means for."""
    exams: list[Exam] = []
    corpus = job.inputs.get("corpus")
    if recipe.answers is not None:
        answers = Answers(job.needs("collect"), models, recipe, job.seed)
        exams.append(answers)
        if recipe.win_rate:
            judge = next((folder for key, folder in job.inputs.items() if key.split("/")[-1] == "reward"), None)
            exams.append(WinRate(answers, models, judge, VERSUS))
        if recipe.answers == "wishes" and (trained := answers_of(job.inputs)):
            exams.append(Optimised(job.needs("collect"), trained, job.seed))
        if recipe.judge:
            exams.append(JudgedWinRate(answers, models, recipe.judge, job.resume))
    documents = heldout(corpus, recipe.num_heldout_documents, job.seed) if corpus else []
    if documents:
        exams.append(HeldoutText(documents, job.inputs.get("tokenizer")))
    if tasks is not None:
        exams.append(tasks())
    if recipe.leakage is not None:
        exams.append(Leakage(corpus, [document.text for document in documents], recipe, job.seed))
    sets = [instructions(recipe, job.seed)] if recipe.instructions is not None else []
    sets += safety(recipe, recipe.safety, job.seed) if recipe.safety is not None else []
    if recipe.safety is not None and recipe.safety.continuations is not None:
        sets.append(continuations(recipe, recipe.safety, job.seed, job.resume))
    for one in sets:
        for candidate in models:
            one.fits(candidate)
    exams += sets
    return exams


def written(
    job: Job,
    exams: Sequence[Exam],
    models: Sequence[Candidate],
    measured: Measures,
    certificates: list[dict[str, Any]],
) -> dict[str, Any]:
    """results.json."""
    recipe: Recipe = job.recipe
    results: dict[str, Any] = {
        "run": job.run_name,
        "rows": figures(measured, job.seed),
        "differences": differences(models, measured, job.seed),
        "titles": {metric: words for exam in exams for metric, words in exam.titles.items()},
        "over": {metric: measure.over for found in measured.values() for metric, measure in found.items()},
        "samples": [],
        "unprompted": {},
        "certificates": certificates,
        "settings": {"seed": job.seed},
    }
    if recipe.generates:
        keys = ("temperature", "top_p", "max_new_tokens")
        results["settings"] |= {key: getattr(recipe, key) for key in keys}
    for exam in exams:
        more = exam.results()
        results["settings"] |= more.pop("settings", {})
        results |= more
    return results


def figures(measured: Measures, seed: int) -> list[dict[str, Any]]:
    """The rows of results.json."""
    return [
        {"stage": name, "metric": metric, **measure.figure(seed)}
        for name, found in measured.items()
        for metric, measure in found.items()
    ]


def pairs(models: Sequence[Candidate]) -> list[tuple[str, str]]:
    """(model, versus): each of the run's own against its chat model, against the base recipe's of its stage, and the
    run's last one against each that the recipe names."""
    own = {m.stage: m.name for m in models if not m.owner and m.stage}
    found = [(name, own[VERSUS]) for stage, name in own.items() if VERSUS in own and stage != VERSUS]
    found += [(own[m.stage], m.name) for m in models if m.owner and m.stage in own]
    return found + [(list(own.values())[-1], m.name) for m in models if own and not m.stage]


def differences(
    models: Sequence[Candidate], measured: Mapping[str, Mapping[str, Measure]], seed: int
) -> list[dict[str, Any]]:
    """The paired differences of results.json."""
    rows = []
    for name, versus in pairs(models):
        for metric in measured[name]:
            if metric not in measured[versus]:
                continue
            found = difference(measured[name][metric], measured[versus][metric], seed)
            if found is not None:
                rows.append({"stage": name, "versus": versus, "metric": metric, **found})
    return rows
