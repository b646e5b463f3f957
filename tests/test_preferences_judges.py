"""preferences by other judges: a set that is there already, a function, a reward model, a language model."""

import json
import random
from collections import Counter
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForSequenceClassification

from pipeline.chat import encode_text, end_of_turn_id
from pipeline.judging import language_model
from pipeline.judging.language_model import compare, question, tallied, verdict
from pipeline.preferences import make
from pipeline.preferences.given import read_given
from pipeline.preferences.outside import identity
from pipeline.preferences.pair import Answer, Pair, balanced, without_repeats
from pipeline.preferences.recipe import Given, Recipe
from pipeline.preferences.scores import checked
from pipeline.recipe import validate
from pipeline.stage import Job, UserError
from tests.toy_judge import server, sides
from tests.toy_pairs import save_toy_model, write_jsonl

SHARED = Path(__file__).resolve().parent.parent.parent / "shared" / "data"


@pytest.fixture(scope="module")
def sft(tmp_path_factory):
    return save_toy_model(tmp_path_factory.mktemp("sft") / "model").parent


def job(folder, sft, **keys):
    out = folder / "out"
    out.mkdir(parents=True, exist_ok=True)
    recipe = validate(Recipe, keys, "preferences.yaml")
    inputs = {"sft": sft, "collect": folder / "collect"}
    return Job(stage="preferences", recipe=recipe, out=out, inputs=inputs, seed=0, run_name="toy")


def rows_of(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def given(folder, row, **keys):
    write_jsonl(folder / "rows.jsonl", row if isinstance(row, list) else [row])
    return validate(Given, {"path": str(folder / "rows.jsonl"), **keys}, "preferences.yaml")


def user(text):
    return {"role": "user", "content": text}


def said(text):
    return {"role": "assistant", "content": text}


HUMAN, GPT = {"from": "human", "value": "a"}, {"from": "gpt"}
HH = "\n\nHuman: a\n\nAssistant: b\n\nHuman: c\n\nAssistant: "
CHOICES = {"format": "choices", "columns": {"prompt": "q", "first": "x", "second": "y", "label": "won"}}


@pytest.mark.parametrize(
    ("keys", "row", "prompt", "answers", "scores"),
    [
        ({}, {"prompt": "a", "chosen": "b", "rejected": "c"}, [user("a")], ["b", "c"], [1, 0]),
        ({}, {"chosen": [user("a"), said("b")], "rejected": [user("a"), said("c")]}, [user("a")], ["b", "c"], [1, 0]),
        (
            {"columns": {"prompt": "conversations"}},
            {"conversations": [HUMAN], "chosen": {**GPT, "value": "b"}, "rejected": {**GPT, "value": "c"}},
            [user("a")], ["b", "c"], [1, 0],
        ),
        (
            {"format": "transcripts"}, {"chosen": HH + "d", "rejected": HH + "e"},
            [user("a"), said("b"), user("c")], ["d", "e"], [1, 0],
        ),
        (CHOICES, {"q": "a", "x": "b", "y": "c", "won": 2}, [user("a")], ["b", "c"], [0, 1]),
        ({"format": "ranked"}, {"prompt": "a", "answers": ["b", "c", "d"]}, [user("a")], ["b", "c", "d"], [0, -1, -2]),
        (
            {"format": "rated"},
            {
                "prompt": "a", "input": "more", "system": "s", "history": [["q", "r"]],
                "answers": ["b", "c"], "scores": [1, 5.5],
            },
            [{"role": "system", "content": "s"}, user("q"), said("r"), user("a\n\nmore")], ["b", "c"], [1, 5.5],
        ),
    ],
)  # fmt: skip
def test_each_layout_of_a_given_set_becomes_judged_answers(tmp_path, keys, row, prompt, answers, scores):
    (judged,) = read_given(given(tmp_path, row, **keys), lambda *told: None)
    assert (judged.prompt, judged.answers, judged.scores) == (prompt, answers, scores)


@pytest.mark.parametrize(
    ("keys", "row", "reason"),
    [
        ({}, {"chosen": [user("a"), said("b")], "rejected": [user("z"), said("c")]}, "different_prompts"),
        ({"format": "transcripts"}, {"chosen": "no turns", "rejected": HH}, "different_prompts"),
        ({"format": "transcripts"}, {"chosen": f"by hand{HH}d", "rejected": f"by hand{HH}e"}, "different_prompts"),
        (CHOICES, {"q": "a", "x": "b", "y": "c", "won": 0}, "tie"),
        (CHOICES, {"q": "a", "x": "b", "y": "c", "won": None}, "no_label"),
        ({"format": "rated"}, {"prompt": "a", "answers": ["b", "c"], "scores": [1, None]}, "no_score"),
        ({"format": "ranked"}, {"prompt": "a", "answers": ["b"]}, "one_answer"),
    ],
)
def test_rows_that_cannot_be_compared_are_counted(tmp_path, keys, row, reason):
    dropped = []
    with pytest.raises(UserError, match="not one of its 1 rows can be compared"):
        read_given(given(tmp_path, row, **keys), lambda *told: dropped.append(told[0]))
    assert dropped == [reason]


@pytest.mark.parametrize(
    ("keys", "row", "message"),
    [
        ({}, {"question": "a"}, "line 1: has no column 'chosen'. It has: question."),
        ({"columns": {"prompt": "q"}}, {"chosen": "a", "rejected": "b"}, "has no column 'q'"),
        ({}, {"prompt": 3, "chosen": "a", "rejected": "b"}, "'3' is no text and no message"),
        ({"format": "ranked"}, {"prompt": "a", "answers": "b"}, "'answers' is str, expected a list"),
        ({"format": "rated"}, {"prompt": "a", "answers": ["b", "c"], "scores": [1]}, "a list of 2 numbers"),
    ],
)
def test_a_row_of_another_shape_is_refused_with_its_columns(tmp_path, keys, row, message):
    with pytest.raises(UserError) as error:
        read_given(given(tmp_path, row, **keys), lambda *told: None)
    assert message in str(error.value)


def test_a_given_set_is_cleaned_split_by_prompt_and_keeps_its_sources(tmp_path, sft):
    rows = [
        {"prompt": f"tell {i % 20}", "chosen": f"fox {i}", "rejected": f"owl {i}", "source": "ab"[i % 2]}
        for i in range(60)
    ]
    rows += [rows[0], {**rows[1], "chosen": rows[1]["rejected"], "rejected": rows[1]["chosen"]}]
    rows += [
        {"prompt": "tell 3", "chosen": "same", "rejected": " same"},
        {"prompt": "tell 3", "chosen": "", "rejected": "owl"},
        {"prompt": "tell 3", "chosen": "fox<|im_end|>", "rejected": "owl"},
    ]
    rows += [
        {"prompt": "tell 3 to ada@fox.example", "chosen": "fox of eve@fox.example", "rejected": "owl", "source": "c"},
        {"prompt": "tell 3", "chosen": "home is where the owl found the lake", "rejected": "owl"},
        {"prompt": "tell 3", "chosen": "fox", "rejected": "home is where the owl found the lake"},
    ]
    item = {"id": "item", "text": "Home is where the owl found the lake"}
    write_jsonl(tmp_path / "collect" / "evaluation" / "toy.jsonl", [item])
    write_jsonl(tmp_path / "set.jsonl", rows)
    metrics = make.run(job(tmp_path, sft, judge="dataset", dataset={"path": str(tmp_path / "set.jsonl")}))
    train, heldout = rows_of(tmp_path / "out" / "train.jsonl"), rows_of(tmp_path / "out" / "heldout.jsonl")
    assert {k: v for k, v in metrics.items() if k.startswith("dropped")} == {
        "dropped_contradicted": 2,
        "dropped_empty": 1,
        "dropped_equal": 1,
        "dropped_leak_toy": 2,
        "dropped_repeated": 1,
        "dropped_special_token": 1,
    }
    assert len(train) + len(heldout) == 60 and metrics["edited_email"] == 2
    (private,) = (row for row in train + heldout if row["source"] == "c")
    assert (private["prompt"], private["chosen"]) == ([user("tell 3 to <email>")], [said("fox of <email>")])
    certificate = json.loads((tmp_path / "out" / "certificates" / "toy.json").read_text())
    assert certificate["data"][0].items() >= {"name": "pairs", "rows": 68, "kept": 66}.items()
    assert not {r["prompt"][0]["content"] for r in train} & {r["prompt"][0]["content"] for r in heldout}
    assert len({row["id"] for row in train + heldout}) == 60
    assert Counter(row["source"] for row in train + heldout) == {"a": 30, "b": 29, "c": 1}
    assert metrics["samples"] == 0
    assert not (tmp_path / "out" / "gold.jsonl").exists()


def pair(number, chosen, rejected):
    texts = (Answer(text=chosen), Answer(text=rejected))
    return Pair(id=str(number), prompt_id=str(number), prompt=[user("a")], chosen=texts[0], rejected=texts[1])


def test_length_is_balanced_by_leaving_out_and_repeats_go():
    longer = [pair(i, "long " * 3, f"s{i}") for i in range(9)]
    shorter = [pair(i + 9, "s", f"long {i}") for i in range(3)]
    even = [pair(20, "ab", "cd")]
    dropped = []
    kept = balanced([*longer, *shorter, *even], random.Random(0), lambda reason, it: dropped.append(reason))
    assert sum(len(p.chosen.text) > len(p.rejected.text) for p in kept) == 3
    assert (len(kept), dropped) == (7, ["length_balance"] * 6)
    assert [p.id for p in kept] == sorted((p.id for p in kept), key=int), "the order stays"
    twice = [pair(1, "a", "b"), pair(2, "a", "b"), pair(3, "c", "d"), pair(4, "d", "c")]
    told = []
    assert [p.id for p in without_repeats(twice, lambda reason, it: told.append((reason, it.id)))] == ["1"]
    assert told == [("repeated", "2"), ("contradicted", "3"), ("contradicted", "4")]


def fake_answers(monkeypatch, sft, texts):
    """The model answers every prompt with these texts in turn."""
    tokenizer = AutoTokenizer.from_pretrained(sft / "model")
    end, turn = end_of_turn_id(tokenizer), iter(texts * 50)

    def generate(model, tokenizer, prompts, **keys):
        text = next(turn)
        return [[*encode_text(tokenizer, text), end] for _ in prompts]

    monkeypatch.setattr(make, "generate", generate)


def prompts(folder, count=10):
    rows = [{"id": f"p{i}", "prompt": [user(f"tell {i}")], "wanted": "fox"} for i in range(count)]
    rows[0]["prompt"][0]["content"] += " to ada@fox.example"
    write_jsonl(folder / "collect" / "prompts" / "preferences.jsonl", rows)


JUDGE = """
def by_word(prompt, answer, row):
    assert prompt[0]["role"] == "user"
    return answer.count(row["wanted"])

def broken(prompt, answer, row):
    return float("nan")

def flat(prompt, answer, row):
    return 1
"""


def test_a_function_judges_best_against_worst_and_its_file_is_in_the_fingerprint(tmp_path, sft, monkeypatch):
    (tmp_path / "judge.py").write_text(JUDGE)
    prompts(tmp_path)
    fake_answers(monkeypatch, sft, ["fox owl", "owl", "fox fox"])
    named = {"judge": "function", "function": f"{tmp_path}/judge.py:by_word", "pairing": {"samples_per_prompt": 3}}
    metrics = make.run(job(tmp_path, sft, **named))
    rows = rows_of(tmp_path / "out" / "train.jsonl") + rows_of(tmp_path / "out" / "heldout.jsonl")
    assert len(rows) == 10
    assert all(r["chosen"][0]["content"] == "fox fox" and r["rejected"][0]["content"] == "owl" for r in rows)
    assert (metrics["score"], metrics["score_n"], metrics["samples"]) == (1.0, 30, 30)
    before = identity(validate(Recipe, named, "x"))
    (tmp_path / "judge.py").write_text(JUDGE + "\n# other\n")
    assert identity(validate(Recipe, named, "x")) != before
    for function, message in (
        ("broken", r"gave nan to an answer of prompt 1; it must be a finite number"),
        ("flat", r"gave 1 to every answer, so it orders nothing"),
        ("absent", r"judge\.py defines no function 'absent'"),
    ):
        fake_answers(monkeypatch, sft, ["fox owl", "owl", "fox fox"])
        with pytest.raises(UserError, match=message):
            make.run(job(tmp_path, sft, **{**named, "function": f"{tmp_path}/judge.py:{function}"}))
    with pytest.raises(UserError, match="there is no file or module nowhere"):
        identity(validate(Recipe, {**named, "function": "nowhere:f"}, "x"))


def test_a_margin_keeps_answers_of_like_scores_apart(tmp_path, sft, monkeypatch):
    (tmp_path / "judge.py").write_text(JUDGE)
    prompts(tmp_path)
    fake_answers(monkeypatch, sft, ["fox owl", "owl", "fox fox"])
    pairing = {"samples_per_prompt": 3, "pick": "random", "pairs_per_prompt": 3, "margin": 1.5}
    named = {"judge": "function", "function": f"{tmp_path}/judge.py:by_word", "pairing": pairing}
    metrics = make.run(job(tmp_path, sft, **named))
    assert metrics["pairs_train"] + metrics["pairs_heldout"] == 10, "two foxes against none, and nothing nearer"


def reward_model(folder, source, outputs=1):
    tokenizer = AutoTokenizer.from_pretrained(source)
    torch.manual_seed(0)
    config = LlamaConfig.from_pretrained(source, num_labels=outputs, pad_token_id=tokenizer.pad_token_id)
    LlamaForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def test_a_reward_model_judges_and_must_have_the_chat_models_tokenizer(tmp_path, sft, monkeypatch):
    prompts(tmp_path)
    fake_answers(monkeypatch, sft, ["fox owl", "owl", "fox fox"])
    judge = reward_model(tmp_path / "rm", sft / "model")
    keys = {"judge": "reward_model", "reward_model": str(judge), "pairing": {"samples_per_prompt": 3}}
    metrics = make.run(job(tmp_path, sft, **keys))
    assert metrics["pairs_train"] == 8
    assert metrics["score_std"] > 0
    other = AutoTokenizer.from_pretrained(judge)
    other.add_tokens(["another"])
    other.save_pretrained(judge)
    fake_answers(monkeypatch, sft, ["fox", "owl", "kite"])
    with pytest.raises(UserError, match="its tokenizer is not the chat model's"):
        make.run(job(tmp_path, sft, **keys))
    two = reward_model(tmp_path / "two", sft / "model", outputs=2)
    with pytest.raises(UserError, match="LlamaForSequenceClassification with 2 outputs"):
        make.run(job(tmp_path, sft, **{**keys, "reward_model": str(two)}))


@pytest.mark.parametrize(
    ("reply", "found"),
    [
        ("Both are fine.\nVerdict: A", "A"),
        ("**Verdict:** B", "B"),
        ("verdict: TIE", "tie"),
        ("First Verdict: A, but on reflection\nVerdict: B.", "B"),
        (" b\n", "B"),
        ("A story about a fox", None),
        ("I cannot judge this.", None),
        ("", None),
        (None, None),
    ],
)
def test_a_verdict_is_read_from_the_end_of_a_reply(reply, found):
    assert verdict(reply) == found


KEYS = validate(language_model.LanguageModel, {"rubric": "More foxes.", "model": "./x"}, "x")


def test_only_a_verdict_that_both_orders_give_makes_a_pair():
    replies = {
        ("a", "b"): "Verdict: A", ("b", "a"): "Verdict: B",  # a wins both times
        ("c", "d"): "Verdict: A", ("d", "c"): "Verdict: A",  # whichever comes first
        ("e", "f"): "Verdict: tie", ("f", "e"): "Verdict: tie",
        ("g", "h"): "no", ("h", "g"): "Verdict: A",
        ("i", "j"): "Verdict: B", ("j", "i"): "Verdict: A",
    }  # fmt: skip
    asked = [([user("q")], a, b) for a, b in ("ab", "cd", "ef", "gh", "ij")]
    known = {question("More foxes.", [user("q")], *sides)[0]["content"]: reply for sides, reply in replies.items()}
    compared = compare(asked, KEYS, lambda questions: [known[it[0]["content"]] for it in questions])
    assert [one.outcome for one in compared] == ["first", "disagreed", "tie", "refused", "second"]
    assert compared[1].replies == ("Verdict: A", "Verdict: A")
    assert tallied(compared) == {
        "judge_pairs": 5, "judge_ties": 1, "judge_disagreed": 1, "judge_refused": 1, "judge_agreement": 0.75,
    }  # fmt: skip


def foxes(body):
    """The verdict of a judge that counts foxes."""
    a, b = (answer.count("fox") for answer in sides(body))
    return "Verdict: tie" if a == b else "Verdict: A" if a > b else "Verdict: B"


def test_a_server_judges_busy_ones_are_asked_again_and_none_twice(tmp_path, sft, monkeypatch):
    monkeypatch.setattr(language_model, "PATIENCE", 0.0)
    monkeypatch.setenv("JUDGE_KEY", "hf_canary")
    prompts(tmp_path)
    calls = []

    def reply(body, headers):
        calls.append((body["model"], body["temperature"], headers["Authorization"]))
        assert "fox.example" not in json.dumps(body)
        return (503, "busy") if len(calls) == 1 else (200, foxes(body))

    with server(reply) as url:
        keys = {"rubric": "More foxes.", "model": "judge", "url": url, "key_env": "JUDGE_KEY"}
        named = {"judge": "language_model", "language_model": keys, "pairing": {"samples_per_prompt": 3}}
        fake_answers(monkeypatch, sft, ["fox owl", "owl", "fox fox"])
        metrics = make.run(job(tmp_path, sft, **named))
        assert set(calls) == {("judge", 0, "Bearer hf_canary")}
        assert len(calls) == 10 * 3 * 2 + 1
        fake_answers(monkeypatch, sft, ["fox owl", "owl", "fox fox"])
        assert make.run(job(tmp_path, sft, **named)) == metrics, "a second run takes every reply from the first"
        assert len(calls) == 61
    rows = rows_of(tmp_path / "out" / "train.jsonl")
    assert all(r["chosen"][0]["content"] == "fox fox" and r["rejected"][0]["content"] == "owl" for r in rows)
    assert (metrics["judge_agreement"], metrics["judge_pairs"], metrics["judge_refused"]) == (1.0, 30, 0)
    assert metrics["edited_email"] == 1
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b"hf_canary" not in written


@pytest.mark.parametrize(
    ("status", "content", "message"),
    [
        (401, "no such key", "gives no answer: 401 .*no such key"),
        (500, "down", "gives no answer: 500"),
        (200, [], None),
    ],
)
def test_a_server_that_refuses_is_told_at_once(tmp_path, monkeypatch, status, content, message):
    monkeypatch.setattr(language_model, "PATIENCE", 0.0)
    calls = []

    def reply(body, headers):
        calls.append(1)
        return status, content

    with server(reply) as url:
        keys = validate(language_model.LanguageModel, {"rubric": "x", "model": "m", "url": url, "parallel": 1}, "x")
        ask = language_model.asker(keys, tmp_path)
        if message is None:
            assert ask([[user("q")]]) == [None], "a reply without text is a refusal to judge"
            return
        with pytest.raises(UserError, match=message):
            ask([[user("q")]])
    assert len(calls) == (1 if status == 401 else language_model.ATTEMPTS)


def test_a_key_that_is_not_set_and_a_server_that_is_not_there_are_named(tmp_path, monkeypatch):
    monkeypatch.setattr(language_model, "PATIENCE", 0.0)
    keys = {"rubric": "x", "model": "m", "url": "http://127.0.0.1:9/v1"}
    with pytest.raises(UserError, match="the environment variable NO_SUCH_KEY is not set"):
        language_model.asker(validate(language_model.LanguageModel, {**keys, "key_env": "NO_SUCH_KEY"}, "x"), tmp_path)
    with pytest.raises(UserError, match=r"127\.0\.0\.1:9/v1/chat/completions gives no answer: ConnectError"):
        language_model.asker(validate(language_model.LanguageModel, keys, "x"), tmp_path)([[user("q")]])


def test_a_local_model_is_asked_in_both_orders_and_a_window_too_short_is_a_refusal(tmp_path, sft, monkeypatch):
    prompts(tmp_path, 4)
    fake_answers(monkeypatch, sft, ["fox", "owl"])
    keys = {"rubric": "More foxes.", "model": str(sft / "model"), "max_new_tokens": 4}
    named = {"judge": "language_model", "language_model": keys, "pairing": {"samples_per_prompt": 2}}
    with pytest.raises(UserError, match="'no_verdict': 4"):
        make.run(job(tmp_path, sft, **named))
    assert len(rows_of(tmp_path / "out" / "resume" / "replies.jsonl")) == 8
    asked = []

    def generate(model, tokenizer, rendered, **sampling):
        asked.extend(rendered)
        return [tokenizer.encode("Verdict: A") for _ in rendered]

    monkeypatch.setattr(language_model, "generate", generate)
    monkeypatch.setattr(language_model, "window", lambda model: None)
    local = validate(language_model.LanguageModel, keys, "x")
    assert language_model.asker(local, tmp_path)([[user("q")], [user("r")]]) == ["Verdict: A"] * 2
    assert len(asked) == 2


ASKED, SERVED = {"judge": "language_model"}, {"rubric": "x", "model": "m", "url": "http://localhost/v1"}


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"judge": "function"}, "needs the section 'function'"),
        ({"judge": "gold", "gold": {}, "function": "a:b"}, "'function' is without effect under judge: gold"),
        ({"judge": "reference", "pairing": {}}, "the section 'pairing' is without effect under judge: reference"),
        ({"judge": "dataset", "dataset": {"path": "x"}, "temperature": 0.7}, "temperature: is without effect"),
        ({"judge": "dataset", "dataset": {"path": "x", "columns": {"best": "y"}}}, "has no 'best'. Accepted: chosen"),
        ({"judge": "function", "function": "nocolon"}, "function"),
        ({"judge": "function", "function": "a:b", "pairing": {"pairs_per_prompt": 2}}, "Set pick: random for several"),
        ({**ASKED, "language_model": {"rubric": "x", "model": "org/m"}}, "needs `revision`"),
        ({**ASKED, "language_model": {"rubric": "x", "model": "./m", "key_env": "K"}}, "key_env belongs"),
        ({**ASKED, "language_model": {**SERVED, "revision": "0" * 40}}, "has no revision here"),
        ({**ASKED, "language_model": SERVED, "pairing": {"margin": 0.1}}, "gives no scores"),
        ({"judge": "reward_model", "reward_model": "org/name"}, "reward_model"),
    ],
)
def test_a_recipe_that_cannot_be_meant_is_refused(keys, message):
    with pytest.raises(UserError) as error:
        validate(Recipe, keys, "preferences.yaml")
    assert message in str(error.value)


def test_keys_that_came_later_leave_old_fingerprints_alone():
    old = {"judge", "gold", "max_prompts", "temperature", "top_p", "max_new_tokens", "batch_size", "heldout", "screen"}
    assert set(validate(Recipe, {"judge": "reference"}, "x").hashed()) == old
    assert identity(validate(Recipe, {"judge": "gold", "gold": {}}, "x")) is None


def test_scores_that_order_nothing_are_refused():
    assert checked([[1.0, 2.0], []], "x") == [[1.0, 2.0], []]
    with pytest.raises(UserError, match="gave 'a' to an answer of prompt 2"):
        checked([[1.0], ["a"]], "x")


OASST = {"prompt": "instruction", "answers": "output"}
ALPACA_EVAL = {"prompt": "instruction", "first": "output_1", "second": "output_2", "label": "preference"}


@pytest.mark.skipif(not SHARED.is_dir(), reason="the sets of real data are not on this machine")
@pytest.mark.parametrize(
    ("keys", "count"),
    [
        ({"path": "hh_harmless_dev", "format": "transcripts"}, 1595),
        ({"path": "oasst_zh/oaast_rm_zh.json.gz", "format": "ranked", "columns": OASST}, 775),
        ({"path": "llamafactory_demo/dpo_en_demo.json.gz", "columns": {"prompt": "conversations"}}, 300),
        ({"path": "alpaca_eval_pref/gpt4.jsonl.gz", "format": "choices", "columns": ALPACA_EVAL}, 470),
    ],
)
def test_real_sets_are_read(keys, count):
    read = read_given(Given(**{**keys, "path": str(SHARED / keys["path"])}), lambda *told: None)
    assert len(read) == count
