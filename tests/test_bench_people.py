"""The measure of reward models on people's choices: folds, both rules by length, the data as the chain takes them."""

import gzip
import json

import pytest

from bench import people
from pipeline.chain import BY_NAME
from pipeline.preferences.recipe import Given
from pipeline.recipe import validate
from pipeline.reward.score import ScoredPair


def pair(prompt, better, worse, lengths):
    return ScoredPair(
        prompt=prompt, better_reward=better, worse_reward=worse, better_length=lengths[0], worse_length=lengths[1]
    )


def test_all_pairs_of_a_prompt_lie_in_one_fold():
    rows = [{"prompt": [{"role": "user", "content": f"q{n // 3}"}], "id": n} for n in range(300)]
    parts = people.folds(rows)
    assert sorted(row["id"] for part in parts for row in part) == list(range(300))
    prompts = [{row["prompt"][0]["content"] for row in part} for part in parts]
    assert len(set.union(*prompts)) == sum(map(len, prompts))
    assert min(map(len, parts)) > 30


@pytest.mark.parametrize(
    ("pairs", "rule", "mean"),
    [
        ([pair(n, 1.0, 0.0, (5, 9)) for n in range(8)], "shorter", 0.0),
        ([pair(n, 1.0, 0.0, (9, 5) if n % 4 else (5, 9)) for n in range(8)], "longer", 0.25),
        ([pair(n, 0.0, 1.0, (9, 5)) for n in range(8)], "longer", -1.0),
        ([pair(n, 1.0, 0.0, (9, 9)) for n in range(8)], "longer", 0.5),  # of equal length: a rule by length guesses
    ],
)
def test_the_difference_is_from_the_better_rule(pairs, rule, mean):
    found = people.over_length(pairs)
    assert (found[0], found[1]) == (rule, mean)


def test_the_figures_stand_in_the_table():
    pairs = [pair(n, 1.0, 0.0, (9, 5) if n % 4 else (5, 9)) for n in range(8)]
    lines = people.table("toy", people.figures(pairs))
    assert lines[0] == "toy: 8 pairs, 5 folds by prompt"
    assert "reward model                 1.000 [1.000, 1.000] of 8 prompts" in lines[1]
    assert lines[-1].startswith("  over 'longer' +0.250 [")


def test_what_is_given_is_what_the_stages_take(tmp_path):
    data = tmp_path / "data"
    for name in ("alpaca_eval_pref", "hh_harmless_dev", "alpaca_5000"):
        (data / name).mkdir(parents=True)
    (data / "alpaca_5000" / "rows.json.gz").touch()
    keys = {"instruction": "q", "output_1": "a", "output_2": "b", "generator_2": "m"}
    rows = [{**keys, "preference": label} for label in (1, 2.0, 0, None)]
    with gzip.open(data / "alpaca_eval_pref" / "m.jsonl.gz", "wt", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    for one in people.given(data, tmp_path).values():
        validate(Given, one, "given")
    joined = [json.loads(line) for line in (tmp_path / "alpaca_eval.jsonl").read_text().splitlines()]
    assert [row["label"] for row in joined] == [1, 2, 0]
    for name, section in people.recipes(data, 10_000).items():
        if name != "recipe":
            validate(BY_NAME[name].recipe, section, name)
