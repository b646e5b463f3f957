"""The held-out measure: bits per byte of text, which does not depend on the tokenizer: any two models compare."""

import math

import numpy as np
import torch
import torch.nn.functional as F
from accelerate import Accelerator

from pipeline.intervals import bootstrap_mean, slugs
from pipeline.rows import IGNORE, Rows, positions

BATCH = 16  # rows scored at once


def score(model: torch.nn.Module, rows: Rows, accelerator: Accelerator, limit: int | None = None) -> np.ndarray:
    """Nats and targets of each source in each row: (rows, sources, 2), on all processes alike.

    limit: at most so many rows, spread over all, since those of long documents stand before those of short ones.
    """
    count = len(rows) if limit is None else min(limit, len(rows))
    spread = [number * len(rows) // count for number in range(count)]
    device, num_sources = accelerator.device, len(rows.split.source_bytes)
    sums = torch.zeros(count, num_sources, 2, dtype=torch.float64, device=device)
    model.eval()
    with torch.no_grad():  # inference mode would leave ZeRO-3 with tensors that no gradient may touch
        for first in range(0, count, accelerator.num_processes * BATCH):
            begin = first + accelerator.process_index * BATCH
            chosen = spread[begin : begin + BATCH]
            # Weights in shares take every process for each batch; one without rows of its own scores the first.
            arrays = rows.batch(chosen or [0])
            ids, targets = (torch.from_numpy(array).to(device) for array in arrays)
            places = torch.from_numpy(positions(arrays[0], rows.split.end_id)).to(device)
            with accelerator.autocast():
                logits = model(input_ids=ids, position_ids=places, use_cache=False).logits  # (B, T, V)
            nats = F.cross_entropy(logits.float().transpose(1, 2), targets, ignore_index=IGNORE, reduction="none")
            if chosen:
                sources = torch.from_numpy(rows.sources(chosen)).to(device)
                for number in range(num_sources):
                    own = sources == number
                    sums[begin : begin + len(chosen), number, 0] = (nats.double() * own).sum(dim=1)
                    sums[begin : begin + len(chosen), number, 1] = ((targets != IGNORE) & own).sum(dim=1)
    model.train()
    # Every process scored other rows and left zeros in the rest.
    return accelerator.reduce(sums, reduction="sum").cpu().numpy()


def bits_per_byte(scores: np.ndarray, rows: Rows) -> float:
    """Bits per byte of the scored rows; of a part of the split, with the whole split's bytes per token."""
    return _ratio(scores.sum(axis=1)) * _bits(len(rows.split.tokens), rows.split.text_bytes)


def interval(scores: np.ndarray, rows: Rows, seed: int) -> tuple[float, float]:
    """The 95 % interval of bits per byte over rows."""
    return _interval(scores.sum(axis=1), _bits(len(rows.split.tokens), rows.split.text_bytes), seed)


def by_source(scores: np.ndarray, rows: Rows, seed: int | None = None) -> dict[str, float]:
    """The same of each source that the scored rows have text of, by metric name; of one source alone nothing.

    seed: with it each has its interval and the number of rows beside it.
    """
    names, figures = slugs(rows.split.source_bytes), dict[str, float]()
    for number, source in enumerate(names if len(names) > 1 else ()):
        own = scores[scores[:, number, 1] > 0, number]  # (rows with this source, 2)
        if not len(own):
            continue
        scale = _bits(int(rows.split.source_tokens[number]), rows.split.source_bytes[source])
        name = f"heldout_bits_per_byte_{names[source]}"
        figures[name] = _ratio(own) * scale
        if seed is not None and len(own) > 1:  # one row has no interval
            low, high = _interval(own, scale, seed)
            figures |= {f"{name}_low": low, f"{name}_high": high, f"{name}_n": len(own)}
    return figures


def _bits(tokens: int, text_bytes: int) -> float:
    """What a nat per token is in bits per byte."""
    return tokens / text_bytes / math.log(2)


def _ratio(scores: np.ndarray) -> float:
    nats, tokens = scores.sum(axis=0)
    return float(nats / tokens)


def _interval(scores: np.ndarray, scale: float, seed: int) -> tuple[float, float]:
    nats, tokens = scores.T
    # A quotient of sums is, to first order, the mean of these values (Cochran, Sampling Techniques, 6.3).
    _, low, high = bootstrap_mean(_ratio(scores) + (nats - _ratio(scores) * tokens) / tokens.mean(), seed)
    return low * scale, high * scale
