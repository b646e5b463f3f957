"""The token store: each split's documents as one memory-mapped run of token ids, with the documents' boundaries kept.

A store is a folder:
    train.bin, heldout.bin      every document's ids, each ended by the end token; uint16, or uint32 where it must be;
                                what is longer than a shard goes on in train-00001.bin, a document being in one of them
    train.offsets.npy, ...      int64, num_documents + 1: document d is ids[offsets[d]:offsets[d + 1]]
    index.json                  dtype, vocabulary_size, end_id, the seed of the readers' shuffle; a split's tokens,
                                documents, text_bytes, sha256, and each of its shards

Documents stand in the corpus's order; readers shuffle them by (seed, epoch). `Order` gives the rows of a training
step, `scoring_rows` those of a measurement.
"""

import array
import bisect
import functools
import hashlib
import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Literal

import numpy as np

from pipeline.artifact import sha256, write_json
from pipeline.packing import Layout, best_fit, stream
from pipeline.stage import UserError

SPLITS = ("train", "heldout")
SHARD_TOKENS = 2**28  # half a gigabyte of uint16; smaller files are copied, hashed and repaired sooner
COUNTED = 2**22  # tokens at a time, since numpy counts in a copy of eight bytes each
IGNORE = -100  # what torch's cross entropy skips: the padding after the last document of a row


class StoreWriter:
    """Writes a store document by document, in constant memory but for eight bytes a document; a context manager.

    seed: of the shuffle that readers lay the documents out with; noted in the index. A shard is closed with the
    document that fills it to `shard_tokens`.
    """

    def __init__(
        self, folder: Path, *, vocabulary_size: int, end_id: int, seed: int = 0, shard_tokens: int = SHARD_TOKENS
    ) -> None:
        self.folder, self.vocabulary_size, self.end_id = folder, vocabulary_size, end_id
        self.seed, self.shard_tokens = seed, shard_tokens
        self.dtype = np.dtype("<u2" if vocabulary_size <= 2**16 else "<u4")
        folder.mkdir(parents=True, exist_ok=True)
        self.files: dict[str, BinaryIO] = {split: (folder / f"{split}.bin").open("wb") for split in SPLITS}
        self.shards: dict[str, list[int]] = {split: [0] for split in SPLITS}  # tokens of each
        self.lengths: dict[str, array.array[int]] = {split: array.array("q") for split in SPLITS}
        self.text_bytes = dict.fromkeys(SPLITS, 0)

    def add(self, split: str, ids: Sequence[int], text_bytes: int) -> None:
        """Appends one document, without its end token, which is added here. text_bytes: of its UTF-8 text."""
        # By way of an array: numpy takes five times as long to read a list.
        document = np.frombuffer(array.array("I", [*ids, self.end_id]), dtype=np.uintc)
        if document.max() >= self.vocabulary_size:
            raise ValueError(f"token id {document.max()} in a vocabulary of {self.vocabulary_size}")
        if self.shards[split][-1] >= self.shard_tokens:
            self.files[split].close()
            self.files[split] = (self.folder / shard_name(split, len(self.shards[split]))).open("wb")
            self.shards[split].append(0)
        self.files[split].write(document.astype(self.dtype).tobytes())
        self.shards[split][-1] += len(document)
        self.lengths[split].append(len(document))
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
            "seed": self.seed,
        }
        for split in SPLITS:
            lengths, offsets = self.lengths[split], self.folder / f"{split}.offsets.npy"
            np.save(offsets, np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]).astype(np.int64))
            names = [shard_name(split, number) for number in range(len(self.shards[split]))]
            hashes = [sha256(self.folder / name) for name in names]
            index[split] = {
                "shards": [
                    {"file": name, "tokens": tokens, "sha256": found}
                    for name, tokens, found in zip(names, self.shards[split], hashes, strict=True)
                ],
                "offsets": offsets.name,
                "documents": len(lengths),
                "tokens": sum(self.shards[split]),
                "text_bytes": self.text_bytes[split],
                "sha256": joint_sha256(hashes),
            }
        write_json(self.folder / "index.json", index)


def shard_name(split: str, number: int) -> str:
    """The file of a split's shard: train.bin, train-00001.bin, ..."""
    return f"{split}-{number:05d}.bin" if number else f"{split}.bin"


def joint_sha256(parts: list[str]) -> str:
    """What stands for a split's content: its only shard's sha256, or that of all of theirs."""
    return parts[0] if len(parts) == 1 else hashlib.sha256("".join(parts).encode()).hexdigest()


class Tokens:
    """The ids of a split, (num_tokens,), memory-mapped shard by shard and read as one array by position or slice."""

    def __init__(self, shards: Sequence[np.ndarray]) -> None:
        self.shards = tuple(shards)
        self.ends = list(itertools.accumulate(len(shard) for shard in shards))

    def __len__(self) -> int:
        return self.ends[-1]

    @property
    def dtype(self) -> np.dtype:
        """Of the ids."""
        return self.shards[0].dtype

    def __getitem__(self, place: int | slice) -> Any:
        if isinstance(place, slice):
            start, stop, step = place.indices(len(self))
            if step != 1:
                raise ValueError(f"a slice of tokens goes forward one by one, not by {step}")
            parts = []
            for shard, end in zip(self.shards, self.ends, strict=True):
                begin = end - len(shard)
                if start < end and stop > begin:
                    parts.append(shard[max(start - begin, 0) : stop - begin])
            return parts[0] if len(parts) == 1 else np.concatenate(parts) if parts else self.shards[0][:0]
        place = range(len(self))[place]  # counts from the end where negative, raises IndexError outside
        number = bisect.bisect_right(self.ends, place)
        return self.shards[number][place - self.ends[number]]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """All of them in memory."""
        return np.concatenate([np.asarray(shard) for shard in self.shards]).astype(dtype or self.dtype, copy=False)


@dataclass(frozen=True, kw_only=True)
class Split:
    """One split of an opened store. tokens: (num_tokens,) memory-mapped; offsets: (num_documents + 1,). seed: of the
    shuffle, as the index has it."""

    name: str
    tokens: Tokens
    offsets: np.ndarray
    text_bytes: int
    sha256: str
    vocabulary_size: int
    end_id: int
    seed: int

    @property
    def num_documents(self) -> int:
        """How many documents the split holds."""
        return len(self.offsets) - 1

    def documents(self) -> Iterator[np.ndarray]:
        """Each document's ids with its end token, in stored order."""
        for start, end in zip(self.offsets[:-1], self.offsets[1:], strict=True):
            yield self.tokens[start:end]

    def file_of(self, document: int) -> str:
        """The name of the shard that holds a document."""
        return shard_name(self.name, bisect.bisect_right(self.tokens.ends, int(self.offsets[document])))

    def counts(self) -> np.ndarray:
        """How often each id occurs, (vocabulary_size,) int64."""
        total = np.zeros(self.vocabulary_size, dtype=np.int64)
        for shard in self.tokens.shards:
            for start in range(0, len(shard), COUNTED):
                total += np.bincount(shard[start : start + COUNTED], minlength=self.vocabulary_size)
        return total

    def check_ids(self, num_embeddings: int, what: str) -> None:
        """Raises UserError where an id has no row in an embedding of that size: torch would fail deep in a kernel."""
        largest = max(int(shard.max(initial=0)) for shard in self.tokens.shards)
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
        dtype = np.dtype(index["dtype"])
        shards = [_open_shard(folder / shard["file"], dtype, shard["tokens"]) for shard in entry["shards"]]
        offsets = np.load(folder / entry["offsets"], allow_pickle=False)
        if len(offsets) != entry["documents"] + 1 or not offsets[-1] == entry["tokens"] == sum(map(len, shards)):
            raise ValueError(f"{entry['offsets']} does not fit the shards")
        seed = index["seed"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{folder}: no whole token store ({error!r}). Remove its stage's folder and make it again."
        ) from None
    return Split(
        name=split, tokens=Tokens(shards), offsets=offsets, text_bytes=entry["text_bytes"], sha256=entry["sha256"],
        vocabulary_size=index["vocabulary_size"], end_id=index["end_id"], seed=seed,
    )  # fmt: skip


def _open_shard(path: Path, dtype: np.dtype, tokens: int) -> np.ndarray:
    if path.stat().st_size != tokens * dtype.itemsize:
        raise ValueError(f"{path.name} has {path.stat().st_size} bytes, {tokens} tokens were written")
    # An empty file cannot be memory-mapped.
    return np.memmap(path, dtype=dtype, mode="r") if tokens else np.empty(0, dtype)


Packing = Literal["documents", "stream"]


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
        rows = (
            stream(split.offsets, context, part)
            if packing == "stream"
            else best_fit(split.offsets, context, part, fill=True)
        )
        layout += [rows[i] for i in rng.permutation(len(rows))]
    return Rows(split=split, context=context, layout=layout)


def scoring_rows(split: Split, *, context: int) -> Rows:
    """Rows where every token of the split, end tokens included, is a target exactly once: best fit, then padding."""
    order = np.arange(split.num_documents)
    return Rows(split=split, context=context, layout=best_fit(split.offsets, context, order, fill=False))


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


def unigram_bits_per_byte(train: Split, heldout: Split) -> float:
    """Held-out bits per byte of a unigram model: token frequencies of `train`, add-one smoothed over the vocabulary.

    The measure is that of the models: the negative log2 likelihood of all held-out tokens, end tokens included, over
    the bytes of the text that they stand for.
    """
    counts = train.counts() + 1.0
    return float(heldout.counts() @ -np.log2(counts / counts.sum()) / heldout.text_bytes)
