"""The models of a run, and what each of them is prompted with and answers.

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
from pipeline.stage import UserError

BASE_STAGE = "pretrain"


@dataclass(kw_only=True)
class Candidate:
    """A model that is measured. name: the prefix of its metric keys. owner: the base recipe that it is from, or ""."""

    name: str
    stage: str
    owner: str
    folder: Path
    tokenizer: Any
    context: int
    prompts: list[list[int]] = field(default_factory=list)

    @property
    def chats(self) -> bool:
        """Whether it was taught to answer, not only to go on with a text."""
        return self.stage != BASE_STAGE

    def prompt(self, item: Mapping[str, Any]) -> list[int]:
        """The token ids that ask this model for the item."""
        if self.chats:
            return list(render_prompt(self.tokenizer, item["prompt"]))
        return [*self.document_start, *encode_text(self.tokenizer, item["plain"] + "\n\n")]

    @property
    def document_start(self) -> list[int]:
        """What stands in front of every document in the token store."""
        return [document_end(self.tokenizer)]

    def load(self) -> Any:
        """The model in evaluation mode: in float32 on a CPU (bf16 crawls there), as it was saved on an accelerator."""
        device = "cuda" if torch.cuda.is_available() else "cpu"
        dtype = "auto" if device == "cuda" else torch.float32
        model = AutoModelForCausalLM.from_pretrained(
            self.folder, dtype=dtype, use_safetensors=True, trust_remote_code=False
        )
        return model.to(device).eval()


def document_end(tokenizer: Any) -> int:
    """The token between documents: <|endoftext|> where the vocabulary has it, else the tokenizer's own end token."""
    return int(tokenizer.get_vocab().get(END_OF_TEXT, tokenizer.eos_token_id))


def candidates(inputs: Mapping[str, Path]) -> list[Candidate]:
    """The models among the inputs, the run's own first, each in the order of the chain. Raises UserError for none."""
    found = []
    for key in sorted(inputs, key=lambda key: key.count("/")):
        owner, _, stage = key.rpartition("/")
        if stage not in MODEL_STAGES:
            continue
        folder = inputs[key] / "model"
        if not (folder / "config.json").is_file():
            raise UserError(f"evaluate: {folder} holds no model (no config.json). Build the stage {stage} again.")
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        # Documents are longer than the window and are cut into windows here; transformers would warn of each.
        tokenizer.model_max_length = int(1e30)
        context = int(AutoConfig.from_pretrained(folder, trust_remote_code=False).max_position_embeddings)
        name = re.sub(r"\W", "_", key)
        found.append(
            Candidate(name=name, stage=stage, owner=owner, folder=folder, tokenizer=tokenizer, context=context)
        )
    if not found:
        raise UserError(f"evaluate: the run has no model: none of {', '.join(MODEL_STAGES)} is among its stages.")
    return sorted(found, key=lambda c: (c.owner != "", c.owner, MODEL_STAGES.index(c.stage)))


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
