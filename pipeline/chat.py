"""Chats as token ids: the one place where a conversation is rendered, for training and for use alike.

Reads a tokenizer's chat template (ours is chat_template.jinja beside this file) and messages
`{"role": .., "content": ..}`; returns token ids and, for training, which of them the assistant wrote.

What a user or a document wrote is never parsed as a control token: the template is rendered with a placeholder for
each content, the text around the placeholders is encoded with special tokens parsed, and each content by itself with
them split into plain pieces. (transformers' `sanitize_control_tokens` does as much, but cannot return the mask.) So
tokens never merge across the border of prompt and answer either, and a prompt is always a prefix of prompt + answer.
"""

import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from jinja2.exceptions import TemplateError
from transformers import GenerationConfig
from transformers.utils.chat_template_utils import render_jinja_template

from pipeline.stage import UserError

TEMPLATE = Path(__file__).with_name("chat_template.jinja")
END_OF_TEXT, START_OF_TURN, END_OF_TURN, PAD = "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|pad|>"
SPECIAL_TOKENS: tuple[str, ...] = (END_OF_TEXT, START_OF_TURN, END_OF_TURN, PAD)

Message = dict[str, str]

# Private-use characters: no content can collide with them, since no content is in the rendered text.
PLACEHOLDER = re.compile("\ue000(\\d+)\ue001")
GENERATION_MARK = re.compile(r"\{%-?\s*generation\s*-?%\}")


def encode_text(tokenizer: Any, text: str) -> list[int]:
    """The ids of text that somebody wrote: a special token spelt out in it becomes plain pieces."""
    return tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True) if text else []


def render_prompt(tokenizer: Any, messages: Sequence[Message]) -> list[int]:
    """The ids after which the assistant's answer begins."""
    pieces, _ = _pieces(tokenizer, messages, add_generation_prompt=True)
    return [token for ids, _ in pieces for token in ids]


def render_conversation(tokenizer: Any, messages: Sequence[Message]) -> tuple[list[int], list[int]]:
    """The ids of a whole conversation, and 1 for each that the assistant wrote (its end of turn included), else 0.

    Raises UserError where the template does not mark what the assistant writes with {% generation %}.
    """
    template = _template(tokenizer)
    if not GENERATION_MARK.search(template):
        raise UserError(
            "the tokenizer's chat template does not mark the assistant's words: put {% generation %} and "
            "{% endgeneration %} around the content and the end-of-turn token of assistant messages"
        )
    pieces, trained = _pieces(tokenizer, messages, add_generation_prompt=False)
    ids: list[int] = []
    mask: list[int] = []
    for piece, start in pieces:
        ids += piece
        mask += [int(any(low <= start < high for low, high in trained))] * len(piece)
    return ids, mask


def training_text(tokenizer: Any, messages: Sequence[Message]) -> str:
    """The text whose ids `render_conversation` gives."""
    text, _ = _render(tokenizer, messages, add_generation_prompt=False)
    return PLACEHOLDER.sub(lambda found: messages[int(found[1])]["content"].strip(), text)


def inference_text(tokenizer: Any, messages: Sequence[Message], add_generation_prompt: bool = False) -> str:
    """The text that transformers renders when the model is used."""
    try:
        return str(
            tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=add_generation_prompt)
        )
    except TemplateError as error:
        raise UserError(f"the chat template refuses the conversation: {error.message}") from error


def end_of_turn_id(tokenizer: Any) -> int:
    """The id that ends a turn: <|im_end|> where the vocabulary has it, else the tokenizer's own end token."""
    return tokenizer.get_vocab().get(END_OF_TURN, tokenizer.eos_token_id)


def stop_ids(tokenizer: Any) -> list[int]:
    """The ids at which an answer is over: end of turn, and end of text."""
    vocabulary = tokenizer.get_vocab()
    known = [vocabulary[token] for token in (END_OF_TURN, END_OF_TEXT) if token in vocabulary]
    return list(dict.fromkeys([*known, *([] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id])]))


def save_chat_model(model: Any, tokenizer: Any, folder: Path) -> None:
    """Writes what AutoModelForCausalLM and AutoTokenizer load, with the tokens that end an answer.

    (A trainer sets the model's end token to the tokenizer's, the end of a document; answers end with a turn.)
    """
    model.generation_config = GenerationConfig(
        eos_token_id=stop_ids(tokenizer), pad_token_id=tokenizer.pad_token_id, bos_token_id=tokenizer.bos_token_id
    )
    model.config.pad_token_id = tokenizer.pad_token_id
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _template(tokenizer: Any) -> str:
    if not tokenizer.chat_template:
        raise UserError(
            "the tokenizer has no chat template: save it with `chat_template` set, for instance to the text of "
            "pipeline/chat_template.jinja, and with the special tokens that the template writes"
        )
    return tokenizer.get_chat_template()


def _pieces(
    tokenizer: Any, messages: Sequence[Message], add_generation_prompt: bool
) -> tuple[list[tuple[list[int], int]], list[tuple[int, int]]]:
    """The rendered conversation cut into encoded pieces with their character offsets, and the assistant's spans.

    The spans' borders are cuts too, so a piece lies wholly inside or outside of a span.
    """
    text, spans = _render(tokenizer, messages, add_generation_prompt)
    cuts = {0, len(text), *(border for span in spans for border in span)}
    contents: dict[int, str] = {}
    for match in PLACEHOLDER.finditer(text):
        cuts |= set(match.span())
        contents[match.start()] = messages[int(match[1])]["content"].strip()
    pieces = []
    borders = sorted(cuts)
    for start, end in pairwise(borders):
        if start in contents:
            pieces.append((encode_text(tokenizer, contents[start]), start))
        else:
            pieces.append((tokenizer.encode(text[start:end], add_special_tokens=False), start))
    return pieces, spans


def _render(
    tokenizer: Any, messages: Sequence[Message], add_generation_prompt: bool
) -> tuple[str, list[tuple[int, int]]]:
    """The text with placeholders for the contents, and the character spans that the assistant wrote.

    Blanks around a content stay outside of its placeholder, so the template's own trimming acts on them.
    """
    hollow = []
    for index, message in enumerate(messages):
        content = message["content"]
        core = content.strip()
        before = content[: len(content) - len(content.lstrip())] if core else ""
        after = content[len(content.rstrip()) :] if core else ""
        hollow.append({**message, "content": f"{before}\ue000{index}\ue001{after}"})
    try:
        (text,), spans = render_jinja_template(
            [hollow],
            chat_template=_template(tokenizer),
            return_assistant_tokens_mask=True,
            add_generation_prompt=add_generation_prompt,
            **tokenizer.special_tokens_map,
        )
    except TemplateError as error:
        raise UserError(f"the chat template refuses the conversation: {error.message}") from error
    return text, [tuple(span) for span in spans[0]]
