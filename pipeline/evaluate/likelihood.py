"""Log-likelihoods of token sequences, batched by length, no logits kept: bits per byte and the tasks stand on them.

Most of a forward pass over a short text with a large vocabulary is the last matrix product, and most of its rows are
of tokens that nobody asked about (the question of a multiple choice, the first half of a window). So the hidden states
are cut down to the positions that count before the head multiplies them. Sequences that differ in their last token
alone, the choices "A" to "D", share one row.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

# A processor's caches hold what about 2,000 tokens need: 400 choices of 44 tokens each took 1.01 CPU seconds, in
# batches of 4,096 tokens 1.17, and with the harness's own model 1.22 (medians of 3 turns, LOG.md).
TOKENS_A_BATCH = {"cpu": 2048, "cuda": 4096}
LOGITS_A_BATCH = 2**25  # float32 numbers at once, 134 MB; a single sequence may need more


@dataclass(frozen=True, kw_only=True)
class Likelihood:
    """log_likelihood: in nats, of the scored tokens. greedy: whether each of them is the model's likeliest."""

    log_likelihood: float
    greedy: bool


@dataclass(kw_only=True)
class _Row:
    """One row of a batch: the tokens that are read, the first position whose logits count, and who wants them."""

    ids: tuple[int, ...]
    first: int
    wanted: list[tuple[int, int, int]]  # (sequence, its first scored target, its last token)


@torch.inference_mode()
def log_likelihoods(
    model: Any, sequences: Sequence[tuple[Sequence[int], int]], pad: int, tokens_a_batch: int | None = None
) -> list[Likelihood]:
    """Of each (ids, first): the log-likelihood of ids[first:] given all before. In the same order; first >= 1."""
    tokens_a_batch = tokens_a_batch or TOKENS_A_BATCH.get(model.device.type, TOKENS_A_BATCH["cpu"])
    grouped: dict[tuple[int, ...], list[tuple[int, int, int]]] = defaultdict(list)
    for index, (ids, first) in enumerate(sequences):
        if not 1 <= first < len(ids):
            raise ValueError(f"sequence {index}: first = {first} of {len(ids)} tokens; needs one before and one after")
        grouped[tuple(ids[:-1])].append((index, first, ids[-1]))
    rows = [
        _Row(ids=ids, first=min(first for _, first, _ in wanted) - 1, wanted=wanted) for ids, wanted in grouped.items()
    ]
    rows.sort(key=lambda row: (-len(row.ids), row.ids))  # longest first, so that memory peaks at once
    found: list[Likelihood | None] = [None] * len(sequences)
    vocabulary = model.config.get_text_config().vocab_size
    for batch in _batches(rows, tokens_a_batch, max(1, LOGITS_A_BATCH // vocabulary)):
        for index, likelihood in _score(model, batch, pad):
            found[index] = likelihood
    return [likelihood for likelihood in found if likelihood is not None]


def _batches(rows: Sequence[_Row], tokens: int, positions: int) -> Iterator[list[_Row]]:
    """Runs of rows of like length whose padded tokens and whose counted positions stay within the two bounds."""
    batch: list[_Row] = []
    counted = 0
    for row in rows:
        more = len(row.ids) - row.first
        if batch and ((len(batch) + 1) * len(batch[0].ids) > tokens or counted + more > positions):
            yield batch
            batch, counted = [], 0
        batch.append(row)
        counted += more
    if batch:
        yield batch


def _score(model: Any, batch: Sequence[_Row], pad: int) -> Iterator[tuple[int, Likelihood]]:
    """The likelihoods of the sequences that want these rows, with their places."""
    ids = torch.full((len(batch), len(batch[0].ids)), pad)  # (B, T), padded on the right: causal, so never seen
    places, offsets, total = [], [], 0
    for number, row in enumerate(batch):
        ids[number, : len(row.ids)] = torch.tensor(row.ids)
        places += [(number, position) for position in range(row.first, len(row.ids))]
        offsets.append(total)
        total += len(row.ids) - row.first
    where = torch.tensor(places, device=model.device).T  # (2, N)
    with _only(model, where[0], where[1]):
        logits = model(ids.to(model.device), use_cache=False).logits[0].float()  # (N, V)
    assert len(logits) == total, f"{len(logits)} rows of logits for {total} positions"
    sequence: list[int] = []
    position: list[int] = []
    token: list[int] = []
    for row, offset in zip(batch, offsets, strict=True):
        for index, first, last in row.wanted:
            targets = [*row.ids[first:], last]
            sequence += [index] * len(targets)
            position += range(offset + first - 1 - row.first, offset + len(row.ids) - row.first)
            token += targets
    at, target = torch.tensor(position, device=model.device), torch.tensor(token, device=model.device)
    log_p = (logits[at, target] - logits.logsumexp(-1)[at]).double().cpu().numpy()
    likeliest = (logits.argmax(-1)[at] == target).cpu().numpy()
    borders = np.flatnonzero(np.diff(sequence, prepend=-1))  # each sequence is one run
    sums, greedy = np.add.reduceat(log_p, borders), np.logical_and.reduceat(likeliest, borders)
    for border, value, all_greedy in zip(borders, sums, greedy, strict=True):
        yield sequence[border], Likelihood(log_likelihood=float(value), greedy=bool(all_greedy))


@contextmanager
def _only(model: Any, rows: torch.Tensor, columns: torch.Tensor) -> Iterator[None]:
    """Lets the head see the hidden states (B, T, H) at these places alone, as (1, N, H); so logits are (1, N, V)."""
    head = model.get_output_embeddings()
    hook = head.register_forward_pre_hook(lambda _, args: (args[0][rows, columns][None], *args[1:]))
    try:
        yield
    finally:
        hook.remove()
