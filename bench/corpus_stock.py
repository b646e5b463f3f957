"""Stock datatrove: the blocks that ours stand beside, with datatrove's own defaults.

Its English word tokenizer needs spacy; its language filter downloads lid.176.bin at first use, so it takes the model
that $GROUNDUP_LID names. What is missing is left out, and the chain compared without it.
"""

import importlib.util
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import xxhash
from datatrove.data import Document
from datatrove.pipeline.dedup import MinhashDedupBuckets, MinhashDedupCluster, MinhashDedupSignature
from datatrove.pipeline.extractors import Trafilatura
from datatrove.pipeline.filters import (
    C4QualityFilter,
    FineWebQualityFilter,
    GopherQualityFilter,
    GopherRepetitionFilter,
    LanguageFilter,
)
from datatrove.pipeline.formatters import FTFYFormatter, PIIFormatter
from loguru import logger

from bench.corpus_data import Row, word_f1
from bench.corpus_pages import SHIPPED, wcxb
from pipeline.corpus.extract import EXTRACTORS

NUM_BUCKETS = 14  # of MinHash, datatrove's default


def stock_blocks() -> dict[str, Callable[[Document], object]]:
    """Our step's name -> datatrove's block; {} where spacy is not installed."""
    if importlib.util.find_spec("spacy") is None:
        return {}
    ftfy, pii = FTFYFormatter(), PIIFormatter()
    blocks: dict[str, Callable[[Document], object]] = {"repair": lambda doc: ftfy.format(doc.text)}
    if model := os.environ.get("GROUNDUP_LID"):
        languages = LanguageFilter("en")
        languages.model.MODEL_URL = str(Path(model).absolute())
        blocks["language"] = languages.filter
    return {
        **blocks,
        "c4": C4QualityFilter().filter,
        "gopher_quality": GopherQualityFilter().filter,
        "gopher_repetition": GopherRepetitionFilter().filter,
        "fineweb": FineWebQualityFilter().filter,
        "privacy": lambda doc: pii.format(doc.text),
    }


def minhash_seconds(texts: Sequence[str]) -> float:
    """CPU seconds of signatures, buckets and clusters over the documents."""
    logger.disable("datatrove")
    documents = [Document(text=text, id=str(number)) for number, text in enumerate(texts)]
    with tempfile.TemporaryDirectory() as folder:
        signatures, buckets, clusters = (f"{folder}/{name}" for name in ("signatures", "buckets", "clusters"))
        started = time.process_time()
        step = MinhashDedupSignature(signatures)
        # datatrove 0.10.1 hands xxhash a string, which xxhash 4 refuses: the same hash, of the encoded string.
        step._hash_func = lambda shingle: xxhash.xxh64_intdigest(shingle.encode())
        step.run(iter(documents), 0, 1)
        for bucket in range(NUM_BUCKETS):
            MinhashDedupBuckets(signatures, buckets).run(None, bucket, NUM_BUCKETS)
        MinhashDedupCluster(buckets, clusters).run(None, 0, 1)
        return time.process_time() - started


def stock_extraction(data: Path) -> list[Row]:
    """Extraction by the page, with what it is worth."""
    pages = wcxb(data)
    found = {}
    for name, extract in (
        ("either", EXTRACTORS["either"]),
        ("resiliparse", EXTRACTORS["resiliparse"]),
        ("datatrove's Trafilatura", Trafilatura().extract),
    ):
        extract(pages[0].html)
        started = time.process_time()
        texts = [extract(page.html) or "" for page in pages]  # stock gives None for a page without text
        seconds = time.process_time() - started
        score = sum(word_f1(text, page.gold) for text, page in zip(texts, pages, strict=True)) / len(pages)
        found[name] = f"{len(pages) / seconds:.0f} pages/s at word F1 {score:.3f}"
    return [
        Row(
            what="speed: extraction",
            on=f"wcxb_dev, {len(pages)} pages",
            value=f"{SHIPPED} {found.pop(SHIPPED)}",
            beside=", ".join(f"{name} {value}" for name, value in found.items()),
        )
    ]
