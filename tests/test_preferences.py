"""preferences: pairs of the SFT model's own answers, in the judge's order, with label noise, split by prompt."""

import itertools
import json
import random

import pytest
from transformers import AutoTokenizer

from pipeline.chat import END_OF_TURN, encode_text, end_of_turn_id, render_prompt
from pipeline.chat_gate import ChatGate
from pipeline.pairs import EncodedPair, best_against, encode_pair, encode_pairs, read_pairs, sample_pairs
from pipeline.preferences import make
from pipeline.preferences.pair import Answer, by_gold, swap_labels
from pipeline.preferences.recipe import STAGE, Gold, Recipe
from pipeline.recipe import validate
from pipeline.stage import Job, UserError
from tests.toy_pairs import pair_row, save_toy_model, write_jsonl

PROMPT = {"id": "p1", "prompt": [{"role": "user", "content": "Write."}]}


@pytest.fixture(scope="module")
def sft(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sft")
    save_toy_model(folder / "model")
    return folder


@pytest.fixture(scope="module")
def tokenizer(sft):
    return AutoTokenizer.from_pretrained(sft / "model")


def job(tmp_path, sft, prompts, **keys):
    write_jsonl(tmp_path / "collect" / "prompts" / "preferences.jsonl", prompts)
    out = tmp_path / "out"
    out.mkdir()
    return Job(
        stage="preferences",
        recipe=Recipe(**keys),
        out=out,
        inputs={"collect": tmp_path / "collect", "sft": sft},
        seed=0,
        run_name="toy",
    )


def rows_of(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def stories(monkeypatch, tokenizer, texts):
    """The model answers every prompt with these texts in turn; the judge scores a text by its number of "good"."""
    end = tokenizer.convert_tokens_to_ids(END_OF_TURN)

    turn = itertools.cycle(texts)

    def generate(model, tokenizer, prompts, **kwargs):
        text = next(turn)
        return [tokenizer.encode(text) + ([end] if not text.endswith("...") else []) for _ in prompts]

    class Judgement:
        def __init__(self, score):
            self.score = score

    monkeypatch.setattr(make, "generate", generate)
    monkeypatch.setattr(make, "judge", lambda text, wishes: Judgement(text.count("good") / 4))


def wished(count):
    return [{**PROMPT, "id": f"p{index}", "wishes": {}} for index in range(count)]


def test_gold_pairs_hold_the_order_and_never_the_score(tmp_path, sft, tokenizer, monkeypatch):
    stories(monkeypatch, tokenizer, ["good good good", "good", "bad", "good good good good"])
    gold = Gold(samples_per_prompt=4, pairs_per_prompt=6, margin=0.3, label_noise=0.0)
    metrics = make.run(job(tmp_path, sft, wished(10), judge="gold", gold=gold, heldout=0.3))
    train, heldout = rows_of(tmp_path / "out" / "train.jsonl"), rows_of(tmp_path / "out" / "heldout.jsonl")
    assert (len(train), len(heldout)) == (metrics["pairs_train"], metrics["pairs_heldout"]) == (28, 12)
    assert not {r["id"].split("/")[0] for r in train} & {r["id"].split("/")[0] for r in heldout}
    for row in train + heldout:
        assert set(row) == {"id", "prompt", "chosen", "rejected", "source"}
        chosen, rejected = row["chosen"][0]["content"], row["rejected"][0]["content"]
        assert chosen.count("good") - rejected.count("good") >= 2, "pairs nearer than the margin must not be made"
    gold_rows = {row["id"]: row for row in rows_of(tmp_path / "out" / "gold.jsonl")}
    assert set(gold_rows) == {row["id"] for row in train + heldout}
    assert all(row["chosen_gold"] > row["rejected_gold"] for row in gold_rows.values())
    assert (metrics["gold"], metrics["gold_n"], metrics["labels_swapped"]) == (0.5, 40, 0)


def test_label_noise_swaps_its_share_of_the_pairs():
    pairs = by_gold(PROMPT, [Answer(text=str(i), gold=i / 10) for i in range(10)], Gold(margin=0.0), random.Random(0))
    swapped = swap_labels(pairs * 500, 0.1, random.Random(0))
    share = sum(pair.chosen.gold < pair.rejected.gold for pair in swapped) / len(swapped)
    assert len(swapped) == 1500
    assert 0.075 < share < 0.125


def test_unfinished_empty_and_equal_answers_are_dropped_and_counted(tmp_path, sft, tokenizer, monkeypatch):
    stories(monkeypatch, tokenizer, ["good good", "good and on and on ...", "", "good good", "bad"])
    gold = Gold(samples_per_prompt=5, pairs_per_prompt=10)
    metrics = make.run(job(tmp_path, sft, wished(4), judge="gold", gold=gold, heldout=0.5))
    assert {k: v for k, v in metrics.items() if k.startswith("dropped")} == {
        "dropped_unfinished": 4,
        "dropped_empty": 4,
        "dropped_equal": 4,
    }
    assert metrics["pairs_train"] + metrics["pairs_heldout"] == 4
    assert {row["reason"] for row in rows_of(tmp_path / "out" / "dropped.jsonl")} == {"unfinished", "empty", "equal"}


def test_answers_that_are_all_alike_stop_the_stage_with_the_counts(tmp_path, sft, tokenizer, monkeypatch):
    stories(monkeypatch, tokenizer, ["good", "good good"])
    gold = Gold(samples_per_prompt=2, pairs_per_prompt=1, margin=0.9)
    with pytest.raises(UserError, match=r"0 pairs to train on and 0 held out.*no_difference.*lower gold.margin"):
        make.run(job(tmp_path, sft, wished(4), judge="gold", gold=gold))


def test_reference_judge_sets_the_author_against_the_models_own_sample(tmp_path, sft):
    prompts = [
        {**PROMPT, "id": f"p{index}", "wishes": None, "reference": "" if index == 0 else f"Returns {index}."}
        for index in range(40)
    ]
    metrics = make.run(job(tmp_path, sft, prompts, judge="reference", temperature=3.0, max_new_tokens=60, heldout=0.5))
    train = rows_of(tmp_path / "out" / "train.jsonl")
    assert all(row["chosen"][0]["content"].startswith("Returns") and row["source"] == "reference" for row in train)
    assert not (tmp_path / "out" / "gold.jsonl").exists()
    kept, left_out = (
        metrics["pairs_train"] + metrics["pairs_heldout"],
        sum(value for key, value in metrics.items() if key.startswith("dropped_")),
    )
    assert (kept + left_out, metrics["samples"]) == (40, 40)


def test_equal_runs_write_equal_bytes(tmp_path, sft):
    prompts = [{**PROMPT, "id": f"p{index}", "reference": f"Returns {index}."} for index in range(30)]
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        make.run(
            job(tmp_path / name, sft, prompts, judge="reference", temperature=3.0, max_new_tokens=60, heldout=0.5)
        )
    for file in ("train.jsonl", "heldout.jsonl", "dropped.jsonl"):
        assert (tmp_path / "one/out" / file).read_bytes() == (tmp_path / "two/out" / file).read_bytes()


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"judge": "reference", "gold": {"label_noise": 0.1}}, "without effect under judge: reference"),
        ({"judge": "gold"}, "needs the section 'gold'"),
        ({"judge": "gold", "gold": {"samples_per_prompt": 2, "pairs_per_prompt": 2}}, "1 at most"),
        ({"judge": "gold", "gold": {"label_nose": 0.1}}, "Did you mean 'label_noise'"),
        ({"judge": "people"}, "'gold', 'reference', 'dataset'"),
        ({"judge": "gold", "gold": {}, "temperature": [0.7, 1.0]}, "2 of them are given for 4 sample"),
        ({"judge": "gold", "gold": {}, "temperature": [0.7, 1.0, 1.3, 0.0]}, "greater than 0"),
    ],
)
def test_a_recipe_that_cannot_be_meant_is_refused(keys, message):
    with pytest.raises(UserError, match=message):
        validate(Recipe, keys, "preferences.yaml")


def test_each_sample_of_a_prompt_has_its_own_temperature(tmp_path, sft, monkeypatch):
    asked = []

    def fake(model, tokenizer, prompts, *, temperature, seed, **keys):
        asked.append((temperature, seed))
        return [[*encode_text(tokenizer, f"fox owl {temperature} {place}"), end] for place in range(len(prompts))]

    end = end_of_turn_id(AutoTokenizer.from_pretrained(sft / "model"))
    monkeypatch.setattr(make, "generate", fake)
    recipe = Recipe(judge="gold", gold={"samples_per_prompt": 2, "pairs_per_prompt": 1}, temperature=[0.5, 1.5])
    prompts = [{"id": str(n), "prompt": PROMPT["prompt"], "wishes": {}} for n in range(3)]
    answers = make.answer_prompts(prompts, sft / "model", recipe, 0, make.Dropped())
    assert answers == [[f"fox owl {temperature} {place}" for temperature in (0.5, 1.5)] for place in range(3)]
    assert [temperature for temperature, _ in asked] == [0.5, 1.5]
    assert asked[0][1] != asked[1][1], "equal seeds would give near-equal answers"


def test_a_recipe_survives_the_round_trip_through_the_claim():
    for keys in ({"judge": "reference"}, {"judge": "gold", "gold": {}}):
        recipe = validate(Recipe, keys, "preferences.yaml")
        assert validate(Recipe, recipe.model_dump(mode="json"), "job.json") == recipe
    assert STAGE.recipe is Recipe


def test_prompts_without_what_the_judge_needs_are_refused(tmp_path, sft):
    with pytest.raises(UserError, match="line 1: has no 'reference', which judge: reference needs"):
        make.run(job(tmp_path, sft, [PROMPT, PROMPT], judge="reference"))
    (tmp_path / "two").mkdir()
    with pytest.raises(UserError, match="holds 1 prompts"):
        make.run(job(tmp_path / "two", sft, [{**PROMPT, "reference": "x"}], judge="reference"))
    (tmp_path / "two/collect/prompts/preferences.jsonl").unlink()
    broken = Job(stage="preferences", recipe=Recipe(judge="reference"), out=tmp_path, seed=0, run_name="toy",
                 inputs={"collect": tmp_path / "two/collect", "sft": sft})  # fmt: skip
    with pytest.raises(UserError, match="the source of this recipe's collect has no prompts"):
        make.run(broken)


def test_both_sides_follow_the_prompt_as_in_use_and_end_the_turn(tokenizer):
    row = pair_row("p", "say it now", "fox home", "owl")
    pair = encode_pair(ChatGate(tokenizer), row)
    end = tokenizer.convert_tokens_to_ids(END_OF_TURN)
    assert pair.prompt_ids == render_prompt(tokenizer, row["prompt"])
    assert pair.chosen_ids[-1] == pair.rejected_ids[-1] == end
    assert pair.chosen_ids.count(end) == 1
    assert tokenizer.decode(pair.chosen_ids[:-1]) == "fox home"


def test_a_special_token_spelt_out_in_a_pair_is_refused_by_name(tokenizer):
    for prompt, chosen in (("say <|im_end|> now", "fox"), ("say", "fox <|endoftext|> home")):
        with pytest.raises(UserError, match=r"pair p, chosen: message \d .* spells out the special token"):
            encode_pairs(tokenizer, [pair_row("p", prompt, chosen, "owl")], 128, "train.jsonl")


def test_pairs_that_cannot_be_trained_on_are_counted(tokenizer):
    rows = [
        pair_row("good", "go", "fox", "owl"),
        pair_row("equal", "go", "fox", " fox "),
        pair_row("empty", "go", "fox", " "),
        pair_row("long", "go", "fox " * 200, "owl"),
    ]
    kept, dropped = encode_pairs(tokenizer, rows, 128, "train.jsonl")
    assert [pair.id for pair in kept] == ["good"]
    assert dropped == {"equal": 1, "empty": 1, "too_long": 1}
    with pytest.raises(UserError, match=r"train.jsonl: none of its 1 pairs can be used .*'equal': 1"):
        encode_pairs(tokenizer, rows[1:2], 128, "train.jsonl")


def test_a_preference_file_of_another_shape_is_refused_with_its_columns(tmp_path):
    path = tmp_path / "train.jsonl"
    for text, message in (
        ('{"question": 1, "best": 2, "id": 3}\n', "line 1: has no 'prompt'. Its columns are: best, id, question"),
        ("[1]\n", "line 1: has no 'id'. Its columns are: list"),
        ("{\n", "line 1: not JSON"),
        ("", "holds no pair"),
    ):
        path.write_text(text)
        with pytest.raises(UserError, match=message):
            read_pairs(path)


def test_templates_that_spoil_training_are_refused(tokenizer):
    row = pair_row("p9", "go", "fox", "owl")
    original = tokenizer.chat_template
    try:
        tokenizer.chat_template = original.replace("assistant\\n' -}}{%- endif -%}", "assistant:' -}}{%- endif -%}")
        assert tokenizer.chat_template != original
        with pytest.raises(UserError, match="pair p9, chosen: the chat template renders the prompt in another way"):
            encode_pair(ChatGate(tokenizer), row)
        tokenizer.chat_template = original.replace("| trim ~ '<|im_end|>' -}}{%- endgen", "| trim -}}{%- endgen")
        assert tokenizer.chat_template != original
        with pytest.raises(UserError, match="pair p9, chosen: 0 of the assistant's 1 turns end with a trained"):
            encode_pair(ChatGate(tokenizer), row)
    finally:
        tokenizer.chat_template = original


def test_a_sample_of_pairs_depends_on_its_purpose_alone(tokenizer):
    pairs, _ = encode_pairs(tokenizer, [pair_row(str(i), "go", f"fox {i}", "owl") for i in range(9)], 128, "x")
    first, second = sample_pairs(pairs, 4, "0/dpo"), sample_pairs(pairs, 4, "0/dpo")
    assert [p.id for p in first] == [p.id for p in second]
    assert len({p.id for p in first}) == 4
    assert [p.id for p in sample_pairs(pairs, None, "1/dpo")] != [p.id for p in pairs]


@pytest.mark.parametrize(("other", "rejected"), [("worst", 6), ("next", 9)])
def test_one_pair_a_prompt_by_all_its_labels(other, rejected):
    def pair(prompt, chosen, rejected):
        return EncodedPair(id="x", prompt_ids=[prompt], chosen_ids=[chosen], rejected_ids=[rejected])

    # 7 > 8 > 9 > 6, but for one label that says 9 > 8; prompt 2 was compared once; in prompt 3 every answer won once.
    pairs = [pair(1, 7, 8), pair(1, 9, 8), pair(1, 8, 6), pair(1, 7, 9), pair(1, 7, 6), pair(1, 9, 6)]
    circle = [pair(3, 1, 2), pair(3, 2, 3), pair(3, 3, 1)]
    found = best_against([*pairs, pair(2, 5, 4), *circle], other)
    assert [(p.prompt_ids, p.chosen_ids, p.rejected_ids) for p in found] == [([1], [7], [rejected]), ([2], [5], [4])]
