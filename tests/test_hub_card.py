"""The cards: filled from the manifests, accepted by the Hub's rules, and their snippets run."""

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from huggingface_hub import DatasetCard, ModelCard, ModelCardData

from pipeline import artifact
from pipeline.chain import BY_NAME
from pipeline.chat_columns import PromptTable
from pipeline.hub import facts
from pipeline.hub.card import hub_licence, size_category
from pipeline.hub.layout import PUSHABLE, Repo, kind_of
from pipeline.hub.push import revision, verified
from pipeline.licences import LICENCES as OURS
from pipeline.recipe import load_stage
from tests.hub_card_rules import LICENCES, card_mistakes
from tests.hub_server import TOY
from tests.toy_run import save_stage, seal

pytest_plugins = ["tests.toy_hub"]


def card(hub, stage: str, licence: str | None = "apache-2.0") -> str:
    folder = hub.run / stage
    repo = replace(Repo.parse(TOY), kind=kind_of(stage))
    files = {file.name: file.content for file in revision(folder, verified(folder), hub.run, repo, licence)}
    return files["README.md"].decode()


@pytest.mark.parametrize("stage", PUSHABLE)
def test_a_card_passes_the_hubs_rules(hub, stage):
    if stage in ("ppo", "grpo"):  # the toy run has none
        save_stage(hub.run, stage)
    kind = {"model": ModelCard, "dataset": DatasetCard}[kind_of(stage)]
    kind(card(hub, stage)).validate()
    assert hub.server.count("POST /api/validate-yaml") == 1


@pytest.mark.parametrize(
    ("front", "words"),
    [
        ("license: my-own", '"license" must be one of'),
        ("license: other", 'needs a "license_name"'),
        ("language: english", "no ISO 639 code"),
        ("base_model: a b", "is no repository"),
        ("model-index:\n- results: []", '.name" is required'),
        ("model-index:\n- {name: x, results: [{task: {type: y}}]}", 'dataset.type" is required'),
        ("pipeline_tag: talk", "is unknown"),
        ("a: [", "not valid YAML"),
    ],
)
def test_the_rules_refuse_what_the_hub_refuses(front, words):
    mistakes = card_mistakes(f"---\n{front}\n---\n", "model")
    assert any(words in mistake for mistake in mistakes)


def test_a_card_that_breaks_a_rule_is_refused_by_the_client(hub):
    with pytest.raises(ValueError, match="must be one of"):
        ModelCard("---\nlicense: my-own\n---\n").validate()


def test_a_model_card_says_what_the_manifests_say(hub):
    text = card(hub, "dpo")
    data = ModelCard(text).data
    assert isinstance(data, ModelCardData)
    assert (data.license, data.language, data.pipeline_tag) == ("apache-2.0", ["en"], "text-generation")
    (gold,) = [result for result in data.eval_results if result.metric_type == "gold"]
    assert (gold.metric_value, gold.metric_args["low"], gold.metric_args["n"]) == (0.75, 0.7, 40)
    assert {result.dataset_split for result in data.eval_results} == {"evaluate", "heldout", "test"}
    for stage in ("collect", "corpus", "tokenizer", "pretrain", "sft", "preferences", "dpo"):
        assert f"| {stage} | `{artifact.manifest(hub.run / stage)['fingerprint']}` | 0 | {'a' * 40} |" in text
        assert f"| {stage} | 2 | 3 | unknown | unknown | Linux" in text
    assert "| feed | CC0-1.0 | 1 |" in text and "| books | My own terms | 1 |" in text
    assert "| toy | 2 | 8 | 0 |" in text
    assert "| gold judge's mean score | 0.750 [0.700, 0.800] | 40 |" in text
    assert "[report/index.html](report/index.html)" in text
    numbers = re.findall(r"of ([\d,]+) parameters", text)
    assert int(numbers[0].replace(",", "")) > 10_000
    assert str(hub.folder) not in text and str(Path.home()) not in text


def test_every_figure_names_what_it_was_measured_on(hub):
    text = card(hub, "dpo")
    named = {
        r.metric_type: (r.dataset_type, r.dataset_name, r.dataset_split) for r in ModelCard(text).data.eval_results
    }
    assert named == {
        "gold": ("toy-evaluation-prompts", "toy: evaluation prompts", "evaluate"),
        "bits_per_byte": ("toy-heldout-text", "toy: heldout text", "heldout"),
        "bits_per_byte_feed": ("toy-heldout-text-from-feed", "toy: heldout text from feed", "heldout"),
        "acc_norm": ("arc_easy", "arc_easy (lm-evaluation-harness)", "test"),
        "refused": ("toy-harmful-prompts", "toy: harmful prompts", "evaluate"),
    }
    (task,) = [r for r in ModelCard(text).data.eval_results if r.dataset_type == "arc_easy"]
    assert task.metric_name == "arc_easy, accuracy by length" and task.metric_args["num_fewshot"] == 5
    assert "| harmful prompts refused | 0.750" in text and "was measured above on small sets" in text


def test_what_is_not_known_is_said_to_be_unknown(hub):
    for stage in ("evaluate", "report", "corpus"):
        (hub.run / stage).rename(hub.folder / stage)
    text = card(hub, "sft", licence=None)
    assert "This run did not evaluate the model" in text
    assert "its sources and licences are not known here" in text
    assert "| corpus | not known | not known | unknown | unknown | made elsewhere |" in text
    assert "the recipe states none (`licence:` in recipe.yaml)" in text
    assert "license" not in ModelCard(text).data.to_dict()
    assert "report/index.html" not in text
    assert card_mistakes(text, "model") == []


def test_a_card_names_what_it_was_made_from_where_that_is_published(hub):
    hub.push("--stage", "corpus", repo="org/toy-text")
    hub.push("--stage", "sft", repo="org/toy-chat")
    data = ModelCard(card(hub, "dpo")).data
    assert (data.base_model, data.datasets) == ("org/toy-chat", ["org/toy-text"])


@pytest.mark.parametrize(
    ("model", "base"),
    [({"id": "org/name", "revision": "0" * 40}, "org/name"), ({"id": "/home/me/base", "revision": None}, None)],
)
def test_a_folder_of_this_machine_is_named_as_nobodys_base(model, base):
    own = SimpleNamespace(stage="sft", manifest={"recipe": {"model": model}}, published=None)
    found = facts.base({"sft": own})
    assert (found.id if found else None) == base


SHA = "0123456789" * 4


def shipped(hub, name: str) -> None:
    """Gives the toy run the recipes of a folder that starts from a model and data sets of the Hub, and no corpus."""
    for stage in ("sft", "preferences"):
        recipe = load_stage(BY_NAME[stage], Path("recipes") / name / f"{stage}.yaml")
        path = hub.run / stage / "manifest.json"
        manifest = json.loads(path.read_text())
        path.write_text(json.dumps({**manifest, "recipe": recipe.model_dump(mode="json")}))
    for stage in ("evaluate", "report", "collect", "corpus", "tokenizer", "pretrain"):
        shutil.rmtree(hub.run / stage)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("smol-chat", ["HuggingFaceH4/ultrachat_200k", "HuggingFaceH4/ultrafeedback_binarized"]),
        ("hh-rlhf", ["Anthropic/hh-rlhf"]),
    ],
)
def test_a_card_names_the_model_and_data_sets_of_the_hub_that_a_recipe_starts_from(hub, name, data):
    shipped(hub, name)
    text = card(hub, "dpo")
    assert card_mistakes(text, "model") == []
    front = ModelCard(text).data
    assert (front.base_model, front.datasets) == ("HuggingFaceTB/SmolLM2-135M", data)
    assert "at the revision `93efa2f097d58c2a74874c7e644dbc9b0cee75a2`." in text
    rows = re.findall(r"^\| (sft|preferences) \| \[(.+?)\].* \| `([0-9a-f]{40})` \| (\w+) \| mit \|$", text, re.M)
    assert [(stage, id) for stage, id, *_ in rows] == [("sft", data[0]), ("preferences", data[-1])]
    assert f"{rows[0][1]}@{rows[0][2]}" in (Path("recipes") / name / "sft.yaml").read_text()
    set_card = card(hub, "preferences")
    assert card_mistakes(set_card, "dataset") == []
    found = DatasetCard(set_card).data
    assert (found.source_datasets, found.license) == ([f"extended|{data[-1]}"], ["mit"])


def test_a_tokenizer_that_loses_text_is_marked_in_the_card(hub):
    text = card(hub, "dpo")
    assert "loses" not in text
    results = hub.run / "evaluate" / "results.json"
    found = json.loads(results.read_text()) | {"heldout": {"dpo": {"documents": 5, "documents_not_exact": 2}}}
    results.write_text(json.dumps(found))
    inputs = {name: hub.run / name for name in ("collect", "corpus", "tokenizer", "pretrain", "sft", "dpo")}
    seal(hub.run / "evaluate", inputs, {"dpo_gold": 0.75})
    (hub.run / "report").rename(hub.folder / "report")
    manifest = hub.run / "tokenizer" / "manifest.json"
    sealed = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({**sealed, "metrics": {**sealed["metrics"], "exact_share": 0.6}}))
    text = card(hub, "dpo")
    assert "**Bits per byte**: its tokenizer loses bytes of 2 of 5 held-out documents" in text
    assert "- Its tokenizer loses text: 60.0 % of the held-out documents come back from it exactly." in text


def test_a_data_set_of_a_corpus_is_named_with_its_revision_and_one_without_a_licence_says_so():
    sources = [{"name": "wiki", "licence": None, "dataset": {"path": "org/wiki", "config": "en", "revision": SHA}},
               {"name": "own", "files": {"folder": "x"}}, {"name": "local", "dataset": {"path": "~/x"}}]  # fmt: skip
    one = SimpleNamespace(stage="collect", manifest={"recipe": {"sources": sources}}, published=None)
    (row,) = facts.hub_data({"collect": one})
    assert row == {
        "stage": "collect", "id": "org/wiki", "revision": SHA, "split": "train", "config": "en", "licence": "",
    }  # fmt: skip


def test_a_data_card_has_the_licences_of_its_sources(hub):
    data = DatasetCard(card(hub, "corpus")).data
    assert data.license == ["cc0-1.0", "other"]
    assert data.license_name == "my-own-terms"
    assert data.size_categories == "n<1K"
    assert data.configs[0]["data_files"][0] == {"split": "train", "path": "train/*.parquet"}


def test_licences_and_sizes_are_the_hubs_words():
    assert LICENCES <= OURS
    assert [hub_licence(x) for x in ("CC0-1.0", "MIT", "Mine")] == ["cc0-1.0", "mit", "other"]
    assert [size_category(n) for n in (999, 1000, 5_000_000, 10**13)] == ["n<1K", "1K<n<10K", "1M<n<10M", "n>1T"]


def test_a_folder_of_the_users_machine_is_not_published(hub):
    origins = facts.lineage(hub.run / "corpus")
    files = {"files": {"folder": "/home/somebody/letters", "licence": "mine"}}
    origins["collect"] = replace(origins["collect"], manifest={**origins["collect"].manifest, "recipe": files})
    assert facts.recipes(origins)["collect"] == {"files": {"folder": "letters", "licence": "mine"}}


def snippet(text: str) -> str:
    """The Python of a card."""
    (found,) = re.findall(r"```python\n(.*?)```", text, re.S)
    return found


def printed(hub, code: str) -> str:
    """What the code prints in a process of its own that finds this Hub."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **hub.environment()},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
        cwd=hub.folder,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_snippets_of_model_cards_run(hub):
    """All in one process, since transformers takes seconds to import."""
    code = []
    for stage in ("pretrain", "dpo", "reward"):
        assert hub.push("--stage", stage, repo=f"org/toy-{stage}") == 0
        code.append(snippet(hub.file("README.md", repo=f"org/toy-{stage}").decode()) + f"print('end of {stage}')\n")
    said = printed(hub, "".join(code))
    assert re.search(r"end of dpo\n-?\d+\.\d+\nend of reward", said), said


def test_the_snippet_of_a_data_card_runs(hub):
    assert hub.push("--stage", "corpus", repo="org/toy-text") == 0
    said = printed(hub, snippet(hub.file("README.md", "datasets", "org/toy-text").decode()))
    assert "an owl found the lake" in said


def test_prompts_from_a_run_cannot_break_out_of_the_snippet(hub):
    results = hub.run / "evaluate" / "results.json"
    found = json.loads(results.read_text())
    found["samples"][0]["prompt"] = '"]; import os; os.abort() #\n```\n'
    results.write_text(json.dumps(found))
    inputs = {name: hub.run / name for name in ("collect", "corpus", "tokenizer", "pretrain", "sft", "dpo")}
    seal(hub.run / "evaluate", inputs, {"dpo_gold": 0.75})
    (hub.run / "report").rename(hub.folder / "report")
    code = snippet(card(hub, "dpo"))
    compile(code, "snippet", "exec")
    assert len(re.findall(r"^import|^from", code, re.M)) == 1


def test_a_licence_that_is_not_given_leaves_old_fingerprints_alone():
    without = PromptTable(hub=f"org/set@{SHA}")
    assert "licence" not in without.model_dump() and "licence" not in without.model_dump(
        mode="json", exclude_unset=True
    )
    assert PromptTable(hub=f"org/set@{SHA}", licence="mit").model_dump()["licence"] == "mit"
