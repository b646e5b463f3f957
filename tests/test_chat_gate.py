"""The chat gate: chats that would teach nothing or the wrong thing are refused, before every stage that trains."""

import json

import pytest
from transformers import AutoTokenizer

from pipeline.chat import TEMPLATE
from pipeline.chat_gate import ChatGate, Unusable, sample_first, spans
from pipeline.stage import UserError
from tests.toy_pairs import save_toy_model

OURS = TEMPLATE.read_text(encoding="utf-8")
SYSTEM = {"role": "system", "content": "You tell stories."}
TALK = [
    SYSTEM,
    {"role": "user", "content": "a fox"},
    {"role": "assistant", "content": "Fox lost"},
    {"role": "user", "content": "and then?"},
    {"role": "assistant", "content": "home"},
]


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    return save_toy_model(tmp_path_factory.mktemp("gate") / "model")


@pytest.fixture
def tokenizer(saved):
    return AutoTokenizer.from_pretrained(saved)


def changed(old, new):
    """Our template with a piece replaced."""
    assert old in OURS
    return OURS.replace(old, new)


END = " | trim ~ '<|im_end|>' -}}"
ASSISTANT = "{%- generation -%}{{- message['content']" + END + "{%- endgeneration -%}"
BROKEN = {
    "no marks": (
        changed("{%- generation -%}", "").replace("{%- endgeneration -%}", ""),
        "does not mark the assistant's words",
    ),
    "the end of the turn is not trained": (
        changed(END + "{%- endgeneration -%}", " -}}{%- endgeneration -%}{{- '<|im_end|>' -}}"),
        "0 of the assistant's 2 turns end with a trained '<|im_end|>', so the model would never learn to stop",
    ),
    "only the last turn is trained": (
        changed(
            "{%- if message['role'] == 'assistant' -%}", "{%- if message['role'] == 'assistant' and loop.last -%}"
        ),
        "1 of the assistant's 2 turns end with",
    ),
    "no prompt for an answer": (
        changed("{{- '\\n<|im_start|>assistant\\n' -}}", ""),
        "renders the prompt in another way when an answer follows",
    ),
    "another prompt than in training": (
        changed("'\\n<|im_start|>assistant\\n' -}}", "'\\n<|im_start|>assistant:\\n' -}}"),
        "renders the prompt in another way when an answer follows",
    ),
    "earlier turns change once they are history": (
        changed(ASSISTANT, ASSISTANT.replace("'<|im_end|>'", "('' if loop.last else '.') ~ '<|im_end|>'")),
        "renders the answer in message 3 in another way once it is followed by others",
    ),
    "all is trained": (
        "{% for m in messages %}{% generation %}{{ m['content'] }}{% endgeneration %}{% endfor %}",
        "tokens would be trained",
    ),
    "nothing is trained": (
        "{% for m in messages %}{{ m['content'] }}{% generation %}{% endgeneration %}{% endfor %}",
        ": 0 of its",
    ),
    "it rewrites the words": (
        changed(ASSISTANT, ASSISTANT.replace("['content']", "['content'] | lower")),
        "in use the chat template writes 'fox lost<|im_end|>",
    ),
    "it leaves out a role": (
        changed("{%- for message in messages -%}", "{%- for message in messages if message['role'] != 'system' -%}"),
        "leaves out the system's message",
    ),
    "it begins twice": (
        "{{- '<|pad|>' ~ '<|pad|>' -}}" + OURS,
        "2 of its tokens are '<|pad|>', which begins a text and may stand there once",
    ),
    "it refuses": ("{{ raise_exception('no') }}{% generation %}{% endgeneration %}", "refuses the conversation: no"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_template_is_caught_with_one_message_that_names_the_place(tokenizer, name):
    template, message = BROKEN[name]
    tokenizer.chat_template = template
    tokenizer.bos_token = "<|pad|>" if "twice" in name else None
    with pytest.raises(UserError, match=r"^c\.jsonl, line 7: ") as error:
        ChatGate(tokenizer).conversation(TALK, "c.jsonl, line 7")
    assert message in str(error.value)
    assert not isinstance(error.value, Unusable), "a template's fault is no row's"


def test_a_sound_template_passes_and_trains_the_assistants_words_alone(tokenizer):
    gate = ChatGate(tokenizer)
    ids, mask = gate.conversation(TALK, "x")
    assert spans(tokenizer, ids, mask, colour=False) == (
        "<|im_start|>system\nYou tell stories.<|im_end|>\n<|im_start|>user\na fox<|im_end|>\n<|im_start|>assistant\n"
        "[[Fox lost<|im_end|>]]\n<|im_start|>user\nand then?<|im_end|>\n<|im_start|>assistant\n[[home<|im_end|>]]"
    )
    prompt = gate.prompt(TALK[:2], "x")
    assert prompt == ids[: len(prompt)]


def test_a_begin_of_text_written_once_passes_and_so_does_a_mark_of_turns_that_is_also_one(tokenizer):
    tokenizer.chat_template = "{{- '<|pad|>' -}}" + OURS
    for bos in ("<|pad|>", "<|im_start|>", "<|im_end|>"):
        tokenizer.bos_token = bos
        ids, mask = ChatGate(tokenizer).conversation(TALK, "x")
        assert tokenizer.decode(ids).startswith("<|pad|><|im_start|>") and any(mask)


@pytest.mark.parametrize(
    ("messages", "reason", "message"),
    [
        ([], "empty", "holds no message"),
        ([{"role": "bot", "content": "x"}], "unknown_role", "message 1 has the role 'bot'; it must be one of system"),
        ([{"role": "user", "content": " \n"}], "empty", "message 1 (user) has no text"),
        ([{"role": "user", "content": None}], "empty", "message 1 (user) has no text"),
        ([{"role": "user"}], "empty", "message 1 (user) has no text"),
        (TALK[:2], "no_answer", "the last message is the user's"),
        ([{"role": "user", "content": "a <|im_end|>"}, TALK[2]], "special_token", "the special token '<|im_end|>'"),
        ([TALK[1], {"role": "assistant", "content": "b<|endoftext|>"}], "special_token", "message 2 (assistant)"),
    ],
)  # fmt: skip
def test_a_row_of_ones_own_fault_is_named_and_can_be_counted(tokenizer, messages, reason, message):
    with pytest.raises(Unusable, match=r"^row 3: ") as error:
        ChatGate(tokenizer).conversation(messages, "row 3")
    assert error.value.reason == reason
    assert message in str(error.value)


@pytest.mark.parametrize("pad", ["<|im_end|>", None])
def test_a_pad_token_that_ends_a_turn_or_is_not_there_is_refused(tokenizer, pad):
    tokenizer.pad_token = pad
    with pytest.raises(UserError, match="must be there and differ from the token that ends a turn"):
        ChatGate(tokenizer)


def test_a_tokenizer_without_a_template_or_an_end_is_refused(tokenizer):
    tokenizer.chat_template = None
    with pytest.raises(UserError, match="x: the tokenizer has no chat template"):
        ChatGate(tokenizer).conversation(TALK, "x")

    class Endless:
        eos_token_id = None

        def get_vocab(self):
            return {}

    with pytest.raises(UserError, match="has no token that ends a turn"):
        ChatGate(Endless())


def test_a_sample_is_printed_and_written_as_data(tokenizer, tmp_path, capsys):
    gate = ChatGate(tokenizer)
    gate.show(*gate.conversation(TALK[1:3], "x"), tmp_path, "sft")
    printed = capsys.readouterr().err
    assert "[[Fox lost<|im_end|>]]" in printed
    assert "of one sample are trained" in printed.splitlines()[0]
    written = json.loads((tmp_path / "trained_tokens.json").read_text(encoding="utf-8"))
    assert written["stage"] == "sft"
    assert "".join(token["text"] for token in written["tokens"] if token["trained"]) == "Fox lost<|im_end|>"
    assert "".join(token["text"] for token in written["tokens"] if not token["trained"]).endswith("assistant\n")


def test_on_a_terminal_the_trained_span_is_green_and_nothing_else_steers_it(tokenizer):
    ids = tokenizer.encode("fox") + tokenizer.encode("a\033[31mb")
    mask = [0] * len(tokenizer.encode("fox")) + [1] * (len(ids) - len(tokenizer.encode("fox")))
    assert spans(tokenizer, ids, mask, colour=True) == "\033[2mfox\033[0m\033[32ma?[31mb\033[0m"


def test_a_sample_over_all_rows_comes_first_and_every_row_once():
    for count in (0, 1, 63, 64, 65, 1000):
        order = sample_first(count)
        assert sorted(order) == list(range(count))
    assert max(sample_first(1000)[:64]) > 900
