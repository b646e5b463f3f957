"""Bits per byte of held-out text: what a model pays for each byte, comparable across vocabularies.

A document costs the tokens of its text and the document end behind it, read from a document end in front. Windows
slide by half the context, so that every token but those of the first window sees at least half a context before it;
only the cost of each token is kept, never the logits. Reads corpus/heldout/*.parquet.
"""

import math
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import torch
import torch.nn.functional as F

TOKENS_A_BATCH = 4096  # 4096 x 2048 logits in float32 are 34 MB


def heldout_texts(corpus: Path, count: int, seed: int) -> list[str]:
    """`count` documents of the held-out split, drawn by the seed and in the order of the shards."""
    texts: list[str] = []
    for shard in sorted((corpus / "heldout").glob("*.parquet")):
        texts += [text for text in pq.read_table(shard, columns=["text"])["text"].to_pylist() if text]
    chosen = sorted(random.Random(f"{seed}/heldout").sample(range(len(texts)), min(count, len(texts))))
    return [texts[i] for i in chosen]


def windows(num_tokens: int, context: int) -> list[tuple[int, int, int]]:
    """(start, end, first scored target) of the windows over a document; each target 1.. is scored exactly once."""
    spans = []
    start, scored = 0, 1
    while scored < num_tokens:
        end = min(start + context, num_tokens)
        spans.append((start, end, scored))
        scored = end
        start = end - context // 2
    return spans


@torch.inference_mode()
def document_bits(model: Any, documents: Sequence[Sequence[int]], context: int, pad: int) -> list[float]:
    """Bits of each tokenised document, the first token given, all others paid for."""
    work = [(d, *span) for d, ids in enumerate(documents) for span in windows(len(ids), context)]
    work.sort(key=lambda item: (item[1] - item[2], item))  # longest first, so that memory peaks at once
    bits = [0.0] * len(documents)
    at = 0
    while at < len(work):
        longest = work[at][2] - work[at][1]
        batch = work[at : at + max(1, TOKENS_A_BATCH // longest)]
        at += len(batch)
        ids = torch.full((len(batch), longest), pad)  # (B, T), padded on the right: causal attention never sees it
        targets = torch.full((len(batch), longest), -100)
        for row, (d, start, end, scored) in enumerate(batch):
            ids[row, : end - start] = torch.tensor(documents[d][start:end])
            targets[row, scored - start - 1 : end - start - 1] = torch.tensor(documents[d][scored:end])
        logits = model(ids.to(model.device), use_cache=False).logits  # (B, T, V)
        nats = F.cross_entropy(
            logits.float().transpose(1, 2), targets.to(model.device), ignore_index=-100, reduction="none"
        )
        for (d, *_), row_nats in zip(batch, nats.double().sum(dim=1).tolist(), strict=True):
            bits[d] += row_nats / math.log(2)
    return bits


def linearised(bits: Sequence[float], num_bytes: Sequence[int]) -> list[float]:
    """Values whose mean is sum(bits) / sum(bytes), and whose spread is that ratio's.

    The delta method for a ratio of sums (Cochran, Sampling Techniques, 1977, section 6.4): a bootstrap of these values
    gives the ratio's interval, long and short documents weighted as they should be.
    """
    ratio = sum(bits) / sum(num_bytes)
    mean_bytes = sum(num_bytes) / len(num_bytes)
    return [ratio + (b - ratio * n) / mean_bytes for b, n in zip(bits, num_bytes, strict=True)]
