"""The judge behind an OpenAI-compatible address: what a server does wrong, and that its key shows up nowhere."""

import logging
import threading

import pytest

from pipeline.judging import language_model
from pipeline.judging.recipe import LanguageModel
from pipeline.recipe import validate
from pipeline.stage import UserError
from tests.toy_judge import server

KEY = "sk-canary-0123456789"
ASKED = [[{"role": "user", "content": "q"}]]


def ask(url, folder, **keys):
    told = {"rubric": "x", "model": "m", "url": url, "parallel": 1, **keys}
    return language_model.asker(validate(LanguageModel, told, "x"), folder)(ASKED)


@pytest.fixture
def waits(monkeypatch):
    """What was slept for, in place of sleeping."""
    slept: list[float] = []
    monkeypatch.setattr(language_model.time, "sleep", slept.append)
    return slept


@pytest.mark.parametrize(
    "sent",
    [b"<html>nginx</html>", b"", b"[]", b"{}", b'{"choices": []}', b'{"choices": [{"text": "A"}]}', b'"Verdict: A"'],
)
def test_an_answer_of_another_form_stops_with_what_was_sent(tmp_path, waits, sent):
    with server(lambda body, headers: (200, sent)) as url, pytest.raises(UserError) as caught:
        ask(url, tmp_path)
    assert f"gives no answer: 200 {sent.decode()}" in str(caught.value)
    assert waits == [] and not (tmp_path / "replies.jsonl").exists()


def test_an_empty_reply_is_no_verdict_and_is_kept(tmp_path, waits):
    calls = []
    with server(lambda body, headers: calls.append(1) or (200, "")) as url:
        assert ask(url, tmp_path) == ask(url, tmp_path) == [""]
    assert len(calls) == 1 and language_model.verdict("") is None


def test_a_busy_server_is_waited_for_as_long_as_it_asks(tmp_path, waits):
    answers = [(429, "slow down", {"Retry-After": "7"}), (503, "busy", {"Retry-After": "86400"}), (429, "again"),
               (429, "later", {"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}), (200, "Verdict: A")]  # fmt: skip
    with server(lambda body, headers: answers.pop(0)) as url:
        assert ask(url, tmp_path) == ["Verdict: A"]
    # Never shorter than the doubling pause, never longer than the bound.
    assert waits == [7.0, language_model.LONGEST_WAIT, 4.0, 8.0]


def test_a_server_that_takes_too_long_is_asked_again_and_then_named(tmp_path, waits, monkeypatch):
    monkeypatch.setattr(language_model, "TIMEOUT", 0.05)
    over, calls = threading.Event(), []

    def reply(body, headers):
        calls.append(1)
        over.wait(20)
        return 200, "Verdict: A"

    with server(reply) as url:
        try:
            with pytest.raises(UserError, match="gives no answer: ReadTimeout"):
                ask(url, tmp_path)
        finally:
            over.set()
    assert len(calls) == len(waits) + 1 == language_model.ATTEMPTS


@pytest.mark.parametrize("status", [200, 401, 429])
def test_the_key_is_in_no_message_log_or_file(tmp_path, waits, monkeypatch, caplog, capfd, status):
    monkeypatch.setenv("JUDGE_KEY", f"{KEY}\n")
    seen = []

    def reply(body, headers):
        seen.append(headers["Authorization"])
        return status, f"Incorrect key: {KEY}".encode()

    caplog.set_level(logging.DEBUG)
    with server(reply) as url, pytest.raises(UserError, match=r"Incorrect key: \[key\]") as caught:
        ask(url, tmp_path, key_env="JUDGE_KEY")
    assert set(seen) == {f"Bearer {KEY}"}
    said = [str(caught.value), repr(caught.value.__cause__), caplog.text, *capfd.readouterr()]
    written = [path.read_text() for path in tmp_path.rglob("*") if path.is_file()]
    assert not any(KEY in text for text in (*said, *written))
