"""Bits per byte of held-out text: what a model pays for each byte, comparable across vocabularies; and perplexity.

A document costs the tokens of its text and the document end behind it, read from a document end in front. Windows
slide by half the context, so that every token but those of the first window sees at least half a context before it.
Bytes are those of the text in UTF-8. Reads corpus/heldout/*.parquet.
"""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from transformers import AutoTokenizer

from pipeline.chat import encode_text
from pipeline.evaluate.exam import Measures, digest
from pipeline.evaluate.likelihood import log_likelihoods
from pipeline.evaluate.models import Candidate, document_end
from pipeline.evaluate.results import METRICS
from pipeline.evaluate.score import Exponential, Measure
from pipeline.intervals import slugs
from pipeline.store import open_split


@dataclass(frozen=True, kw_only=True)
class Document:
    """A held-out text and where it is from."""

    text: str
    source: str

    @property
    def num_bytes(self) -> int:
        """Of the text in UTF-8."""
        return len(self.text.encode())


class HeldoutText:
    """The exam: bits per byte of all and of each source, and perplexity over the model's own tokens."""

    def __init__(self, documents: Sequence[Document], tokenizer: Path | None) -> None:
        self.documents = documents
        self.tokenizer = tokenizer  # the artifact, for the unigram model
        sources = sorted({document.source for document in documents})
        # One source is all of it, and one document of a source has no interval.
        self.sources = {
            source: chosen
            for source in sources
            if len(chosen := [i for i, d in enumerate(documents) if d.source == source]) > 1 and len(sources) > 1
        }
        self.slugs = slugs(self.sources)
        self.seen: dict[str, dict[str, int]] = {}

    @property
    def titles(self) -> dict[str, str]:
        """The metrics in words."""
        by_source = {f"bits_per_byte_{self.slugs[s]}": f"bits per byte, held-out text from {s}" for s in self.sources}
        return {"bits_per_byte": METRICS["bits_per_byte"], **by_source, "perplexity": METRICS["perplexity"]}

    @property
    def items_by_kind(self) -> dict[str, list[str]]:
        """The documents, and those of each source."""
        digests = [digest(document.text) for document in self.documents]
        by_source = {f"documents_{self.slugs[s]}": [digests[i] for i in chosen] for s, chosen in self.sources.items()}
        return {"documents": digests, **by_source}

    def measure(self, candidate: Candidate, model: Any) -> dict[str, Measure]:
        """The three kinds of figures of one model."""
        tokenizer = candidate.tokenizer
        ids = [candidate.document(document.text) for document in self.documents]
        bits = document_bits(model, ids, candidate.context, pad=document_end(tokenizer))
        tokens = [len(document) - 1 for document in ids]
        self.seen[candidate.name] = {
            "documents": len(ids),
            "bytes": sum(document.num_bytes for document in self.documents),
            "tokens": sum(tokens),
            "documents_not_exact": sum(
                not exact(tokenizer, one[1:-1], document.text)
                for one, document in zip(ids, self.documents, strict=True)
            ),
        }
        nats = [value * math.log(2) for value in bits]
        return {**self._by_source(bits), "perplexity": Exponential(values=linearised(nats, tokens), over="documents")}

    def _by_source(self, bits: Sequence[float]) -> dict[str, Measure]:
        sizes = [document.num_bytes for document in self.documents]
        found = {"bits_per_byte": Measure(values=linearised(bits, sizes), over="documents")}
        for source, chosen in self.sources.items():
            values = linearised([bits[i] for i in chosen], [sizes[i] for i in chosen])
            found[f"bits_per_byte_{self.slugs[source]}"] = Measure(
                values=values, over=f"documents_{self.slugs[source]}"
            )
        return found

    def afterwards(self) -> Measures:
        """The unigram model's bits, where the run has a token store."""
        if self.tokenizer is None:
            return {}
        return {"unigram": self._by_source(unigram_bits(self.tokenizer, [d.text for d in self.documents]))}

    def results(self) -> dict[str, Any]:
        """What was read, by model: tokens differ, bytes do not."""
        return {"heldout": self.seen, "settings": {"heldout_documents": len(self.documents)}}


def exact(tokenizer: Any, ids: Sequence[int], text: str) -> bool:
    """Whether the tokens say every byte of the text: a tokenizer that normalises or knows no rare character pays for
    less than is there."""
    return bool(tokenizer.decode(ids, clean_up_tokenization_spaces=False) == text)


def heldout(corpus: Path, count: int, seed: int) -> list[Document]:
    """`count` documents of the held-out split, drawn by the seed and in the order of the shards."""
    documents: list[Document] = []
    for shard in sorted((corpus / "heldout").glob("*.parquet")):
        columns = pq.read_table(shard, columns=["text", "source"])
        pairs = zip(columns["text"].to_pylist(), columns["source"].to_pylist(), strict=True)
        documents += [Document(text=text, source=source or "unnamed") for text, source in pairs if text]
    chosen = sorted(random.Random(f"{seed}/heldout").sample(range(len(documents)), min(count, len(documents))))
    return [documents[i] for i in chosen]


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


def document_bits(model: Any, documents: Sequence[Sequence[int]], context: int, pad: int) -> list[float]:
    """Bits of each tokenised document, the first token given, all others paid for."""
    work = [(d, *span) for d, ids in enumerate(documents) for span in windows(len(ids), context)]
    found = log_likelihoods(
        model, [(documents[d][start:end], scored - start) for d, start, end, scored in work], pad=pad
    )
    bits = [0.0] * len(documents)
    for (d, *_), one in zip(work, found, strict=True):
        bits[d] -= one.log_likelihood / math.log(2)
    return bits


def linearised(totals: Sequence[float], sizes: Sequence[int]) -> list[float]:
    """Values whose mean is sum(totals) / sum(sizes), and whose spread is that ratio's.

    The delta method for a ratio of sums (Cochran, Sampling Techniques, 1977, section 6.4): a bootstrap of these values
    gives the ratio's interval, long and short documents weighted as they should be.
    """
    ratio = sum(totals) / sum(sizes)
    mean_size = sum(sizes) / len(sizes)
    return [ratio + (total - ratio * size) / mean_size for total, size in zip(totals, sizes, strict=True)]


def unigram_bits(folder: Path, texts: Sequence[str]) -> list[float]:
    """What each text costs a unigram model: each token by its share of the training split (add-one)."""
    tokenizer = AutoTokenizer.from_pretrained(folder / "tokenizer", trust_remote_code=False)
    split = open_split(folder / "store", "train")
    counts = np.bincount(split.tokens, minlength=split.vocabulary_size).astype(np.float64) + 1.0
    price = -np.log2(counts / counts.sum())  # (V,) bits a token
    return [float(price[[*encode_text(tokenizer, text), document_end(tokenizer)]].sum()) for text in texts]
