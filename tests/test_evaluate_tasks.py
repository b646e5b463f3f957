"""Benchmarks through the harness: our figures are those of its own `hf` model, from local files alone."""

import json
import logging
from dataclasses import replace
from types import SimpleNamespace

import pytest
from pydantic import ValidationError

from pipeline.evaluate.covered import uncovered
from pipeline.evaluate.models import candidates
from pipeline.evaluate.recipe import LocalData, Recipe, Tasks
from pipeline.evaluate.run import run
from pipeline.evaluate.score import Calibration, Exponential, Measure
from pipeline.evaluate.tasks import Benchmarks, as_measure, load
from pipeline.stage import Job, UserError
from tests.test_evaluate import story_rows
from tests.toy_evaluate import save_toy_certificate, save_toy_stages
from tests.toy_pairs import WORDS, save_toy_model, write_jsonl

pytest.importorskip("lm_eval", reason="needs the extra `eval`")

CHOICE = """
task: toy_choice
dataset_path: json
dataset_kwargs: {data_files: {test: DATA}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{question}}"
doc_to_choice: "{{choices}}"
doc_to_target: right
metric_list: [{metric: acc}, {metric: acc_norm}]
"""
LAST_WORD = """
task: toy_last_word
dataset_path: json
dataset_kwargs: {data_files: {test: DATA}}
test_split: test
output_type: loglikelihood
doc_to_text: "{{question}}"
doc_to_target: "{{' ' + choices[0]}}"
metric_list: [{metric: perplexity}, {metric: acc}]
"""
GENERATED = """
task: toy_generated
dataset_path: json
dataset_kwargs: {data_files: {test: DATA}}
test_split: test
output_type: generate_until
doc_to_text: "{{question}}"
doc_to_target: "{{choices[0]}}"
generation_kwargs: {until: ["e"], max_gen_toks: 8, do_sample: false}
metric_list: [{metric: exact_match}]
"""
NAMES = ("toy_choice", "toy_last_word", "toy_generated")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A toy model, task files and their data."""
    folder = tmp_path_factory.mktemp("tasks")
    rows = [
        {
            "question": f"{WORDS[i % 9]} and the {WORDS[i % 7]}",
            "choices": [WORDS[(i + k) % 11] + " home" * (k % 2) for k in range(3)],
            "right": i % 3,
        }
        for i in range(12)
    ]
    write_jsonl(folder / "data.jsonl", rows)
    (folder / "files").mkdir()
    for name, text in zip(NAMES, (CHOICE, LAST_WORD, GENERATED), strict=True):
        (folder / "files" / f"{name}.yaml").write_text(text.replace("DATA", str(folder / "data.jsonl")))
    save_toy_model(folder / "sft" / "model", seed=2)
    return folder


@pytest.fixture(scope="module")
def ours(place):
    """The exam and what it found."""
    exam = Benchmarks(Tasks(names=NAMES, folder=str(place / "files")), 4, 0)
    (candidate,) = candidates({"sft": place / "sft"})
    return exam, exam.measure(candidate, candidate.load())


@pytest.fixture(scope="module")
def theirs(place):
    """What the harness's own model finds."""
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    manager = TaskManager(include_path=str(place / "files"), include_defaults=False)
    model = HFLM(pretrained=str(place / "sft" / "model"), device="cpu", dtype="float32", batch_size=3, max_length=128)
    return simple_evaluate(model, tasks=list(NAMES), task_manager=manager, bootstrap_iters=0)


def test_figures_are_those_of_the_harness(ours, theirs):
    exam, found = ours
    for key, task, metric in (
        ("toy_choice_acc", "toy_choice", "acc,none"),
        ("toy_choice_acc_norm", "toy_choice", "acc_norm,none"),
        ("toy_last_word_perplexity", "toy_last_word", "perplexity,none"),
        ("toy_last_word_acc", "toy_last_word", "acc,none"),
        ("toy_generated_exact_match", "toy_generated", "exact_match,none"),
    ):
        figure = found[key].figure(0)
        assert figure["value"] == pytest.approx(theirs["results"][task][metric], rel=1e-4), key
        assert figure["low"] <= figure["value"] <= figure["high"] and figure["n"] == 12
        assert exam.titles[key].startswith(task)
    assert 0 < found["toy_choice_acc"].figure(0)["value"] < 1
    assert len(exam.items_by_kind["toy_choice"]) == len(set(exam.items_by_kind["toy_choice"]))


def test_generated_answers_are_those_of_the_harness(place, theirs):
    from lm_eval.api.instance import Instance

    from pipeline.evaluate.harness import HarnessModel

    (candidate,) = candidates({"sft": place / "sft"})
    model = HarnessModel(candidate, candidate.load(), batch_size=5, seed=0, chat=False)
    samples = theirs["samples"]["toy_generated"]
    requests = [
        Instance(request_type="generate_until", doc={}, arguments=tuple(sample["arguments"][0]), idx=i)
        for i, sample in enumerate(samples)
    ]
    told = model.generate_until(requests)
    assert told == [sample["resps"][0][0] for sample in samples]
    assert all("e" not in text for text in told) and len(set(told)) > 1


def test_multiple_choice_has_a_calibration_error(ours):
    measure = ours[1]["toy_choice_calibration_error"]
    assert isinstance(measure, Calibration) and all(1 / 3 <= value <= 1 for value in measure.values)
    figure = measure.figure(0)
    assert 0 <= figure["low"] <= figure["high"] <= 1 and figure == measure.figure(0)


def test_a_task_is_asked_over_local_data_in_place_of_its_own(place):
    files = place / "moved"
    files.mkdir(exist_ok=True)
    (files / "task.yaml").write_text(CHOICE.replace("DATA", "nowhere.jsonl") + "training_split: train\n")
    data = {"toy_choice": LocalData(test=str(place / "data.jsonl"), fewshot=str(place / "data.jsonl"))}
    keys = Tasks(names=("toy_choice",), folder=str(files), data=data, num_fewshot=2, limit=5, chat_template=True)
    exam = Benchmarks(keys, 4, 0)
    (candidate,) = candidates({"sft": place / "sft"})
    found = exam.measure(candidate, candidate.load())
    assert len(found["toy_choice_acc"].values) == 5
    assert exam.results()["tasks"]["toy_choice"]["num_fewshot"] == [2]
    assert exam.results()["settings"] == {"tasks_limit": 5, "tasks_chat_template": ["sft"]}


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (
            {"names": ("toy_choise",)},
            r"'toy_choise' is no task of the harness and no file of .*Did you mean 'toy_choice'",
        ),
        ({"data": {"toy_choice": {"test": "nowhere.jsonl"}}}, r"toy_choice cannot be loaded: .*data: \{toy_choice:"),
    ],
)
def test_what_cannot_be_loaded_is_said(place, keys, message, monkeypatch):
    import lm_eval.tasks

    whole = lm_eval.tasks.TaskManager  # without the harness's own thousands of files, which take seconds to read
    monkeypatch.setattr(lm_eval.tasks, "TaskManager", lambda **k: whole(**{**k, "include_defaults": False}))
    given = {"names": ("toy_choice",), "folder": str(place / "files"), **keys}
    if "data" in keys:
        given["data"] = {name: LocalData(**data) for name, data in keys["data"].items()}
    with pytest.raises(UserError, match=message):
        Benchmarks(Tasks(**given), 4, 0)


@pytest.mark.parametrize(
    ("names", "unsafe", "message"),
    [(("a", "b"), False, "shared is part of two of them"), (("a",), True, "shared runs code that a model wrote")],
)
def test_tasks_that_overlap_or_run_code_are_refused(names, unsafe, message):
    task = SimpleNamespace(task_name="shared", UNSAFE_CODE=unsafe)
    manager = SimpleNamespace(all_tasks=["a", "b"], load=lambda specs: {"tasks": {"shared": task}})
    with pytest.raises(UserError, match=message):
        load(Tasks(names=names), manager)


def test_without_the_harness_the_extra_is_named(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"-e '\.\[eval\]'"):
        Benchmarks(Tasks(names=("arc_easy",)), 4, 0)


def test_metrics_that_are_no_mean_get_no_interval_of_one():
    assert as_measure("f1", [(1, 0)], False, "t") is None
    assert as_measure("bleu", [0.5], False, "t") is None
    assert as_measure("acc", [True, False], True, "t") == Measure(values=[1.0, 0.0], share=True, over="t")
    bits = as_measure("bits_per_byte", [(-6.0, 2), (-2.0, 2)], False, "t")
    assert isinstance(as_measure("word_perplexity", [(-6.0, 2)], False, "t"), Exponential)
    assert bits.figure(0)["value"] == pytest.approx(2 / 0.6931472)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"names": ()}, "at least 1"),
        ({"names": ("a", "a")}, "one of a, a stands twice"),
        ({"names": ("a",), "data": {"b": {"test": "x"}}}, "data is given for b, which is not among names"),
    ],
)
def test_a_tasks_section_without_effect_is_refused(keys, message):
    with pytest.raises(ValidationError, match=message):
        Tasks.model_validate(keys, strict=False)


QUESTION = "a man sits on the roof and begins to lift the tiles"


@pytest.mark.parametrize(
    ("items", "covered"),
    [
        (["A man sits on the roof, and begins to lift the tiles."], True),
        (["Roofs: " + QUESTION + "\nhe falls"], True),  # collect puts the endings below
        (["a man sits on the roof and begins"], True),  # an item without the question's end
        (["a man"], False),  # would be found in anything
        (["the roof of a house", "another item"], False),
        (["a man sits on the roofs and begins to lift the tiles of it"], False),
    ],
)
def test_a_question_is_covered_by_an_item_that_holds_it_or_that_is_most_of_it(tmp_path, items, covered):
    write_jsonl(tmp_path / "toy.jsonl", [{"id": str(n), "text": text} for n, text in enumerate(items)])
    fault = uncovered(tmp_path / "toy.jsonl", [["", QUESTION]])
    assert (fault is None) == covered
    if not covered:
        assert fault.startswith("1 of the 1 questions that the harness asks are not among the items in collect/eval")
        assert QUESTION[:40] in fault


def test_a_benchmarks_name_alone_certifies_nothing(place, tmp_path):
    """A collect whose evaluation/toy_choice.jsonl holds something else than the questions that are asked."""
    inputs = save_toy_stages(tmp_path, story_rows(), stages=("sft",))
    recipe = Recipe(answers=None, tasks=Tasks(names=("toy_choice",), folder=str(place / "files")))
    job = Job(recipe=recipe, out=tmp_path / "out", stage="evaluate", inputs=inputs, seed=0, run_name="toy")
    job.out.mkdir()

    def certify(rows: list[dict]) -> None:
        write_jsonl(inputs["collect"] / "evaluation" / "toy_choice.jsonl", rows)
        for stage in ("corpus", "sft"):
            save_toy_certificate(inputs[stage], inputs["collect"], "toy_choice")

    certify([{"id": "0", "text": "one line about something else"}])
    with pytest.raises(UserError, match=r"toy_choice: 12 of the 12 questions that the harness asks are not among the"):
        run(job)
    marked = replace(job, recipe=recipe.model_copy(update={"uncertified": "the toy was invented later"}))
    run(marked)
    (row,) = json.loads((job.out / "results.json").read_text())["certificates"]
    assert (row["status"], row["reason"]) == ("uncertified", "the toy was invented later")

    questions = [json.loads(line) for line in (place / "data.jsonl").read_text().splitlines()]
    texts = ["\n".join([row["question"], *row["choices"]]) for row in questions]
    certify([{"id": str(n), "text": text} for n, text in enumerate(texts)])
    run(job)
    (row,) = json.loads((job.out / "results.json").read_text())["certificates"]
    assert row["status"] == "certified"
    with pytest.raises(UserError, match="Remove the key"):
        run(marked)


@pytest.mark.parametrize(("number", "few"), [(None, 0), (11, 11), (12, 12)])
def test_too_few_questions_for_the_examples_before_them_are_said_before_a_model_is_loaded(place, number, few):
    keys = Tasks(names=("toy_choice",), folder=str(place / "files"), num_fewshot=number)
    if few < 12:
        assert Benchmarks(keys, 4, 0).tasks
        return
    with pytest.raises(UserError, match=r"toy_choice puts 12 examples .* 12 to take them from, the question itself"):
        Benchmarks(keys, 4, 0)


def test_a_task_needs_a_certificate_or_a_reason_and_is_paired(place, tmp_path):
    inputs = save_toy_stages(tmp_path, story_rows(), stages=("sft", "dpo"))
    tasks = Tasks(names=("toy_choice",), folder=str(place / "files"))
    job = {"stage": "evaluate", "inputs": inputs, "seed": 0, "run_name": "toy"}
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(UserError, match=r"toy_choice: no certificate in "):
        run(Job(recipe=Recipe(answers=None, tasks=tasks), out=out, **job))
    assert not list(out.iterdir())
    recipe = Recipe(answers=None, tasks=tasks, uncertified="the toy was invented after the corpus")
    metrics = run(Job(recipe=recipe, out=out, **job))
    assert metrics["dpo_toy_choice_acc_n"] == metrics["dpo_minus_sft_toy_choice_acc_n"] == 12
    results = json.loads((out / "results.json").read_text())
    assert results["certificates"] == [
        {"benchmark": "toy_choice", "status": "uncertified", "reason": recipe.uncertified, "certificates": {}}
    ]
    assert results["tasks"]["toy_choice"]["questions"] == 12
    table = (out / "table.md").read_text()
    assert "| toy_choice, accuracy (n 12) |" in table and "**toy_choice: uncertified**" in table
