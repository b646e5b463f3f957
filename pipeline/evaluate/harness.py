"""A loaded model as EleutherAI's lm-evaluation-harness sees one: its `LM` interface over our likelihoods and sampling.

The harness's own `hf` model makes the logits of every position; see likelihood.py for what is saved here. The figures
are the same (a test compares them), but for texts beyond the context: ours slide by half of it.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.api.model import TemplateLM

from pipeline.chat import encode_text, stop_ids
from pipeline.evaluate.bits import windows
from pipeline.evaluate.likelihood import log_likelihoods
from pipeline.evaluate.models import Candidate, document_end
from pipeline.generate import generate

MAX_GEN_TOKS = 256  # where a task does not say, as in the harness
STOP_TAIL = 24  # tokens of an answer that are searched for a stop string after each step


class HarnessModel(TemplateLM):
    """One model for all of its tasks. chat: whether prompts come through the chat template, control tokens and all."""

    def __init__(self, candidate: Candidate, model: Any, *, batch_size: int, seed: int, chat: bool) -> None:
        super().__init__()
        self.candidate, self.model, self.tokenizer = candidate, model, candidate.tokenizer
        self.batch_size, self.seed, self.chat = batch_size, seed, chat
        # Some tokenizers put a token before every text, and their models are lost without it.
        opening = self.tokenizer.encode("")
        bos = self.tokenizer.bos_token_id
        self.opening = [bos] if bos is not None and opening[:1] == [bos] and not chat else []
        # The choices of one question share its text, and come one after the other.
        self._encoded = lru_cache(maxsize=64)(self._encode)

    @property
    def eot_token_id(self) -> int:
        return document_end(self.tokenizer)

    @property
    def prefix_token_id(self) -> int:
        return self.candidate.document_start[0]

    @property
    def tokenizer_name(self) -> str:
        return self.candidate.origin.replace("/", "__")

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        return self.tokenizer.apply_chat_template(
            chat_history,
            tokenize=False,
            add_generation_prompt=add_generation_prompt,
            continue_final_message=not add_generation_prompt,
        )

    def _encode(self, string: str) -> tuple[int, ...]:
        if self.chat:
            return tuple(self.tokenizer.encode(string, add_special_tokens=False))
        return tuple(encode_text(self.tokenizer, string))

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **kwargs: Any) -> list[int]:
        opening = [] if add_special_tokens is False else self.opening
        return [*opening, *self._encoded(string)]

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = True) -> list[tuple[float, bool]]:
        """(log-likelihood, whether greedy) of each (context, continuation)."""
        return super().loglikelihood(requests, disable_tqdm=disable_tqdm)

    def _loglikelihood_tokens(
        self, requests: list[tuple[tuple[str, str], list[int], list[int]]], **kwargs: Any
    ) -> list[tuple[float, bool]]:
        sequences = []
        for _, context, continuation in requests:
            ids = [*context, *continuation][-(self.candidate.context + 1) :]
            # A continuation that melts into its context leaves its last token to be scored.
            sequences.append((ids, min(len(ids) - 1, max(1, len(ids) - len(continuation)))))
        found = log_likelihoods(self.model, sequences, pad=self.eot_token_id)
        return [(one.log_likelihood, one.greedy) for one in found]

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = False) -> list[float]:
        """The log-likelihood of whole texts, by sliding windows."""
        context = self.candidate.context
        texts = [[self.prefix_token_id, *self._encoded(request.args[0])] for request in requests]
        work = [(i, *span) for i, ids in enumerate(texts) for span in windows(len(ids), context)]
        found = log_likelihoods(
            self.model,
            [(texts[i][start:end], scored - start) for i, start, end, scored in work],
            pad=self.eot_token_id,
        )
        sums = [0.0] * len(texts)
        for (i, *_), one in zip(work, found, strict=True):
            sums[i] += one.log_likelihood
        return sums

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """Continuations up to the first of the task's stop strings, which is left out."""
        answers = [""] * len(requests)
        groups: dict[str, list[int]] = {}
        for index, request in enumerate(requests):
            groups.setdefault(repr(request.args[1]), []).append(index)
        for indices in groups.values():
            settings = requests[indices[0]].args[1]
            told = self._continue([requests[i].args[0] for i in indices], settings)
            for index, text in zip(indices, told, strict=True):
                answers[index] = text
        return answers

    def _continue(self, contexts: Sequence[str], settings: dict[str, Any]) -> list[str]:
        until = settings.get("until") or []
        until = [until] if isinstance(until, str) else [string for string in until if string]
        # A model of a small context leaves half of it to the question, cut on the left as in the harness.
        new = min(int(settings.get("max_gen_toks", MAX_GEN_TOKS)), self.candidate.context // 2)
        room = self.candidate.context - new
        temperature = float(settings.get("temperature") or 0.0) if settings.get("do_sample") else 0.0

        def stop_when(answer: list[int]) -> bool:
            tail = self.tokenizer.decode(answer[-STOP_TAIL:])
            return any(string in tail for string in until)

        told = generate(
            self.model,
            self.tokenizer,
            [self.tok_encode(context)[-room:] or [self.prefix_token_id] for context in contexts],
            max_new_tokens=new,
            temperature=temperature,
            top_p=float(settings.get("top_p", 1.0)) if temperature else 1.0,
            seed=self.seed,
            batch_size=self.batch_size,
            stop_ids=stop_ids(self.tokenizer),
            stop_when=stop_when if until else None,
        )
        return [cut(text, until) for text in self.tokenizer.batch_decode(told, skip_special_tokens=True)]


def cut(text: str, until: Sequence[str]) -> str:
    """The text before the first of the stop strings."""
    return text[: min([at for string in until if (at := text.find(string)) >= 0], default=len(text))]
