"""Log-likelihoods against a plain computation, bits by source, perplexity, models that the recipe names."""

import json
import math

import pytest
import torch
from pydantic import ValidationError
from tokenizers import Tokenizer, models
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from pipeline.evaluate import likelihood
from pipeline.evaluate.bits import Document, HeldoutText, exact, linearised
from pipeline.evaluate.likelihood import log_likelihoods
from pipeline.evaluate.models import candidates
from pipeline.evaluate.outside import identity
from pipeline.evaluate.recipe import Named, Recipe
from pipeline.evaluate.results import table
from pipeline.evaluate.run import run
from pipeline.evaluate.score import Exponential, Measure, difference, per_prompt
from pipeline.stage import Job, UserError
from tests.test_evaluate import story_rows
from tests.toy_evaluate import HELDOUT, save_toy_stages
from tests.toy_pairs import save_toy_model


def plainly(model, ids: list[int], first: int) -> tuple[float, bool]:
    """The definition: one sequence, all logits."""
    with torch.no_grad():
        logits = model(torch.tensor([ids])).logits[0].double().log_softmax(-1)
    value = sum(float(logits[i - 1, ids[i]]) for i in range(first, len(ids)))
    return value, all(int(logits[i - 1].argmax()) == ids[i] for i in range(first, len(ids)))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return AutoModelForCausalLM.from_pretrained(save_toy_model(tmp_path_factory.mktemp("toy") / "model")).eval()


@pytest.mark.parametrize("limits", [(4096, 2**25), (12, 2**25), (4096, 330 * 3)])
def test_log_likelihoods_are_those_of_one_sequence_at_a_time(model, limits, monkeypatch):
    monkeypatch.setattr(likelihood, "LOGITS_A_BATCH", limits[1])
    sequences = [([5, 6, 7, 8], 1), ([5, 6, 7, 9], 3), ([5, 6, 7, 8], 2), ([9, 9], 1), ([*range(20, 45)], 11)]
    best = [7, 8]
    for _ in range(4):  # an answer that is greedy
        best.append(int(model(torch.tensor([best])).logits[0, -1].argmax()))
    sequences.append((best, 2))
    found = log_likelihoods(model, sequences, pad=0, tokens_a_batch=limits[0])
    for (ids, first), one in zip(sequences, found, strict=True):
        value, greedy = plainly(model, ids, first)
        assert one.log_likelihood == pytest.approx(value, abs=1e-4)
        assert one.greedy == greedy
    assert found[-1].greedy and not found[0].greedy


def test_choices_of_one_token_share_a_row(model):
    read = []
    hook = model.register_forward_pre_hook(lambda _, args: read.append(tuple(args[0].shape)))
    log_likelihoods(model, [([5, 6, 7, choice], 3) for choice in (8, 9, 10, 11)], pad=0)
    hook.remove()
    assert read == [(1, 3)]


def test_no_logits_are_made_of_positions_that_do_not_count(model):
    made = []
    hook = model.get_output_embeddings().register_forward_hook(lambda _, args, out: made.append(out.shape[1]))
    log_likelihoods(model, [(list(range(5, 60)), 53), (list(range(6, 50)), 43)], pad=0)
    hook.remove()
    assert sum(made) == 2 + 1


@pytest.mark.parametrize("first", [0, 3])
def test_a_sequence_needs_something_before_and_after(model, first):
    with pytest.raises(ValueError, match="needs one before and one after"):
        log_likelihoods(model, [([1, 2, 3], first)], pad=0)


def test_a_source_has_the_ratio_of_its_own_documents(tmp_path, model):
    save_toy_model(tmp_path / "model")
    (candidate,) = candidates({"sft": tmp_path})
    documents = [Document(text=text, source="AB"[i % 2]) for i, text in enumerate(HELDOUT)]
    exam = HeldoutText(documents, None)
    found = exam.measure(candidate, model)
    assert list(found) == ["bits_per_byte", "bits_per_byte_a", "bits_per_byte_b", "perplexity"] == list(exam.titles)
    nats = [-plainly(model, candidate.document(d.text), 1)[0] for d in documents]
    tokens = sum(len(candidate.document(d.text)) - 1 for d in documents)
    b_bits = sum(nats[i] for i in (1, 3)) / math.log(2) / sum(len(HELDOUT[i].encode()) for i in (1, 3))
    assert found["bits_per_byte_b"].figure(0)["value"] == pytest.approx(b_bits, rel=1e-5)
    assert found["perplexity"].figure(0)["value"] == pytest.approx(math.exp(sum(nats) / tokens), rel=1e-4)
    assert found["perplexity"].over == found["bits_per_byte"].over == "documents"
    assert exam.results()["heldout"]["sft"]["documents_not_exact"] == 0
    assert exam.results()["heldout"]["sft"]["bytes"] == sum(len(text.encode()) for text in HELDOUT)


def test_one_source_has_no_row_of_its_own():
    assert list(HeldoutText([Document(text="a", source="x")] * 3, None).titles) == ["bits_per_byte", "perplexity"]


def test_a_tokenizer_that_loses_bytes_is_found_out_and_noted(tmp_path):
    save_toy_model(tmp_path / "model")
    (candidate,) = candidates({"sft": tmp_path})
    ids = candidate.tokenizer.encode("the café", add_special_tokens=False)
    assert exact(candidate.tokenizer, ids, "the café") and not exact(candidate.tokenizer, ids, "The café")
    seen = {"sft": {"documents": 5, "documents_not_exact": 2, "bytes": 9, "tokens": 3}}
    text = table({
        "rows": [], "differences": [], "titles": {}, "certificates": [], "settings": {"seed": 0}, "heldout": seen,
    })  # fmt: skip
    assert "**sft**: its tokenizer loses bytes of 2 of 5 held-out documents" in text


def test_a_perplexity_maps_the_interval_of_its_mean_and_has_no_difference():
    values = linearised([10.0, 30.0, 5.0], [5, 12, 3])
    found, plain = Exponential(values=values).figure(0), Measure(values=values).figure(0)
    assert all(found[part] == pytest.approx(math.exp(plain[part])) for part in ("value", "low", "high"))
    assert difference(Exponential(values=values), Exponential(values=values), 0) is None


def test_several_answers_to_a_prompt_count_as_one_prompt():
    answers = Measure(values=[1.0, 0.0, 0.0, 1.0, 1.0, 0.0], share=True)  # prompts a, b, c, then a, b, c again
    found = per_prompt(answers, 2)
    assert (found.values, found.share) == ([1.0, 0.5, 0.0], False)
    never = per_prompt(Measure(values=[0.0] * 20, share=True), 2).figure(0)
    assert (never["n"], never["low"], never["interval"]) == (10, 0.0, "wilson") and never["high"] > 0.2
    assert found.figure(0)["interval"] == "bootstrap" and answers.figure(0)["interval"] == "wilson"


def test_a_named_model_is_measured_beside_the_runs_own(tmp_path):
    inputs = save_toy_stages(tmp_path, story_rows(), stages=("pretrain", "sft"))
    other = save_toy_model(tmp_path / "other", seed=9)
    named = Named(name="other", folder=str(other))
    out = tmp_path / "out"
    out.mkdir()
    recipe = Recipe(num_prompts=4, max_new_tokens=8, samples_per_prompt=2, num_samples=1, models=(named,))
    metrics = run(Job(stage="evaluate", recipe=recipe, out=out, inputs=inputs, seed=0, run_name="toy"))
    assert metrics["other_gold_n"] == metrics["sft_minus_other_gold_n"] == 4
    assert metrics["sft_minus_other_bits_per_byte_n"] == len(HELDOUT)
    results = json.loads((out / "results.json").read_text())
    assert "what other saw in training is not known here" in results["certificates"][-1]["reason"]
    assert results["settings"]["samples_per_prompt"] == 2
    assert {row["metric"] for row in results["rows"]} <= set(results["titles"])
    assert all({"value", "low", "high", "n", "interval"} <= set(row) for row in results["rows"])


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"name": "x"}, "give either folder"),
        ({"name": "x", "folder": "m", "id": "a/b"}, "give either folder"),
        ({"name": "x", "id": "a/b"}, "a branch moves"),
        ({"name": "x", "id": "a/b", "revision": "main"}, "pattern"),
        ({"name": "My Model", "folder": "m"}, "pattern"),
    ],
)
def test_a_named_model_says_where_it_is_from(keys, message):
    with pytest.raises(ValidationError, match=message):
        Named(**keys)


def test_names_are_not_shared(tmp_path):
    named = Named(name="sft", folder=str(save_toy_model(tmp_path / "sft" / "model")))
    with pytest.raises(UserError, match="the name sft is taken"):
        candidates({"sft": tmp_path / "sft"}, [named])
    with pytest.raises(ValidationError, match="two of x, x have one name"):
        Recipe(models=(Named(name="x", folder="a"), Named(name="x", folder="b")))
    with pytest.raises(ValidationError, match="gives every sample the same words"):
        Recipe(temperature=0.0, samples_per_prompt=2)
    with pytest.raises(UserError, match="the model far cannot be read from nowhere/at-all"):
        candidates({}, [Named(name="far", folder="nowhere/at-all")])


def test_a_tokenizer_without_an_end_is_refused(tmp_path):
    folder = save_toy_model(tmp_path / "model")
    tokenizer = Tokenizer(models.WordLevel({"a": 0}))
    for path in folder.glob("*token*"):
        path.unlink()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer).save_pretrained(folder)
    with pytest.raises(UserError, match=r"the tokenizer of endless .* has no end token"):
        candidates({}, [Named(name="endless", folder=str(folder))])


def test_what_the_recipe_names_is_part_of_the_fingerprint(tmp_path):
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "config.json").write_text("{}")
    recipe = Recipe(models=(Named(name="x", folder=str(tmp_path / "m")),))
    before = identity(recipe)
    (tmp_path / "m" / "config.json").write_text("{ }")
    assert before != identity(recipe) and identity(Recipe()) is None
    with pytest.raises(UserError, match=r"models\.x\.folder = .*/none: there is nothing"):
        identity(Recipe(models=(Named(name="x", folder=str(tmp_path / "none")),)))
