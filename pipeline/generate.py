"""Batched sampling from any causal language model: left-padded, with a key-value cache that is written in place.

transformers' own `generate` re-copies the whole cache for every token, keeps finished rows in the batch, and draws
from one random stream, so that an answer depends on its neighbours. Here prompts are sorted by length, rows leave the
batch when they end, and each prompt has a random stream of its own, seeded by its place in the list: the answer to a
prompt is the same in any batch, up to the rounding of float sums.

    answers = generate(model, tokenizer, prompts, max_new_tokens=160, temperature=0.7, seed=0, stop_ids=[2, 0])
"""

import contextlib
import inspect
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from pipeline.progress import Progress

# A batch is repacked when fewer than this share of its rows still run: a copy of the cache costs about two steps.
REPACK_BELOW = 0.8
BLOCK = 32  # tokens by which a cache grows
# Rows of a batch beside others, at least: with fewer, many cores would queue for Python's lock instead of working.
ROWS_BESIDE = 64


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How tokens are drawn. temperature: 0 takes the likeliest token. top_p: the smallest set with that much mass."""

    max_new_tokens: int
    temperature: float
    top_p: float
    seed: int
    stop_ids: frozenset[int]


class RoomyLayer(DynamicLayer):
    """A layer of the cache that grows by blocks, so that a token costs a write and not a copy of all before it.

    `keys` and `values` are whole buffers, (B, heads, room, head size): the first `length` positions are filled, the
    rest are zeros that the mask hides. Attention over a part of a buffer would copy that part for every token (CPU).
    """

    keys: torch.Tensor
    values: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.length = 0

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        self.dtype, self.device = key_states.dtype, key_states.device
        self.keys, self.values = key_states[:, :, :0], value_states[:, :, :0]
        self.is_initialized = True

    def update(
        self,
        key_states: torch.Tensor,
        value_states: torch.Tensor,
        *args: Any,
        **kwargs: Any,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        start, end = self.length, self.length + key_states.shape[-2]
        if end > self.keys.shape[-2]:
            self.keys, self.values = (self._moved(tensor, _room(end)) for tensor in (self.keys, self.values))
        self.keys[:, :, start:end] = key_states
        self.values[:, :, start:end] = value_states
        self.length = end
        return self.keys, self.values

    def get_seq_length(self) -> int:
        return self.length

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return _room(self.length + query_length), 0

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        self.keys, self.values = self.keys[indices], self.values[indices]

    def _moved(self, old: torch.Tensor, room: int) -> torch.Tensor:
        new = old.new_zeros((*old.shape[:2], room, old.shape[-1]))
        new[:, :, : self.length] = old[:, :, : self.length]
        return new


def _room(length: int) -> int:
    """The size of a buffer for so many tokens: whole blocks."""
    return -(-length // BLOCK) * BLOCK


def generate(  # noqa: PLR0913  (each is a choice that callers make)
    model: Any,
    tokenizer: Any,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    temperature: float,
    top_p: float = 1.0,
    seed: int,
    batch_size: int = 256,
    stop_ids: Collection[int],
    stop_when: Callable[[list[int]], bool] | None = None,
) -> list[list[int]]:
    """One answer for each prompt, in the prompts' order, as token ids.

    An answer that ended by itself has its stop token as last id (decode with skip_special_tokens=True to drop it); one
    without was cut at max_new_tokens, or where the model's window ended. Raises ValueError for a prompt that is empty
    or fills the window. For several samples of a prompt repeat it. stop_when is shown each answer after every token of
    it, and ends it by saying true.
    """
    _check(model, prompts, temperature, top_p)
    sampling = Sampling(
        max_new_tokens=max_new_tokens, temperature=temperature, top_p=top_p, seed=seed, stop_ids=frozenset(stop_ids)
    )
    answers: list[list[int]] = [[] for _ in prompts]
    order = sorted(range(len(prompts)), key=lambda i: (len(prompts[i]), i))

    def answer(rows: Sequence[int]) -> int:
        ended: set[int] = set()
        for step in _decode(model, tokenizer, [prompts[i] for i in rows], rows, sampling, ended):
            for row, token in step:
                answers[row].append(token)
                if stop_when and stop_when(answers[row]):
                    ended.add(row)
        return len(rows)

    with (
        Progress(len(prompts), "answers", "answers") as progress,
        decoding(model),
        _side_by_side(model, rows=min(batch_size, len(order))) as (size, each),
    ):
        batches = [order[start : start + size] for start in range(0, len(order), size)]
        for finished in each(answer, batches):
            progress.update(finished)
    return answers


def stream(
    model: Any,
    tokenizer: Any,
    prompt: Sequence[int],
    *,
    max_new_tokens: int,
    temperature: float,
    seed: int,
    stop_ids: Collection[int],
) -> Iterator[int]:
    """The tokens of one answer as they come; the stop token is not among them."""
    _check(model, [prompt], temperature, 1.0)
    sampling = Sampling(
        max_new_tokens=max_new_tokens, temperature=temperature, top_p=1.0, seed=seed, stop_ids=frozenset(stop_ids)
    )
    with decoding(model):
        for step in _decode(model, tokenizer, [prompt], [0], sampling):
            yield from (token for _, token in step if token not in sampling.stop_ids)


@contextlib.contextmanager
def decoding(model: Any) -> Iterator[None]:
    """Dropout off, and on CPU plain attention, for one query a row twice as fast there as torch's fused kernel."""
    was_training, attention = model.training, model.config._attn_implementation
    model.eval()
    if model.device.type == "cpu":
        model.set_attn_implementation("eager")
    try:
        yield
    finally:
        model.set_attn_implementation(attention)
        model.train(was_training)


@contextlib.contextmanager
def _side_by_side(model: Any, rows: int) -> Iterator[tuple[int, Callable[..., Iterator[int]]]]:
    """The size of a batch where `rows` may run at once, and the `map` that runs the batches.

    On CPU several run side by side, up to one a core, and share its threads out: the products of a single token are
    too small to be worth sharing among many.
    """
    threads = torch.get_num_threads()
    workers = min(threads, rows // ROWS_BESIDE) if model.device.type == "cpu" else 1
    if workers <= 1:
        yield max(1, rows), map
        return
    try:
        # A thread's own setting; torch also makes it the default of threads yet to come, so it is put back.
        with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(threads // workers,)) as pool:
            yield -(-rows // workers), pool.map
    finally:
        torch.set_num_threads(threads)


def window(model: Any) -> int | None:
    """The number of tokens that the model was built for; None where its config does not say."""
    config = model.config.get_text_config().to_dict()
    return config.get("max_position_embeddings") or config.get("n_positions")


def pad_left(prompts: Sequence[Sequence[int]], pad: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Ids, attention mask and positions of prompts that end at the same column, each (B, T)."""
    length = max(len(prompt) for prompt in prompts)
    ids = torch.full((len(prompts), length), pad)  # (B, T)
    mask = torch.zeros_like(ids)
    for row, prompt in enumerate(prompts):
        ids[row, length - len(prompt) :] = torch.tensor(prompt)
        mask[row, length - len(prompt) :] = 1
    return ids, mask, (mask.cumsum(1) - 1).clamp(min=0)


def choose(logits: torch.Tensor, uniform: torch.Tensor, temperature: float, top_p: float) -> torch.Tensor:
    """One token a row from logits (B, V): where the row's uniform number (B,) falls in the cumulated probabilities."""
    if temperature == 0:
        return logits.argmax(-1)
    probabilities = torch.softmax(logits.float() / temperature, dim=-1)  # (B, V)
    if top_p < 1:
        descending, tokens = probabilities.sort(dim=-1, descending=True, stable=True)
        # A token stays while the mass before it is below top_p; the most likely one always does.
        descending = descending.masked_fill(descending.cumsum(-1) - descending >= top_p, 0.0)
        return tokens.gather(-1, _invert(descending, uniform)[:, None])[:, 0]
    return _invert(probabilities, uniform)


def _invert(weights: torch.Tensor, uniform: torch.Tensor) -> torch.Tensor:
    """The first index whose cumulated weight exceeds uniform x total, so a weight of zero is never drawn."""
    cumulated = weights.cumsum(-1)
    aim = uniform.to(cumulated)[:, None] * cumulated[:, -1:]
    found = torch.searchsorted(cumulated, aim, right=True)[:, 0]
    if bool((found == weights.shape[-1]).any()):
        # Rounding made the aim equal to the total: the answer is the last index that has weight.
        last = weights.shape[-1] - 1 - (weights.flip(-1) > 0).int().argmax(-1)
        found = torch.minimum(found, last)
    return found


def _check(model: Any, prompts: Sequence[Sequence[int]], temperature: float, top_p: float) -> None:
    limit = window(model)
    if temperature < 0 or not 0 < top_p <= 1:
        raise ValueError(f"temperature={temperature}, top_p={top_p}: must be >= 0 and in (0, 1]")
    for index, prompt in enumerate(prompts):
        if not prompt:
            raise ValueError(f"prompt {index} is empty: nothing to continue")
        if limit is not None and len(prompt) >= limit:
            raise ValueError(f"prompt {index} has {len(prompt)} tokens and fills the model's window of {limit}")


def _uniforms(rows: Sequence[int], sampling: Sampling) -> torch.Tensor:
    """(B, max_new_tokens) numbers in [0, 1), a stream for each row that depends on the seed and the row alone."""
    drawn = [
        np.random.Generator(np.random.PCG64([sampling.seed, row])).random(sampling.max_new_tokens) for row in rows
    ]
    return torch.from_numpy(np.stack(drawn))


def _cache(model: Any) -> DynamicCache:
    """The model's own kind of cache, its plain layers replaced by roomy ones (sliding windows stay as they are)."""
    cache = DynamicCache(config=model.config)
    cache.layers = [RoomyLayer() if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache


@torch.inference_mode()
def _decode(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[Sequence[int]],
    rows: Sequence[int],
    sampling: Sampling,
    ended: Collection[int] = (),
) -> Iterator[list[tuple[int, int]]]:
    """Yields, for each step, the (row, token) of every row that still runs. The caller may add rows to `ended`."""
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0
    ids, mask, positions = (tensor.to(model.device) for tensor in pad_left(prompts, pad))  # (B, T)
    width = ids.shape[1]
    limit = window(model)
    steps = sampling.max_new_tokens if limit is None else min(sampling.max_new_tokens, limit - width)
    mask = torch.cat([mask, mask.new_ones(len(rows), sampling.max_new_tokens)], dim=1)  # (B, T + new)
    uniforms = _uniforms(rows, sampling).to(model.device)
    stops = torch.tensor(sorted(sampling.stop_ids), device=model.device)
    cache = _cache(model)
    # Only the last position's logits are wanted, and most models can be told so.
    last_only = {"logits_to_keep": 1} if "logits_to_keep" in inspect.signature(model.forward).parameters else {}
    index = torch.tensor(rows)
    running = torch.ones(len(rows), dtype=torch.bool)
    for step in range(steps):
        output = model(
            input_ids=ids,
            attention_mask=mask[:, : width + step],
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            **last_only,
        )
        tokens = choose(output.logits[:, -1], uniforms[:, step], sampling.temperature, sampling.top_p)  # (B,)
        here = tokens.cpu()
        yield list(zip(index[running].tolist(), here[running].tolist(), strict=True))
        running &= ~torch.isin(tokens, stops).cpu()
        if ended:
            running &= torch.tensor([row not in ended for row in index.tolist()])
        alive = int(running.sum())
        if alive == 0:
            return
        ids, positions = tokens[:, None], positions[:, -1:] + 1
        if alive < REPACK_BELOW * len(running):
            keep = running.nonzero()[:, 0]
            there = keep.to(model.device)
            cache.batch_select_indices(there)
            ids, positions, mask, uniforms = ids[there], positions[there], mask[there], uniforms[there]
            index, running = index[keep], running[keep]
