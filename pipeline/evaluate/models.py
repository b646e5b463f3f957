"""The models of a run and those that the recipe names beside them, and what each is prompted with.

A chat model gets the prompt through its own chat template. A base model gets the wishes as plain text, in the first
training phrasing and a blank line behind, after a document end, which is how a document begins in the token store.
"""

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from pipeline.chain import MODEL_STAGES
from pipeline.chat import END_OF_TEXT, encode_text, render_prompt
from pipeline.evaluate.recipe import Named
from pipeline.stage import UserError

BASE_STAGE = "pretrain"
LONGEST_CONTEXT = 4096  # tokens; a window of 100,000 would want more memory than it is worth


@dataclass(kw_only=True)
class Candidate:
    """A model that is measured.

    name: the prefix of its metric keys. stage: of the run or of a base's, "" where the recipe names it. owner: the
    base recipe that it is from, or "". origin: its folder, or its id on the Hub at `revision`. chats: whether it was
    taught to answer, not only to go on with a text. context: the tokens that it reads at once.
    """

    name: str
    stage: str
    owner: str
    origin: str
    revision: str | None = None
    chats: bool
    tokenizer: Any
    context: int
    prompts: list[list[int]] = field(default_factory=list)

    def prompt(self, item: Mapping[str, Any]) -> list[int]:
        """The token ids that ask this model for the item."""
        if self.chats:
            return list(render_prompt(self.tokenizer, item["prompt"]))
        plain = item.get("plain") or item["prompt"][-1]["content"]
        return [*self.document_start, *encode_text(self.tokenizer, plain + "\n\n")]

    @property
    def document_start(self) -> list[int]:
        """What stands in front of every document: in our token store a document end, elsewhere what the model had."""
        tokenizer = self.tokenizer
        if tokenizer.bos_token_id is not None and END_OF_TEXT not in tokenizer.get_vocab():
            return [tokenizer.bos_token_id]
        return [document_end(tokenizer)]

    def document(self, text: str) -> list[int]:
        """A whole document: its start (given), the text, an end behind (paid for)."""
        return [*self.document_start, *encode_text(self.tokenizer, text), document_end(self.tokenizer)]

    def load(self) -> Any:
        """The model in evaluation mode: in float32 on a CPU (bf16 crawls there), as it was saved on an accelerator."""
        device = "cuda" if torch.cuda.is_available() else "cpu"
        dtype = "auto" if device == "cuda" else torch.float32
        model = AutoModelForCausalLM.from_pretrained(
            self.origin, revision=self.revision, dtype=dtype, use_safetensors=True, trust_remote_code=False
        )
        return model.to(device).eval()


def document_end(tokenizer: Any) -> int:
    """The token between documents: <|endoftext|> where the vocabulary has it, else the tokenizer's own end token."""
    return int(tokenizer.get_vocab().get(END_OF_TEXT, tokenizer.eos_token_id))


def candidates(inputs: Mapping[str, Path], named: Sequence[Named] = ()) -> list[Candidate]:
    """The models among the inputs, the run's own first, each in the order of the chain; then the named ones.

    Raises UserError for none, and for one that cannot be read.
    """
    found = []
    for key in inputs:
        owner, _, stage = key.rpartition("/")
        if stage not in MODEL_STAGES:
            continue
        folder = inputs[key] / "model"
        if not (folder / "config.json").is_file():
            raise UserError(f"evaluate: {folder} holds no model (no config.json). Build the stage {stage} again.")
        chats = stage != BASE_STAGE
        found.append(_open(re.sub(r"\W", "_", key), stage, owner, chats, str(folder)))
    found.sort(key=lambda c: (c.owner != "", c.owner, MODEL_STAGES.index(c.stage)))
    for one in named:
        if any(other.name == one.name for other in found):
            raise UserError(
                f"evaluate.yaml: models: the name {one.name} is taken by the run's own model. Choose another."
            )
        found.append(_open(one.name, "", "", one.chat, one.origin, one.revision))
    if not found:
        raise UserError(
            f"evaluate: the run has no model: none of {', '.join(MODEL_STAGES)} is among its stages, and "
            "evaluate.yaml names none under models."
        )
    return found


def _open(name: str, stage: str, owner: str, chats: bool, origin: str, revision: str | None = None) -> Candidate:
    """The candidate with its tokenizer. Raises UserError where it has no token that ends a document."""
    try:
        tokenizer = AutoTokenizer.from_pretrained(origin, revision=revision, trust_remote_code=False)
        config = AutoConfig.from_pretrained(origin, revision=revision, trust_remote_code=False).get_text_config()
    except (OSError, ValueError) as error:
        raise UserError(f"evaluate: the model {name} cannot be read from {origin}: {error}") from None
    # Documents are longer than the window and are cut into windows here; transformers would warn of each.
    tokenizer.model_max_length = int(1e30)
    if END_OF_TEXT not in tokenizer.get_vocab() and tokenizer.eos_token_id is None:
        raise UserError(f"evaluate: the tokenizer of {name} ({origin}) has no end token. Set eos_token in its files.")
    context = int(getattr(config, "max_position_embeddings", LONGEST_CONTEXT))
    return Candidate(
        name=name, stage=stage, owner=owner, origin=origin, revision=revision, chats=chats, tokenizer=tokenizer,
        context=min(context, LONGEST_CONTEXT),
    )  # fmt: skip


def choose(
    models: Sequence[Candidate], items: Sequence[dict[str, Any]], count: int, max_new_tokens: int, seed: int
) -> tuple[list[dict[str, Any]], int]:
    """`count` items, the same for every model, whose prompts leave each of them room for an answer; fills `.prompts`.

    Returns the items and how many had to be passed over because they were too long for some model.
    """
    chosen: list[dict[str, Any]] = []
    passed_over = 0
    for item in random.Random(f"{seed}/evaluate/prompts").sample(list(items), len(items)):
        prompts = [model.prompt(item) for model in models]
        if any(len(p) + max_new_tokens > model.context for p, model in zip(prompts, models, strict=True)):
            passed_over += 1
            continue
        chosen.append(item)
        for model, prompt in zip(models, prompts, strict=True):
            model.prompts.append(prompt)
        if len(chosen) == count:
            break
    if not chosen:
        raise UserError(
            f"evaluate: none of {len(items)} evaluation prompts leaves room for max_new_tokens = {max_new_tokens} in "
            f"a context of {min(m.context for m in models)} tokens. Lower max_new_tokens in evaluate.yaml."
        )
    return chosen, passed_over
