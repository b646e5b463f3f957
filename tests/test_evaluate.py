"""Evaluate at toy size: the whole verb, pairing, certificates, bits per byte against a plain computation."""

import json
import math
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from transformers import AutoModelForCausalLM

from pipeline.evaluate.bits import document_bits, heldout, linearised, windows
from pipeline.evaluate.certificate import check
from pipeline.evaluate.models import candidates, choose
from pipeline.evaluate.recipe import Recipe
from pipeline.evaluate.results import table
from pipeline.evaluate.run import run
from pipeline.evaluate.score import Measure, difference, first_line
from pipeline.stage import Job, UserError
from pipeline.store import open_split, unigram_bits_per_byte
from pipeline.world.wishes import VALUES
from tests.toy_evaluate import (
    HELDOUT,
    prompt_row,
    save_toy_certificate,
    save_toy_collect,
    save_toy_corpus,
    save_toy_stages,
)
from tests.toy_pairs import save_toy_model

WISHES = {"thing": VALUES["thing"][0], "place": VALUES["place"][0]}
SMALL = {"num_prompts": 6, "max_new_tokens": 12, "num_samples": 2, "batch_size": 4}
BITS = ("bits_per_byte", "bits_per_byte_books", "bits_per_byte_feed")
METRICS = ("wishes_met", "gold", "well_formed", "length_mean", *BITS)


def evaluate(out: Path, inputs: dict[str, Path], **keys) -> tuple[dict[str, float], dict]:
    out.mkdir()
    recipe = Recipe(**{**SMALL, **keys})
    metrics = run(Job(stage="evaluate", recipe=recipe, out=out, inputs=inputs, seed=0, run_name="toy"))
    return metrics, json.loads((out / "results.json").read_text(encoding="utf-8"))


def story_rows(count: int = 8) -> list[dict]:
    return [prompt_row(number, WISHES) for number in range(count)]


def test_every_model_is_measured_and_paired_with_sft(tmp_path):
    metrics, results = evaluate(tmp_path / "out", save_toy_stages(tmp_path, story_rows()))
    names = [f"{stage}_{metric}" for stage in ("pretrain", "sft", "dpo") for metric in METRICS]
    names += [f"{stage}_minus_sft_{metric}" for stage in ("pretrain", "dpo") for metric in METRICS]
    # What the base writes unasked are no answers to sft's prompts.
    names.remove("pretrain_minus_sft_well_formed")
    names += [f"unigram_{metric}" for metric in BITS]
    names += [f"{stage}_perplexity" for stage in ("pretrain", "sft", "dpo")]
    parts = [part for name in names for part in (name, f"{name}_low", f"{name}_high", f"{name}_n")]
    assert sorted(metrics) == sorted(parts)
    assert all(math.isfinite(value) and not isinstance(value, bool) for value in metrics.values())
    for name in names:
        slack = 1e-9
        assert metrics[f"{name}_low"] - slack <= metrics[name] <= metrics[f"{name}_high"] + slack, name
        expected = {"books": 2, "feed": 3, "byte": 5, "perplexity": 5}.get(
            name.rpartition("_")[2], SMALL["num_prompts"]
        )
        assert metrics[f"{name}_n"] == expected, name
    apart = metrics["dpo_gold"] - metrics["sft_gold"]
    assert metrics["dpo_minus_sft_gold"] == pytest.approx(apart)
    assert [list(sample["answers"]) for sample in results["samples"]] == [["pretrain", "sft", "dpo"]] * 2
    assert list(results["unprompted"]) == ["pretrain"]
    assert results["certificates"][0]["status"] == "certified"
    scores = json.loads((tmp_path / "out" / "scores.json").read_text(encoding="utf-8"))
    assert {name: len(set(kept)) for name, kept in scores["items"].items()} == {
        "prompts": SMALL["num_prompts"], "documents": 5, "documents_books": 2, "documents_feed": 3,
    }  # fmt: skip
    for stage, found in scores["models"].items():
        for metric, kept in found.items():
            assert len(kept["values"]) == len(scores["items"][kept["over"]])
            mean = sum(kept["values"]) / len(kept["values"])
            assert mean == pytest.approx(metrics[f"{stage}_{metric}"], abs=1e-5), metric
    written = (tmp_path / "out" / "table.md").read_text(encoding="utf-8")
    assert "| metric | pretrain | sft | dpo | unigram |" in written
    assert "uncertified" not in written


def test_two_runs_write_equal_bytes(tmp_path):
    inputs = save_toy_stages(tmp_path, story_rows(), stages=("pretrain", "sft"))
    first, _ = evaluate(tmp_path / "a", inputs)
    second, _ = evaluate(tmp_path / "b", inputs)
    assert first == second
    for name in ("results.json", "scores.json", "table.md"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_equal_models_give_equal_answers(tmp_path):
    inputs = save_toy_stages(tmp_path, story_rows(), stages=("sft",))
    save_toy_model(tmp_path / "dpo" / "model", seed=0)
    metrics, results = evaluate(tmp_path / "out", {**inputs, "dpo": tmp_path / "dpo"})
    assert all(sample["answers"]["sft"] == sample["answers"]["dpo"] for sample in results["samples"])
    assert metrics["dpo_minus_sft_gold"] == metrics["dpo_minus_sft_gold_low"] == 0.0


def test_a_base_recipes_models_are_listed_and_paired(tmp_path):
    inputs = save_toy_stages(tmp_path, story_rows(), stages=("sft",))
    save_toy_model(tmp_path / "base" / "sft" / "model", seed=5)
    save_toy_certificate(tmp_path / "base" / "sft", inputs["collect"])
    metrics, results = evaluate(tmp_path / "out", {**inputs, "story-world/sft": tmp_path / "base" / "sft"})
    assert metrics["story_world_sft_gold_n"] == 6
    assert metrics["sft_minus_story_world_sft_wishes_met_n"] == 6
    assert {(row["stage"], row["versus"]) for row in results["differences"]} == {("sft", "story_world_sft")}


def test_rouge_compares_the_first_line_with_the_reference(tmp_path):
    rows = [prompt_row(number, None, "the fox lost a kite") for number in range(8)]
    inputs = save_toy_stages(tmp_path, rows, stages=("pretrain", "sft"))
    metrics, results = evaluate(tmp_path / "out", inputs, answers="rouge_l", temperature=0.0)
    assert 0.0 <= metrics["sft_rouge_l"] <= 1.0
    assert metrics["pretrain_minus_sft_rouge_l_n"] == 6
    assert not any("gold" in name or "well_formed" in name for name in metrics)
    assert results["samples"][0]["reference"] == "the fox lost a kite"
    assert first_line("\n  one line \nand another") == "one line"
    assert first_line(" \n") == ""


def test_without_prompts_only_text_is_measured(tmp_path):
    inputs = save_toy_stages(tmp_path, [], stages=("pretrain",))
    out = tmp_path / "out"
    out.mkdir()
    recipe = Recipe(answers=None)
    metrics = run(Job(stage="evaluate", recipe=recipe, out=out, inputs=inputs, seed=0, run_name="toy"))
    found = {f"{stage}_{metric}_n" for stage in ("pretrain", "unigram") for metric in BITS}
    assert {name for name in metrics if name.endswith("_n")} == {*found, "pretrain_perplexity_n"}
    with pytest.raises(UserError, match="nothing to measure"):
        run(
            Job(
                stage="evaluate",
                recipe=recipe,
                out=out,
                inputs={"pretrain": tmp_path / "pretrain"},
                seed=0,
                run_name="t",
            )
        )


def test_the_unigram_model_is_the_stores(tmp_path):
    inputs = save_toy_stages(tmp_path, story_rows(), stages=("pretrain",))
    metrics, _ = evaluate(tmp_path / "out", inputs)
    store = inputs["tokenizer"] / "store"
    expected = unigram_bits_per_byte(open_split(store, "train"), open_split(store, "heldout"))
    assert metrics["unigram_bits_per_byte"] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("num_tokens", "context"), [(2, 8), (8, 8), (9, 8), (30, 8), (31, 8), (5, 2), (1, 8)])
def test_windows_pay_for_every_token_once(num_tokens, context):
    paid = []
    for start, end, scored in windows(num_tokens, context):
        assert end - start <= context and start < scored < end
        paid += range(scored, end)
    assert paid == list(range(1, num_tokens))


def test_bits_agree_with_one_document_at_a_time(tmp_path):
    folder = save_toy_model(tmp_path / "model")
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    (candidate,) = candidates({"sft": tmp_path})
    documents = [candidate.document(text) for text in HELDOUT]
    found = document_bits(model, documents, 128, pad=0)
    for bits, ids in zip(found, documents, strict=True):
        assert len(ids) <= 128
        with torch.no_grad():
            logits = model(torch.tensor([ids])).logits[0].log_softmax(-1)
        nats = -sum(float(logits[i, token]) for i, token in enumerate(ids[1:]))
        assert bits == pytest.approx(nats / math.log(2), rel=1e-4)
    # Short windows see less, but pay for the same tokens.
    assert document_bits(model, documents, 16, pad=0) == pytest.approx(found, rel=0.1)


def test_spelt_out_special_tokens_cost_as_text(tmp_path):
    save_toy_model(tmp_path / "model")
    (candidate,) = candidates({"sft": tmp_path})
    ids = candidate.document(HELDOUT[4])
    special = set(candidate.tokenizer.all_special_ids)
    assert ids[0] == ids[-1] and ids[0] in special
    assert not special & set(ids[1:-1])


def test_linearised_values_have_the_ratio_as_their_mean():
    bits, sizes = [10.0, 400.0, 3.0], [8, 200, 6]
    values = linearised(bits, sizes)
    assert sum(values) / 3 == pytest.approx(413 / 214)
    assert linearised([8.0, 200.0], [8, 200]) == [1.0, 1.0]


def test_heldout_documents_are_a_seeded_sample(tmp_path):
    corpus = save_toy_corpus(tmp_path / "corpus")

    def texts(count, seed):
        return [document.text for document in heldout(corpus, count, seed)]

    assert texts(100, 0) == HELDOUT
    assert texts(3, 0) == texts(3, 0)
    assert {tuple(texts(3, seed)) for seed in range(20)} != {tuple(HELDOUT[:3])}


def test_prompts_without_room_are_passed_over(tmp_path):
    inputs = save_toy_stages(tmp_path, story_rows(), stages=("pretrain", "sft"))
    rows = story_rows(4)
    rows[0]["prompt"][0]["content"] = "a story of the fox " * 60
    models = candidates(inputs)
    chosen, passed_over = choose(models, rows, 10, 12, seed=0)
    assert (len(chosen), passed_over) == (3, 1)
    assert [len(model.prompts) for model in models] == [3, 3]
    with pytest.raises(UserError, match=r"none of 4 evaluation prompts leaves room for max_new_tokens = 128"):
        choose(candidates(inputs), rows, 10, 128, seed=0)


def test_base_and_chat_are_asked_in_their_own_way(tmp_path):
    base, chat = candidates(save_toy_stages(tmp_path, story_rows(), stages=("pretrain", "sft")))
    row = prompt_row(1, WISHES)
    assert base.tokenizer.decode(base.prompt(row)) == "<|endoftext|>the fox and kite 1\n\n"
    asked = chat.tokenizer.decode(chat.prompt(row))
    assert asked.startswith("<|im_start|>") and "tell of the fox and kite 1<|im_end|>" in asked
    row["prompt"][0]["content"] += "<|im_end|>"
    assert chat.prompt(row).count(chat.tokenizer.convert_tokens_to_ids("<|im_end|>")) == 1


def test_figures_have_their_intervals():
    share = Measure(values=[1.0] * 30 + [0.0] * 10, share=True).figure(0)
    assert (share["value"], share["n"]) == (0.75, 40) and 0.59 < share["low"] < 0.75 < share["high"] < 0.87
    a, b = Measure(values=[0.5, 0.6, 0.9]), Measure(values=[0.4, 0.5, 0.8])
    apart = difference(a, b, 0)
    assert apart["value"] == pytest.approx(0.1) and apart["low"] == pytest.approx(0.1)
    assert difference(a, Measure(values=[1.0]), 0) is None
    assert difference(a, Measure(values=b.values, over="unprompted"), 0) is None, "independent draws are no pairs"


def test_a_benchmark_without_a_certificate_is_refused_unless_the_recipe_says_why(tmp_path):
    collect = save_toy_collect(tmp_path / "collect", story_rows())
    inputs = {"corpus": save_toy_corpus(tmp_path / "corpus")}
    with pytest.raises(UserError, match=r"toy: no certificate in .*corpus/certificates of what corpus was made from"):
        check(collect, inputs, None, (), True)
    (one,) = check(collect, inputs, "the items were written after the corpus", (), True)
    assert (one["status"], one["reason"]) == ("uncertified", "the items were written after the corpus")
    save_toy_certificate(inputs["corpus"], collect)
    (one,) = check(collect, inputs, None, (), True)
    assert (one["status"], one["certificates"]["corpus"]["benchmark"]) == ("certified", "toy")
    with pytest.raises(UserError, match="Remove the key"):
        check(collect, inputs, "no longer needed at all", (), True)
    (one,) = check(collect, {}, None, (), True)
    assert one["status"] == "not certifiable"


@pytest.mark.parametrize("stage", ["corpus", "sft", "preferences", "ppo", "storyworld/sft", "storyworld/corpus"])
def test_every_stage_that_a_model_learnt_from_must_have_been_searched_for_the_items_as_they_are(tmp_path, stage):
    collect = save_toy_collect(tmp_path / "collect", story_rows())
    inputs = {name: tmp_path / name for name in dict.fromkeys(("corpus", "pretrain", "reward", "dpo", stage))}
    for name in {"corpus", stage}:
        save_toy_certificate(inputs[name], collect)
    (one,) = check(collect, inputs, None, (), True)
    assert (one["status"], set(one["certificates"])) == ("certified", {"corpus", stage})
    path = inputs[stage] / "certificates" / "toy.json"
    path.write_text('{"items_sha256": "0"}')
    with pytest.raises(UserError, match=rf"{stage}/certificates/toy.json .* its items have changed since"):
        check(collect, inputs, None, (), True)
    path.unlink()
    with pytest.raises(UserError, match=rf"no certificate in .* of what {stage} was made from"):
        check(collect, inputs, None, (), True)
    (one,) = check(collect, inputs, "it was made before there were certificates", (), True)
    assert (one["status"], set(one["certificates"])) == ("uncertified", {"corpus"} - {stage})


def test_a_named_benchmark_whose_items_nobody_can_look_up_is_not_certified(tmp_path):
    collect = save_toy_collect(tmp_path / "collect", [])
    save_toy_certificate(tmp_path / "corpus", collect)
    (one,) = check(collect, {"corpus": tmp_path / "corpus"}, None, ("toy",), False)
    assert one["status"] == "certified"
    with pytest.raises(UserError, match="its items are not in collect/evaluation"):
        check(None, {"corpus": tmp_path / "corpus"}, None, ("toy",), False)


def test_prompts_without_any_benchmark_items_need_a_reason_too(tmp_path):
    collect = save_toy_collect(tmp_path / "collect", story_rows())
    (collect / "evaluation" / "toy.jsonl").unlink()
    with pytest.raises(UserError, match="evaluation prompts: no certificate"):
        check(collect, {"corpus": save_toy_corpus(tmp_path / "corpus")}, None, (), True)


def test_an_uncertified_benchmark_is_marked_in_the_table(tmp_path):
    certificate = {"benchmark": "toy", "status": "uncertified", "reason": "because", "certificates": {}}
    rows = [{"stage": "sft", "metric": "gold", "value": 0.5, "low": 0.4, "high": 0.6, "n": 9}]
    results = {"rows": rows, "differences": [], "certificates": [certificate], "settings": {"seed": 3}}
    text = table({**results, "titles": {"gold": "gold judge's mean score"}})
    assert "95 % intervals; the seed is 3." in text
    assert "**toy: uncertified**: because." in text
    assert "| gold judge's mean score (n 9) | 0.500 [0.400, 0.600] |" in text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prompts": None}, "gives no evaluation prompts"),
        ({"prompts": ""}, "no prompt in .* has 'wishes'"),
        ({"model": None}, "holds no model"),
        ({"stages": ()}, "the run has no model"),
    ],
)
def test_what_is_missing_is_said_before_any_model_is_loaded(tmp_path, change, message):
    inputs = save_toy_stages(tmp_path, story_rows(), stages=change.get("stages", ("sft",)))
    prompts = tmp_path / "collect" / "prompts" / "evaluate.jsonl"
    if "prompts" in change:
        prompts.unlink() if change["prompts"] is None else prompts.write_text(json.dumps(prompt_row(0, None)) + "\n")
    if "model" in change:
        (tmp_path / "sft" / "model" / "config.json").unlink()
    with pytest.raises(UserError, match=message):
        evaluate(tmp_path / "out", inputs)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"answers": None, "num_prompts": 3}, "num_prompts would be ignored"),
        ({"temperature": 0.0, "top_p": 0.9}, "top_p would be ignored"),
        ({"uncertified": "no"}, "at least 10 characters"),
        ({"answers": "taste"}, "'wishes' or 'rouge_l'"),
    ],
)
def test_a_recipe_key_without_effect_is_refused(keys, message):
    with pytest.raises(ValidationError, match=message):
        Recipe(**keys)


def test_a_recipe_without_prompts_survives_being_written_out():
    assert Recipe.model_validate_json(Recipe(answers=None).model_dump_json()) == Recipe(answers=None)
