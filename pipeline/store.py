"""The token store: each split's documents as one memory-mapped run of token ids, with the documents' boundaries kept.

A store is a folder:
    train.bin, heldout.bin      every document's ids, each ended by the end token; uint16, or uint32 where it must be
    train.offsets.npy, ...      int64, num_documents + 1: document d is ids[offsets[d]:offsets[d + 1]]
    index.json                  dtype, vocabulary_size, end_id; a split's tokens, documents, text_bytes, sha256

Documents stand in the corpus's order; readers shuffle them by (seed, epoch). `Order` gives the rows of a training
step, `scoring_rows` those of a measurement.
"""

import functools
import itertools
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Literal

import numpy as np

from pipeline.artifact import sha256, write_json
from pipeline.stage import UserError

SPLITS = ("train", "heldout")
IGNORE = -100  # what torch's cross entropy skips: the padding after the last document of a row


class StoreWriter:
    """Writes a store document by document, in constant memory but for eight bytes a document; a context manager."""

    def __init__(self, folder: Path, *, vocabulary_size: int, end_id: int) -> None:
        self.folder, self.vocabulary_size, self.end_id = folder, vocabulary_size, end_id
        self.dtype = np.dtype("<u2" if vocabulary_size <= 2**16 else "<u4")
        folder.mkdir(parents=True, exist_ok=True)
        self.files: dict[str, BinaryIO] = {split: (folder / f"{split}.bin").open("wb") for split in SPLITS}
        self.lengths: dict[str, list[int]] = {split: [] for split in SPLITS}
        self.text_bytes = dict.fromkeys(SPLITS, 0)

    def add(self, split: str, ids: Sequence[int], text_bytes: int) -> None:
        """Appends one document, without its end token, which is added here. text_bytes: of its UTF-8 text."""
        if max(ids, default=0) >= self.vocabulary_size:
            raise ValueError(f"token id {max(ids)} in a vocabulary of {self.vocabulary_size}")
        self.files[split].write(np.asarray([*ids, self.end_id], dtype=self.dtype).tobytes())
        self.lengths[split].append(len(ids) + 1)
        self.text_bytes[split] += text_bytes

    def __enter__(self) -> "StoreWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for file in self.files.values():
            file.close()
        if kind is not None:
            return
        index: dict[str, Any] = {
            "dtype": self.dtype.str,
            "vocabulary_size": self.vocabulary_size,
            "end_id": self.end_id,
            "order": "of the corpus; readers shuffle by (seed, epoch)",
        }
        for split in SPLITS:
            path, lengths = self.folder / f"{split}.bin", self.lengths[split]
            offsets = self.folder / f"{split}.offsets.npy"
            np.save(offsets, np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]).astype(np.int64))
            index[split] = {
                "file": path.name,
                "offsets": offsets.name,
                "documents": len(lengths),
                "tokens": sum(lengths),
                "text_bytes": self.text_bytes[split],
                "sha256": sha256(path),
            }
        write_json(self.folder / "index.json", index)


@dataclass(frozen=True, kw_only=True)
class Split:
    """One split of an opened store. tokens: (num_tokens,) memory-mapped; offsets: (num_documents + 1,)."""

    name: str
    tokens: np.ndarray
    offsets: np.ndarray
    text_bytes: int
    sha256: str
    vocabulary_size: int
    end_id: int

    @property
    def num_documents(self) -> int:
        """How many documents the split holds."""
        return len(self.offsets) - 1

    def documents(self) -> Iterator[np.ndarray]:
        """Each document's ids with its end token, in stored order."""
        for start, end in zip(self.offsets[:-1], self.offsets[1:], strict=True):
            yield self.tokens[start:end]

    def check_ids(self, num_embeddings: int, what: str) -> None:
        """Raises UserError where an id has no row in an embedding of that size: torch would fail deep in a kernel."""
        largest = int(self.tokens.max(initial=0))
        if largest >= num_embeddings:
            raise UserError(
                f"{what}: vocab_size = {num_embeddings}, but the token store's {self.name} split holds the id "
                f"{largest}. Leave vocab_size out (it is read from the tokenizer), or rebuild the tokenizer."
            )


def open_split(folder: Path, split: str) -> Split:
    """Opens a split of a store. Raises UserError where a file is missing or its size is not what the index says."""
    try:
        index = json.loads((folder / "index.json").read_text(encoding="utf-8"))
        entry = index[split]
        path = folder / entry["file"]
        dtype = np.dtype(index["dtype"])
        if path.stat().st_size != entry["tokens"] * dtype.itemsize:
            raise ValueError(f"{path.name} has {path.stat().st_size} bytes, {entry['tokens']} tokens were written")
        offsets = np.load(folder / entry["offsets"], allow_pickle=False)
        if len(offsets) != entry["documents"] + 1 or offsets[-1] != entry["tokens"]:
            raise ValueError(f"{entry['offsets']} does not fit {path.name}")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{folder}: no whole token store ({error!r}). Remove its stage's folder and make it again."
        ) from None
    # An empty file cannot be memory-mapped.
    tokens = np.memmap(path, dtype=dtype, mode="r") if entry["tokens"] else np.empty(0, dtype)
    return Split(
        name=split, tokens=tokens, offsets=offsets, text_bytes=entry["text_bytes"], sha256=entry["sha256"],
        vocabulary_size=index["vocabulary_size"], end_id=index["end_id"],
    )  # fmt: skip


Packing = Literal["documents", "stream"]
Layout = list[list[tuple[int, int]]]  # rows of pieces, each a (start, length) in the split's tokens


@dataclass(frozen=True, kw_only=True)
class Rows:
    """A split laid out in rows of `context` tokens to predict. The first piece of a row is led by the token that
    stands before it, which for the beginning of a document is an end token, as when the model is sampled."""

    split: Split
    context: int
    layout: Layout

    def __len__(self) -> int:
        return len(self.layout)

    def batch(self, rows: Iterable[int]) -> tuple[np.ndarray, np.ndarray]:
        """Inputs and targets of these rows, both (rows, context) int64; targets are IGNORE past a row's last piece."""
        chosen = [self.layout[row] for row in rows]
        ids = np.full((len(chosen), self.context + 1), self.split.end_id, dtype=np.int64)
        targets = np.full((len(chosen), self.context), IGNORE, dtype=np.int64)
        for i, pieces in enumerate(chosen):
            if pieces[0][0] > 0:
                ids[i, 0] = self.split.tokens[pieces[0][0] - 1]
            filled = 1
            for start, length in pieces:
                ids[i, filled : filled + length] = self.split.tokens[start : start + length]
                filled += length
            targets[i, : filled - 1] = ids[i, 1:filled]
        return ids[:, :-1], targets


def positions(ids: np.ndarray, end_id: int) -> np.ndarray:
    """Each token's place in its document, (rows, context): an end token begins the next document at 0.

    Transformers keeps documents of one row apart where positions begin anew (without a mask and without a cache): no
    token sees the document before its own.
    """
    places = np.broadcast_to(np.arange(ids.shape[1]), ids.shape)
    return places - np.maximum.accumulate(np.where(ids == end_id, places, 0), axis=1)


def training_rows(
    split: Split, *, context: int, packing: Packing, seed: int, epoch: int, short_first: int | None = None
) -> Rows:
    """The rows of one epoch in their order, which is a function of (seed, epoch) alone.

    "documents": a row begins where a document begins and holds whole documents, the largest that fit (best fit). The
    room left is filled with the beginning of a document that stands whole elsewhere: no row is padded and no text is
    lost. The parts of a document longer than a row stand at the beginning of rows.
    "stream": the shuffled documents end to end, cut every `context` tokens, so that rows begin anywhere.
    short_first: documents of up to so many tokens make the first rows of the first epoch; later epochs mix all.
    """
    rng = np.random.default_rng([seed, epoch])
    order = rng.permutation(split.num_documents)
    short = np.diff(split.offsets)[order] <= (short_first or 0 if epoch == 0 else 0)
    layout: Layout = []
    for part in filter(len, (order[short], order[~short])):
        rows = _stream(split, context, part) if packing == "stream" else _best_fit(split, context, part, fill=True)
        layout += [rows[i] for i in rng.permutation(len(rows))]
    return Rows(split=split, context=context, layout=layout)


def scoring_rows(split: Split, *, context: int) -> Rows:
    """Rows where every token of the split, end tokens included, is a target exactly once: best fit, then padding."""
    order = np.arange(split.num_documents)
    return Rows(split=split, context=context, layout=_best_fit(split, context, order, fill=False))


class Order:
    """Which rows a step trains on: of the epochs laid end to end, step * batch to (step + 1) * batch - 1. A function
    of (seed, epoch, step) alone, so that a resumed run, or any number of processes, reads what one run would read."""

    def __init__(
        self, split: Split, *, context: int, packing: Packing, seed: int, batch: int, short_first: int | None = None
    ) -> None:
        self.lay_out = functools.partial(
            training_rows, split, context=context, packing=packing, seed=seed, short_first=short_first
        )
        self.batch = batch
        self.rows = self.lay_out(epoch=0)
        if not len(self.rows):
            raise UserError(
                "the token store has no document to train on: see the corpus's funnel.json for what dropped them."
            )
        self.epoch, self.begin = 0, 0  # the epoch laid out now, and the number of its first row

    def __getitem__(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """Inputs and targets of the whole batch of a step, both (batch, context)."""
        if step * self.batch < self.begin:
            self.epoch, self.begin, self.rows = 0, 0, self.lay_out(epoch=0)
        parts, first, end = [], step * self.batch, (step + 1) * self.batch
        while first < end:
            # Epochs differ by a few rows in length (best fit), so the later ones are found by laying out the earlier.
            while first >= self.begin + len(self.rows):
                self.epoch, self.begin = self.epoch + 1, self.begin + len(self.rows)
                self.rows = self.lay_out(epoch=self.epoch)
            last = min(end, self.begin + len(self.rows))
            parts.append(self.rows.batch(range(first - self.begin, last - self.begin)))
            first = last
        return np.concatenate([ids for ids, _ in parts]), np.concatenate([targets for _, targets in parts])


def _stream(split: Split, context: int, order: np.ndarray) -> Layout:
    rows: Layout = [[]]
    room = context
    for document in order:
        start, end = int(split.offsets[document]), int(split.offsets[document + 1])
        while start < end:
            length = min(room, end - start)
            rows[-1].append((start, length))
            start, room = start + length, room - length
            if room == 0:
                rows.append([])
                room = context
    # The last row is partly empty: it counts only where it is the only one.
    return rows[:-1] if len(rows) > 1 else [row for row in rows if row]


def _best_fit(split: Split, context: int, order: np.ndarray, fill: bool) -> Layout:
    """Best fit over all documents at once: waiting[n] are the beginnings of the documents of n tokens, and `sizes` has
    bit n set while there are any, so that the largest one for a gap is found by one shift."""
    rows: Layout = []
    rests: list[tuple[int, int]] = []
    waiting: dict[int, list[int]] = defaultdict(list)
    sizes = 0
    lengths = [int(n) for n in np.diff(split.offsets)[order]]
    begins = [int(n) for n in split.offsets[order]]
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


def unigram_bits_per_byte(train: Split, heldout: Split) -> float:
    """Held-out bits per byte of a unigram model: token frequencies of `train`, add-one smoothed over the vocabulary.

    The measure is that of the models: the negative log2 likelihood of all held-out tokens, end tokens included, over
    the bytes of the text that they stand for.
    """
    counts = np.bincount(train.tokens, minlength=train.vocabulary_size).astype(np.float64) + 1
    bits = -np.log2(counts / counts.sum())
    return float(bits[heldout.tokens].sum() / heldout.text_bytes)
