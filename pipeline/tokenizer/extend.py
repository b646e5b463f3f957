"""Extends an existing byte-pair tokenizer with what a corpus wants: its training goes on where it ended.

The corpus is cut by the base tokenizer, each of its tokens is written as one character, and on those tokenizers' own
trainer learns further merges. They come after all of the base's, so that a text is first cut as before and then joined
further, and the base's ids keep their meaning. Tokens added the other way, as `add_tokens` does, are looked up in the
text before it is cut into words, inside of words too.
"""

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from pipeline import chat
from pipeline.stage import UserError

FIRST = 0x10000  # the character that stands for the base's id 0; from here on there are a million without a gap
BYTE = re.compile(r"<0x[0-9A-F]{2}>")  # a byte's own token, where a base has characters and falls back on bytes
WORD_BEGINS = "\u2581"  # in the tokens of SentencePiece

Pieces = dict[int, list[int]]  # for each new id those of the base that it is made of


def extend(
    base: Any, name: str, texts: Iterable[list[str]], new_tokens: int
) -> tuple[PreTrainedTokenizerFast, Pieces]:
    """The extended tokenizer, and what its new tokens are made of. base: transformers' tokenizer, called `name`.

    A base without a chat template gets this pipeline's, with its special tokens. Raises UserError for a base that is
    no byte-pair tokenizer, or that has no token to end a document with.
    """
    if base.eos_token is None:
        raise UserError(
            f"tokenizer.yaml: extend.tokenizer = {name}: has no end-of-text token (eos_token). Take another."
        )
    spec = json.loads(base.backend_tokenizer.to_str())
    model = spec["model"]
    if model["type"] != "BPE" or model["continuing_subword_prefix"] or model["end_of_word_suffix"]:
        raise UserError(
            f"tokenizer.yaml: extend.tokenizer = {name}: is {model['type']}"
            f"{' with marked word parts' if model['type'] == 'BPE' else ''}; only plain BPE can be extended, "
            "since its merges go on where they ended. Take a BPE tokenizer, or train one of your own."
        )
    tokens = {number: token for token, number in base.get_vocab().items()}
    pieces = _append(spec, tokens, _learn(base, tokens, texts, new_tokens))
    extended = Tokenizer.from_str(json.dumps(spec))
    return _wrap(base, extended, pieces), pieces


def _learn(base: Any, tokens: dict[int, str], texts: Iterable[list[str]], new_tokens: int) -> list[tuple[str, str]]:
    """The further merges, of strings in which each character is a token of the base."""
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.Split("\n", behavior="removed")
    written = [chr(FIRST + number) for number in tokens]
    trainer = trainers.BpeTrainer(
        vocab_size=len(written) + new_tokens, initial_alphabet=written, min_frequency=2, show_progress=False
    )
    trained.train_from_iterator(_written(base, tokens, texts), trainer)
    return [(left, right) for left, right in json.loads(trained.to_str())["model"]["merges"]]


def _written(base: Any, tokens: dict[int, str], texts: Iterable[list[str]]) -> Iterator[list[str]]:
    """Each text with a character for each token and a line for each word."""
    backend = Tokenizer.from_str(base.backend_tokenizer.to_str())
    backend.encode_special_tokens = True
    alone = set(backend.get_added_tokens_decoder()) | {n for n, token in tokens.items() if BYTE.fullmatch(token)}
    for batch in texts:
        lines = []
        for encoding in backend.encode_batch(batch, add_special_tokens=False):
            words: list[str] = []
            last = None
            for number, word in zip(encoding.ids, encoding.word_ids, strict=True):
                if word != last or number in alone or tokens[number].startswith(WORD_BEGINS):
                    words.append("")
                words[-1] += chr(FIRST + number)
                last = None if number in alone else word
            lines.append("\n".join(words))
        yield lines


def _append(spec: dict[str, Any], tokens: dict[int, str], merges: list[tuple[str, str]]) -> Pieces:
    """Puts the merges behind the base's own, in tokenizers' JSON. A merge whose token the base has leads to that."""
    model = spec["model"]
    special = {entry["content"] for entry in spec["added_tokens"]}
    # Beside them in the vocabulary they keep their ids, which tokenizers counts on from it otherwise.
    model["vocab"] |= {entry["content"]: entry["id"] for entry in spec["added_tokens"]}
    pieces: Pieces = {}
    number = max(tokens) + 1
    refused: set[str] = set()
    for pair in merges:
        left, right = ("".join(tokens[ord(c) - FIRST] for c in part) for part in pair)
        if left in refused or right in refused or left + right in special:
            refused.add(left + right)  # a text that spells a special token must not become it
            continue
        model["merges"].append([left, right])
        if left + right not in model["vocab"]:
            model["vocab"][left + right] = number
            pieces[number] = [ord(c) - FIRST for c in "".join(pair)]
            number += 1
    return pieces


def _wrap(base: Any, extended: Tokenizer, pieces: Pieces) -> PreTrainedTokenizerFast:
    roles = {role: token for role, token in base.special_tokens_map.items() if isinstance(token, str)}
    extra = list(base.extra_special_tokens)
    template = base.chat_template
    if not template:
        template = chat.TEMPLATE.read_text(encoding="utf-8")
        extra += [chat.START_OF_TURN, chat.END_OF_TURN]
    roles.setdefault("pad_token", chat.PAD)
    plain = Tokenizer.from_str(extended.to_str())
    plain.encode_special_tokens = True
    fast = PreTrainedTokenizerFast(
        tokenizer_object=extended,
        **roles,
        extra_special_tokens=list(dict.fromkeys(extra)),
        clean_up_tokenization_spaces=False,
    )
    fast.chat_template = template
    known = set(plain.get_vocab().values())
    for token, number in sorted(fast.get_vocab().items(), key=lambda item: item[1]):
        if number not in known:
            pieces[number] = plain.encode(token, add_special_tokens=False).ids
    return fast
