"""Policy and critic as one module, so that one forward gives log-probabilities, entropies and values of the answers.

Sequences are prompt + answer, padded on the right: causal attention then never looks at padding, so no mask is needed
and a row's numbers do not depend on its neighbours. Logits are made at the answers' positions alone, in (N, V) rows,
N being the answers' tokens in row order.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from pipeline.stage import UserError


class Batch(NamedTuple):
    """Prompts with their answers. ids: (B, T). predicts: (B, T), True where the next token is one of the answer."""

    ids: Tensor
    predicts: Tensor

    @property
    def tokens(self) -> Tensor:
        """(N,): the answers' tokens."""
        return self.ids[:, 1:][self.predicts[:, :-1]]


def pack(prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[int]], pad: int, device: Any) -> Batch:
    """Right-padded rows of prompt + answer, as long as the longest of these."""
    longest = max(len(prompt) + len(answer) for prompt, answer in zip(prompts, answers, strict=True))
    ids = torch.full((len(prompts), longest), pad)
    predicts = torch.zeros_like(ids, dtype=torch.bool)
    for row, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
        end = len(prompt) + len(answer)
        ids[row, :end] = torch.tensor([*prompt, *answer])
        predicts[row, len(prompt) - 1 : end - 1] = True
    return Batch(ids.to(device), predicts.to(device))


class TokenScores(torch.autograd.Function):
    """Log-probability of one token a row, and the entropy of the row, from logits (N, V).

    Holds one (N, V) tensor between forward and backward, the logits, and turns it into their gradient in place;
    autograd's own log_softmax, gather and entropy hold four. So backward works once.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, tokens: Tensor, with_entropy: bool) -> tuple[Tensor, Tensor]:
        normaliser = logits.logsumexp(-1)  # (N,)
        log_probs = logits.gather(-1, tokens[:, None])[:, 0] - normaliser
        entropy = torch.zeros_like(normaliser)
        if with_entropy:
            probabilities = (logits - normaliser[:, None]).exp_()
            entropy = normaliser - torch.linalg.vecdot(probabilities, logits)
        ctx.save_for_backward(logits, tokens, normaliser, entropy)
        ctx.with_entropy = with_entropy
        return log_probs, entropy

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        grad_log_probs, grad_entropy = grads
        logits, tokens, normaliser, entropy = ctx.saved_tensors
        # d log p_token / d logit_j = [j = token] - p_j;  d H / d logit_j = -p_j (log p_j + H)
        log_p = logits.detach().sub_(normaliser[:, None])
        if ctx.with_entropy:
            weight = (log_p + entropy[:, None]).mul_(-grad_entropy[:, None]).sub_(grad_log_probs[:, None])
            grad = log_p.exp_().mul_(weight)
        else:
            grad = log_p.exp_().mul_(-grad_log_probs[:, None])
        return grad.scatter_add_(1, tokens[:, None], grad_log_probs[:, None]), None, None


def bare(model: Any) -> Any:
    """The model itself, below peft's wrapping (its layers then hold the adapter)."""
    return model.get_base_model() if hasattr(model, "peft_config") and hasattr(model, "get_base_model") else model


def logits_and_hidden(model: Any, batch: Batch) -> tuple[Tensor, Tensor]:
    """(N, V) logits before each token of the answers, and the hidden states (N, H) that they are made from.

    A hook hands the output layer the wanted positions only. What a model does to its logits afterwards (a soft cap, a
    scale) then happens as in generation, whichever the architecture.
    """
    kept: list[Tensor] = []

    def select(layer: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor]:
        kept.append(inputs[0][batch.predicts])
        return (kept[0],)

    hook = bare(model).get_output_embeddings().register_forward_pre_hook(select)
    try:
        logits = model(input_ids=batch.ids, use_cache=False).logits
    finally:
        hook.remove()
    return logits, kept[0]


def token_scores(logits: Tensor, tokens: Tensor, temperature: float, with_entropy: bool) -> tuple[Tensor, Tensor]:
    """Log-probabilities and entropies (N,) of the distribution that answers are drawn from, in float32."""
    logits = logits.float() if temperature == 1 else logits.float() / temperature
    return TokenScores.apply(logits, tokens, with_entropy)


class ValueHead(nn.Linear):
    """One number from a hidden state (.., H) -> (..). It starts at 0, so the first steps' advantages are returns."""

    def __init__(self, hidden_size: int) -> None:
        super().__init__(hidden_size, 1)
        nn.init.zeros_(self.weight)
        nn.init.zeros_(self.bias)

    def forward(self, hidden: Tensor) -> Tensor:
        return super().forward(hidden.to(self.weight.dtype))[..., 0].float()


class ActorCritic(nn.Module):
    """The policy, and a critic: a head on the policy's last hidden state, or a model of its own.

    A critic of its own is a sequence classifier with one output (the reward model's kind): its `score` layer is read
    at every position in place of the last.
    """

    def __init__(self, policy: Any, value_model: Any | None = None) -> None:
        super().__init__()
        self.policy = policy
        self.value_model = value_model
        self.value_head = None
        if value_model is None:
            self.value_head = ValueHead(policy.config.get_text_config().hidden_size)
        elif not isinstance(getattr(value_model, "score", None), nn.Module):
            raise UserError(
                f"value_model: {type(value_model).__name__} has no layer `score`, which gives the value of each "
                "position. Take a sequence classifier on a decoder, with num_labels=1, or None for a head."
            )

    def forward(self, batch: Batch, temperature: float, with_entropy: bool) -> tuple[Tensor, Tensor, Tensor]:
        """Log-probability, entropy (0 unless wanted) and value, (N,) each, of every token of the answers.

        The value is that of what stands before the token: it is read where the token is predicted.
        """
        log_probs, entropy, hidden = self.act(batch, temperature, with_entropy)
        return log_probs, entropy, self.criticise(batch) if self.value_head is None else self.value_head(hidden)

    def act(self, batch: Batch, temperature: float, with_entropy: bool) -> tuple[Tensor, Tensor, Tensor]:
        """The policy's part: log-probabilities and entropies (N,), and the hidden states (N, H)."""
        logits, hidden = logits_and_hidden(self.policy, batch)
        return *token_scores(logits, batch.tokens, temperature, with_entropy), hidden

    def criticise(self, batch: Batch) -> Tensor:
        """The part of a critic of its own: values (N,)."""
        critic: Any = self.value_model
        states = critic.base_model(input_ids=batch.ids, use_cache=False).last_hidden_state  # (B, T, H)
        return critic.score(states[batch.predicts])[..., 0].float()
