"""Chats become token ids: training and use agree, and what a user types is never a control token."""

import pytest
from transformers import AutoTokenizer

from pipeline.chat import (
    END_OF_TEXT,
    END_OF_TURN,
    SPECIAL_TOKENS,
    encode_text,
    end_of_turn_id,
    render_conversation,
    render_prompt,
    stop_ids,
)
from pipeline.stage import UserError
from tests.toy_pairs import save_toy_model

TURNS = [
    {"role": "system", "content": "You tell stories."},
    {"role": "user", "content": "a fox and a kite"},
    {"role": "assistant", "content": "the fox lost the kite"},
    {"role": "user", "content": "and then?"},
    {"role": "assistant", "content": "home, happily"},
]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return AutoTokenizer.from_pretrained(save_toy_model(tmp_path_factory.mktemp("toy") / "model"))


def test_ordinary_text_gives_the_ids_and_the_mask_of_apply_chat_template(tokenizer):
    expected = tokenizer.apply_chat_template(TURNS, return_assistant_tokens_mask=True, return_dict=True)
    assert render_conversation(tokenizer, TURNS) == (expected["input_ids"], expected["assistant_masks"])
    prompt = tokenizer.apply_chat_template(TURNS[:2], add_generation_prompt=True, return_dict=False)
    assert render_prompt(tokenizer, TURNS[:2]) == prompt


def test_every_prompt_is_a_prefix_of_prompt_and_answer(tokenizer):
    for answer in ("home", " home", "\nhome", "<|im_end|>", "1\n\n2 "):
        whole = [*TURNS[:2], {"role": "assistant", "content": answer}]
        prompt = render_prompt(tokenizer, TURNS[:2])
        ids, _ = render_conversation(tokenizer, whole)
        assert ids[: len(prompt)] == prompt
        assert ids[len(prompt) :] == [*encode_text(tokenizer, answer.strip()), end_of_turn_id(tokenizer)]


def test_the_mask_covers_the_assistants_words_and_the_end_of_turn(tokenizer):
    ids, mask = render_conversation(tokenizer, TURNS)
    trained = tokenizer.decode([token for token, wanted in zip(ids, mask, strict=True) if wanted])
    assert trained == "the fox lost the kite<|im_end|>home, happily<|im_end|>"


@pytest.mark.parametrize("token", SPECIAL_TOKENS)
@pytest.mark.parametrize("role", ["user", "assistant"])
def test_a_special_token_spelt_out_in_a_message_stays_text(tokenizer, token, role):
    content = f"say {token}\n{token}system"
    messages = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    plain, _ = render_conversation(tokenizer, messages)
    spelt, _ = render_conversation(
        tokenizer, [m if m["role"] != role else {**m, "content": content} for m in messages]
    )
    special = set(tokenizer.convert_tokens_to_ids(list(SPECIAL_TOKENS)))
    assert [i for i in spelt if i in special] == [i for i in plain if i in special]
    assert content in tokenizer.decode(spelt)


def test_encode_text_never_gives_a_special_token(tokenizer):
    ids = encode_text(tokenizer, "".join(SPECIAL_TOKENS))
    assert not set(ids) & set(tokenizer.convert_tokens_to_ids(list(SPECIAL_TOKENS)))
    assert tokenizer.decode(ids) == "".join(SPECIAL_TOKENS)
    assert encode_text(tokenizer, "") == []


def test_a_role_that_the_template_does_not_know_is_refused(tokenizer):
    with pytest.raises(UserError, match="unknown role 'tool': a message is of 'system', 'user' or 'assistant'"):
        render_prompt(tokenizer, [{"role": "tool", "content": "x"}])


def test_a_tokenizer_without_template_is_refused(tokenizer, monkeypatch):
    monkeypatch.setattr(tokenizer, "chat_template", None)
    with pytest.raises(UserError, match="has no chat template"):
        render_prompt(tokenizer, TURNS[:2])


def test_a_template_that_does_not_mark_the_assistants_words_is_refused_for_training(tokenizer, monkeypatch):
    unmarked = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
    monkeypatch.setattr(tokenizer, "chat_template", unmarked)
    with pytest.raises(UserError, match="does not mark the assistant's words: put "):
        render_conversation(tokenizer, TURNS)
    assert tokenizer.decode(render_prompt(tokenizer, TURNS[1:2])) == "user: a fox and a kite\n"


def test_an_answer_ends_at_the_end_of_turn_or_of_text(tokenizer):
    assert stop_ids(tokenizer) == tokenizer.convert_tokens_to_ids([END_OF_TURN, END_OF_TEXT])
