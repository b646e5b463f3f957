"""The held-out measure: bits per byte of text, which does not depend on the tokenizer: any two models compare."""

import math

import numpy as np
import torch
import torch.nn.functional as F
from accelerate import Accelerator

from pipeline.intervals import bootstrap_mean
from pipeline.store import IGNORE, Rows, positions

BATCH = 16  # rows scored at once


def score(model: torch.nn.Module, rows: Rows, accelerator: Accelerator, limit: int | None = None) -> np.ndarray:
    """Nats and targets of each of the first `limit` rows, (rows, 2) in the rows' order on every process."""
    count = len(rows) if limit is None else min(limit, len(rows))
    sums = torch.zeros(count, 2, dtype=torch.float64, device=accelerator.device)
    model.eval()
    with torch.no_grad():  # inference mode would leave ZeRO-3 with tensors that no gradient may touch
        for first in range(0, count, accelerator.num_processes * BATCH):
            begin = first + accelerator.process_index * BATCH
            chosen = range(begin, min(begin + BATCH, count))
            # Weights in shares take every process for each batch; one without rows of its own scores the first.
            arrays = rows.batch(chosen or range(1))
            ids, targets = (torch.from_numpy(array).to(accelerator.device) for array in arrays)
            places = torch.from_numpy(positions(arrays[0], rows.split.end_id)).to(accelerator.device)
            with accelerator.autocast():
                logits = model(input_ids=ids, position_ids=places, use_cache=False).logits  # (B, T, V)
            nats = F.cross_entropy(logits.float().transpose(1, 2), targets, ignore_index=IGNORE, reduction="none")
            if chosen:
                sums[begin : begin + len(chosen), 0] = nats.double().sum(dim=1)
                sums[begin : begin + len(chosen), 1] = (targets != IGNORE).sum(dim=1)
    model.train()
    # Every process scored other rows and left zeros in the rest.
    return accelerator.reduce(sums, reduction="sum").cpu().numpy()


def bits_per_byte(scores: np.ndarray, rows: Rows) -> float:
    """Bits per byte of the scored rows; of a part of the split, with the whole split's bytes per token."""
    nats, tokens = scores.sum(axis=0)
    return float(nats / tokens / math.log(2) * len(rows.split.tokens) / rows.split.text_bytes)


def interval(scores: np.ndarray, rows: Rows, seed: int) -> tuple[float, float]:
    """The 95 % interval of bits per byte over rows."""
    nats, tokens = scores.T
    ratio = nats.sum() / tokens.sum()
    # A quotient of sums is, to first order, the mean of these values (Cochran, Sampling Techniques, 6.3).
    _, low, high = bootstrap_mean(ratio + (nats - ratio * tokens) / tokens.mean(), seed)
    scale = len(rows.split.tokens) / rows.split.text_bytes / math.log(2)
    return low * scale, high * scale
