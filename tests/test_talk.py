"""The terminal chat: which model it takes, what it sends, how it streams, what ends it."""

import io
import json
from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from pipeline import talk
from pipeline.stage import UserError
from tests.toy_pairs import save_toy_model


def finish(run: Path, stage: str, seed: int = 0) -> Path:
    """A finished stage with a random model."""
    save_toy_model(run / stage / "model", seed=seed)
    (run / stage / "manifest.json").write_text(json.dumps({"stage": stage}))
    return run / stage


def open_toy(tmp_path: Path, chats: bool = True, **keys) -> talk.Talk:
    folder = save_toy_model(tmp_path / "toy")
    keys = {"max_new_tokens": 20, "temperature": 0.7, "seed": 0, **keys}
    return talk.Talk(
        model=AutoModelForCausalLM.from_pretrained(folder),
        tokenizer=AutoTokenizer.from_pretrained(folder),
        chats=chats,
        window=128,
        **keys,
    )


def command(tmp_path: Path, monkeypatch, capsys, text: str, *options: str) -> tuple[int, str, str]:
    monkeypatch.setattr("sys.stdin", io.StringIO(text))
    status = talk.main(["--recipe", "toy", "--runs", str(tmp_path), "--max-new-tokens", "8", *options])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_the_most_aligned_finished_model_is_taken(tmp_path):
    run = tmp_path / "toy"
    finish(run, "pretrain")
    assert talk.choose(run, None)[0] == "pretrain"
    finish(run, "sft")
    save_toy_model(run / "dpo" / "model")  # no manifest: not finished
    assert talk.choose(run, None)[0] == "sft"
    finish(run, "dpo")
    assert talk.choose(run, None) == ("dpo", run / "dpo")
    assert talk.choose(run, "sft") == ("sft", run / "sft")


@pytest.mark.parametrize(
    ("stage", "message"),
    [
        (None, r"has not finished a model \(grpo, ppo, dpo, sft, pretrain\)\. Run `make all RECIPE=toy`"),
        ("sft", "has not finished the stage sft. Run `make sft RECIPE=toy`"),
        ("reward", "--stage reward: gives no model to talk to. Accepted: pretrain, sft, dpo, ppo"),
    ],
)
def test_what_cannot_be_talked_to_is_said(tmp_path, stage, message):
    with pytest.raises(UserError, match=message):
        talk.choose(tmp_path / "toy", stage)


def test_lines_from_a_pipe_are_answered_until_quit(tmp_path, monkeypatch, capsys):
    finish(tmp_path / "toy", "sft")
    status, out, err = command(tmp_path, monkeypatch, capsys, "a fox\n\na kite\n/quit\nnever read\n")
    assert status == 0
    assert "toy/sft/model (sft): it answers what you write." in out
    # One blank line ends each of the two answers; the empty line and what follows /quit get none.
    assert out.count("\n\n") == 2
    assert "Loading" not in err
    assert command(tmp_path, monkeypatch, capsys, "a fox\n\na kite\n")[1] == out


def test_a_base_model_goes_on_with_the_text(tmp_path, monkeypatch, capsys):
    finish(tmp_path / "toy", "pretrain")
    status, out, _ = command(tmp_path, monkeypatch, capsys, "the fox\n")
    assert status == 0 and "(pretrain): it goes on with what you write." in out
    opened = open_toy(tmp_path, chats=False)
    assert opened.tokenizer.decode(opened.prompt("the fox")[0]) == "<|endoftext|>the fox"
    assert opened.prompt("")[0] == [opened.tokenizer.convert_tokens_to_ids("<|endoftext|>")]


@pytest.mark.parametrize("options", [("--stage", "dpo"), ("--temperature", "-1"), ("--max-new-tokens", "0")])
def test_a_mistake_is_one_line_and_status_2(tmp_path, monkeypatch, capsys, options):
    finish(tmp_path / "toy", "sft")
    status, _, err = command(tmp_path, monkeypatch, capsys, "a fox\n", *options)
    assert status == 2
    assert err.startswith("error: ") and err.count("\n") == 1


@pytest.mark.parametrize("chats", [True, False])
def test_special_tokens_that_are_typed_stay_text(tmp_path, chats):
    opened = open_toy(tmp_path, chats)
    plain, spelt = opened.prompt("a fox")[0], opened.prompt("a fox<|im_end|><|endoftext|>")[0]
    for token in opened.tokenizer.all_special_ids:
        assert spelt.count(token) == plain.count(token)
    assert len(spelt) > len(plain)


def test_the_oldest_turns_are_forgotten_until_the_prompt_fits(tmp_path):
    opened = open_toy(tmp_path)
    for number in range(8):
        list(opened.answer(f"a story of the fox, number {number}"))
        assert len(opened.prompt("next")[0]) <= opened.window - opened.room
    roles = [message["role"] for message in opened.messages]
    assert roles[0] == "user" and len(roles) < 16
    with pytest.raises(UserError, match=r"that is too long: \d+ tokens, and this model can take 108 and answer"):
        opened.prompt("fox " * 300)


def test_a_message_that_is_too_long_does_not_end_the_talk(tmp_path):
    opened, out = open_toy(tmp_path), io.StringIO()
    talk.converse(opened, ["fox " * 300, "a kite", "/new"], out)
    assert out.getvalue().startswith("(that is too long")
    assert out.getvalue().endswith("(forgotten)\n")
    assert opened.messages == []


def test_stopping_an_answer_keeps_what_was_said(tmp_path):
    opened = open_toy(tmp_path, temperature=1.0)
    written = []

    class Out(io.StringIO):
        def write(self, text: str) -> int:
            if len(written) == 2:
                written.append("")
                raise KeyboardInterrupt
            written.append(text)
            return len(text)

    talk.converse(opened, ["a fox"], Out())
    assert written[-1] == " (stopped)\n\n"
    assert [message["role"] for message in opened.messages] == ["user", "assistant"]


def test_pieces_hold_back_half_a_character(tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(save_toy_model(tmp_path / "toy"))
    text = "a café 🦊 home"
    ids = tokenizer.encode(text)
    found = list(talk.pieces(tokenizer, ids))
    assert "".join(found) == text
    assert 1 < len(found) < len(ids)
    assert all("\ufffd" not in piece for piece in found)
    cut = list(talk.pieces(tokenizer, tokenizer.encode("🦊")[:2]))
    assert "".join(cut) == "\ufffd"
