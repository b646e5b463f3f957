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
from datatrove.pipeline.dedup import (
    MinhashDedupBuckets,
    MinhashDedupCluster,
    MinhashDedupFilter,
    MinhashDedupSignature,
)
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


def copies(texts: Sequence[str]) -> tuple[int, dict[str, float]]:
    """(documents removed, CPU seconds by part) of datatrove's four steps of near-duplicates, as they come."""
    logger.disable("datatrove")
    documents = [Document(text=text, id=str(number)) for number, text in enumerate(texts)]
    with tempfile.TemporaryDirectory() as folder:
        signatures, buckets, removed = (f"{folder}/{name}" for name in ("signatures", "buckets", "removed"))
        clock = [time.process_time()]
        step = MinhashDedupSignature(signatures)
        # datatrove 0.10.1 hands xxhash a string, which xxhash 4 refuses: the same hash, of the encoded string.
        step._hash_func = lambda shingle: xxhash.xxh64_intdigest(shingle.encode())
        step.run(iter(documents), 0, 1)
        clock.append(time.process_time())
        for bucket in range(NUM_BUCKETS):
            MinhashDedupBuckets(signatures, buckets).run(None, bucket, NUM_BUCKETS)
        clock.append(time.process_time())
        MinhashDedupCluster(buckets, removed).run(None, 0, 1)
        clock.append(time.process_time())
        kept = sum(1 for _ in MinhashDedupFilter(removed).run(iter(documents), 0, 1))
        clock.append(time.process_time())
    names = ("signatures", "buckets", "clusters", "removal")
    return len(texts) - kept, {name: clock[at + 1] - clock[at] for at, name in enumerate(names)}


def stock_extractor() -> Callable[[str], str]:
    """datatrove's Trafilatura with its defaults, without the process that it starts for a whole task."""
    extract = Trafilatura().extract
    return lambda html: extract(html) or ""  # None for a page without text
