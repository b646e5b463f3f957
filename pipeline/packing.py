"""Packing: documents laid out in rows of fixed length. Pure functions of where documents begin and end.

offsets: (num_documents + 1,), document d is tokens offsets[d] to offsets[d + 1] - 1. order: (n,), the documents to lay
out, in this order.
"""

import itertools
from collections import defaultdict

import numpy as np

Layout = list[list[tuple[int, int]]]  # rows of pieces, each a (start, length) in the split's tokens


def stream(offsets: np.ndarray, context: int, order: np.ndarray) -> Layout:
    """The documents end to end, cut every `context` tokens."""
    rows: Layout = [[]]
    room = context
    for document in order:
        start, end = int(offsets[document]), int(offsets[document + 1])
        while start < end:
            length = min(room, end - start)
            rows[-1].append((start, length))
            start, room = start + length, room - length
            if room == 0:
                rows.append([])
                room = context
    # The last row is partly empty: it counts only where it is the only one.
    return rows[:-1] if len(rows) > 1 else [row for row in rows if row]


def best_fit(offsets: np.ndarray, context: int, order: np.ndarray, fill: bool) -> Layout:
    """Best fit over all documents at once: waiting[n] are the beginnings of the documents of n tokens, and `sizes` has
    bit n set while there are any, so that the largest one for a gap is found by one shift."""
    rows: Layout = []
    rests: list[tuple[int, int]] = []
    waiting: dict[int, list[int]] = defaultdict(list)
    sizes = 0
    lengths = [int(n) for n in np.diff(offsets)[order]]
    begins = [int(n) for n in offsets[order]]
    for begin, length in zip(begins, lengths, strict=True):
        if length <= context:
            waiting[length].append(begin)
            sizes |= 1 << length
        else:
            parts = [(begin + done, min(context, length - done)) for done in range(0, length, context)]
            rows += [[part] for part in parts if part[1] == context]
            rests += [part for part in parts if part[1] < context]

    def take(length: int) -> tuple[int, int]:
        nonlocal sizes
        begin = waiting[length].pop()
        if not waiting[length]:
            sizes &= ~(1 << length)
        return begin, length

    fillers = itertools.cycle(zip(begins, lengths, strict=True))
    # Rests first, so that each begins a row and keeps its own preceding token. Then every document in the shuffled
    # order: documents of one length are exchangeable, so another one of that length stands for one already placed.
    heads = itertools.chain(rests, ((-1, length) for length in lengths if length <= context))
    for begin, length in heads:
        if begin < 0 and not waiting[length]:
            continue
        row = [(begin, length) if begin >= 0 else take(length)]
        room = context - length
        while fitting := sizes & ((1 << (room + 1)) - 1):
            row.append(take(fitting.bit_length() - 1))
            room -= row[-1][1]
        while fill and room:
            begin, length = next(fillers)
            row.append((begin, min(room, length)))
            room -= row[-1][1]
        rows.append(row)
    return rows
