"""How far the policy has moved from the reference, measured on answers of its own.

The pairs cannot tell: their answers are not the policy's, and likely ones may become unlikely without any drift where
the policy goes. So held-out prompts are answered at temperature 1, and at each token of the answers the two models'
distributions of the next token are compared whole. The sum over an answer is an unbiased estimate of the KL divergence
from the reference, in nats an answer, and never negative, unlike the difference of the tokens' own log-probabilities.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from pipeline.chat import stop_ids
from pipeline.generate import generate, window

NUM_MEASURED = 5  # times during training
NUM_PROMPTS = 32  # each time
NUM_PROMPTS_LAST = 96  # when training has ended
BATCH = 16


class Drift:
    """Answers to the given prompts by the policy, and what the reference makes of them.

    reference: gives the reference for as long as it is needed: a frozen model, or the policy without its adapter.
    max_new_tokens: where an answer is cut off; a cut answer counts with the tokens that it has.
    """

    def __init__(
        self,
        tokenizer: Any,
        prompts: Sequence[list[int]],
        reference: Callable[[], AbstractContextManager[Any]],
        max_new_tokens: int,
        seed: int,
    ) -> None:
        self.tokenizer, self.prompts, self.reference = tokenizer, list(prompts), reference
        self.max_new_tokens, self.seed = max_new_tokens, seed

    @torch.no_grad()
    def measure(self, model: Any, count: int) -> tuple[np.ndarray, np.ndarray]:
        """(KL in nats, length in tokens) of the answers to the first `count` prompts; both (count,).

        The random stream is its own: measuring does not change the training.
        """
        training = model.training
        model.eval()
        limit = window(model)
        prompts = [ids for ids in self.prompts[:count] if limit is None or len(ids) < limit]
        answers = generate(
            model,
            self.tokenizer,
            prompts,
            max_new_tokens=self.max_new_tokens,
            temperature=1.0,
            seed=self.seed,
            stop_ids=stop_ids(self.tokenizer),
        )
        kl = [
            self._divergence(model, prompts[start : start + BATCH], answers[start : start + BATCH])
            for start in range(0, len(prompts), BATCH)
        ]
        model.train(training)
        return np.concatenate(kl), np.array([len(ids) for ids in answers], dtype=np.float64)

    def _divergence(self, model: Any, prompts: Sequence[list[int]], answers: Sequence[list[int]]) -> np.ndarray:
        """(B,): KL(policy || reference) summed over each answer's tokens."""
        longest = max(len(prompt) + len(answer) for prompt, answer in zip(prompts, answers, strict=True))
        ids = torch.zeros(len(prompts), longest, dtype=torch.long)  # (B, T)
        mask = torch.zeros(len(prompts), longest)  # (B, T), 1 where the next token is the answer's
        for row, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
            ids[row, : len(prompt) + len(answer)] = torch.tensor(prompt + answer)
            mask[row, len(prompt) - 1 : len(prompt) + len(answer) - 1] = 1
        # Padding stands on the right of every row, where causal attention never looks from an answer.
        ids, wanted = ids.to(model.device), mask.bool().to(model.device)
        policy = model(ids, use_cache=False).logits[wanted].float().log_softmax(-1)  # (answers' tokens, V)
        with self.reference() as reference:
            other = reference(ids, use_cache=False).logits[wanted].float().log_softmax(-1)
        each = torch.zeros_like(mask).masked_scatter(mask.bool(), (policy.exp() * (policy - other)).sum(-1).cpu())
        return each.sum(1).double().numpy()


def load_model(model_path: Path) -> Any:
    """A causal language model in float32."""
    return AutoModelForCausalLM.from_pretrained(
        model_path, dtype=torch.float32, use_safetensors=True, trust_remote_code=False
    )


def reference_of(trainer: Any, model_path: Path) -> Callable[[], AbstractContextManager[Any]]:
    """What gives the reference: the model without its adapter, or the SFT model loaded once more."""
    model = trainer.accelerator.unwrap_model(trainer.model)
    if isinstance(model, PeftModel):
        return adapter_off(model)
    frozen = load_model(model_path).to(model.device).requires_grad_(False).eval()
    return lambda: nullcontext(frozen)


def adapter_off(model: PeftModel) -> Callable[[], AbstractContextManager[Any]]:
    """What gives the model without its adapter."""

    @contextmanager
    def without_adapter() -> Iterator[Any]:
        with model.disable_adapter():
            yield model

    return without_adapter


class LogDrift(TrainerCallback):
    """Puts KL and length into the log under the given names, a few times in a training and at its end."""

    def __init__(self, trainer: Any, drift: Drift, kl: str = "kl", length: str = "length") -> None:
        self.trainer, self.drift, self.names = trainer, drift, (kl, length)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        every = max(1, state.max_steps // NUM_MEASURED)
        if state.global_step % every and state.global_step != state.max_steps:
            return
        kl, length = self.drift.measure(self.trainer.accelerator.unwrap_model(self.trainer.model), NUM_PROMPTS)
        metrics = self.trainer._metrics["train"]
        for name, values in zip(self.names, (kl, length), strict=True):
            metrics[name].append(float(values.mean()))
