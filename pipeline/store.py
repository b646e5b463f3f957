"""The token store: each split's documents as one memory-mapped run of token ids, with the documents' boundaries kept.

A store is a folder:
    train.bin, heldout.bin      every document's ids, each ended by the end token; uint16, or uint32 where it must be;
                                what is longer than a shard goes on in train-00001.bin, a document being in one of them
    train.offsets.npy, ...      int64, num_documents + 1: document d is ids[offsets[d]:offsets[d + 1]]
    train.sources.npy, ...      uint16, num_documents: where each is from, by its place in the index's list of sources
    index.json                  dtype, vocabulary_size, end_id, the seed of the readers' shuffle; a split's tokens,
                                documents, text_bytes by source, sha256, and each of its shards

Documents stand in the corpus's order; pipeline.rows shuffles them by (seed, epoch) and lays them out in rows.
"""

import array
import bisect
import hashlib
import itertools
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np

from pipeline.artifact import sha256, write_json
from pipeline.stage import UserError

SPLITS = ("train", "heldout")
SHARD_TOKENS = 2**28  # half a gigabyte of uint16; smaller files are copied, hashed and repaired sooner
COUNTED = 2**22  # tokens at a time, since numpy counts in a copy of eight bytes each


class StoreWriter:
    """Writes a store document by document, in constant memory but for ten bytes a document; a context manager.

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
        self.sources: dict[str, array.array[int]] = {split: array.array("H") for split in SPLITS}
        self.text_bytes: dict[str, Counter[str]] = {split: Counter() for split in SPLITS}
        self.numbers: dict[str, dict[str, int]] = {split: {} for split in SPLITS}  # of the sources

    def add(self, split: str, ids: Sequence[int], text_bytes: int, source: str = "") -> None:
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
        self.text_bytes[split][source] += text_bytes
        self.sources[split].append(self.numbers[split].setdefault(source, len(self.numbers[split])))

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
            np.save(self.folder / f"{split}.sources.npy", np.array(self.sources[split], dtype=np.uint16))
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
                "text_bytes": self.text_bytes[split].total(),
                "sources": [
                    {"source": source, "text_bytes": self.text_bytes[split][source]} for source in self.numbers[split]
                ],
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
    """One split of an opened store. tokens: (num_tokens,) memory-mapped; offsets: (num_documents + 1,); sources:
    (num_documents,), each document's place in source_bytes, the bytes of text by source. seed: of the shuffle, as the
    index has it."""

    name: str
    tokens: Tokens
    offsets: np.ndarray
    sources: np.ndarray
    source_bytes: dict[str, int]
    sha256: str
    vocabulary_size: int
    end_id: int
    seed: int

    @property
    def num_documents(self) -> int:
        """How many documents the split holds."""
        return len(self.offsets) - 1

    @property
    def text_bytes(self) -> int:
        """Of all its text in UTF-8."""
        return sum(self.source_bytes.values())

    @property
    def source_tokens(self) -> np.ndarray:
        """How many tokens each source has, (num_sources,) int64."""
        lengths = np.diff(self.offsets)
        found = np.bincount(self.sources, weights=lengths, minlength=len(self.source_bytes))
        return found.astype(np.int64)

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
        sources = np.load(folder / f"{split}.sources.npy", allow_pickle=False)
        if len(sources) != entry["documents"] or (len(sources) and sources.max() >= len(entry["sources"])):
            raise ValueError(f"{split}.sources.npy does not fit the documents")
        source_bytes = {one["source"]: one["text_bytes"] for one in entry["sources"]}
        seed = index["seed"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{folder}: no whole token store ({error!r}). Remove its stage's folder and make it again."
        ) from None
    return Split(
        name=split, tokens=Tokens(shards), offsets=offsets, sources=sources, source_bytes=source_bytes,
        sha256=entry["sha256"], vocabulary_size=index["vocabulary_size"], end_id=index["end_id"], seed=seed,
    )  # fmt: skip


def _open_shard(path: Path, dtype: np.dtype, tokens: int) -> np.ndarray:
    if path.stat().st_size != tokens * dtype.itemsize:
        raise ValueError(f"{path.name} has {path.stat().st_size} bytes, {tokens} tokens were written")
    # An empty file cannot be memory-mapped.
    return np.memmap(path, dtype=dtype, mode="r") if tokens else np.empty(0, dtype)


def unigram_bits_per_byte(train: Split, heldout: Split) -> float:
    """Held-out bits per byte of a unigram model: token frequencies of `train`, add-one smoothed over the vocabulary.

    The measure is that of the models: the negative log2 likelihood of all held-out tokens, end tokens included, over
    the bytes of the text that they stand for.
    """
    counts = train.counts() + 1.0
    return float(heldout.counts() @ -np.log2(counts / counts.sum()) / heldout.text_bytes)
