"""Growth of deduplication: 10k, 100k and 1M short documents, each size in a process of its own.

`python -m bench.corpus_growth 10000` prints one size: CPU seconds of signing and of finding copies, and peak memory;
a second number is of the words in a document.
"""

import json
import math
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from datatrove.data import Document

from bench.corpus_data import ROOT, Row
from pipeline.corpus import near
from pipeline.corpus.recipe import Dedup

SIZES = (10_000, 100_000, 1_000_000)
WORDS, VOCABULARY = 40, 50_000
COPIED = 0.05  # share of documents that are an edited copy of an earlier one
BLOCK = 10_000  # documents a task


def block(number: int, size: int, length: int) -> list[str]:
    """The texts of one task: words drawn with the frequencies of real text, some documents nearly twice."""
    rng = random.Random(number)
    weights = [1 / (rank + 10) for rank in range(VOCABULARY)]
    words = iter(rng.choices(range(VOCABULARY), weights, k=length * size))
    texts: list[str] = []
    for _ in range(size):
        drawn = [f"w{word}" for word in islice(words, length)]
        if texts and rng.random() < COPIED:
            drawn = [*rng.choice(texts).split()[:-2], "other", "end"]
        texts.append(" ".join(drawn))
    return texts


def one(size: int, length: int = WORDS) -> dict[str, float]:
    """Signs and deduplicates so many documents of so many words."""
    signing = 0.0
    with tempfile.TemporaryDirectory() as folder:
        signatures, clean = Path(folder) / "signatures", Path(folder) / "clean"
        signatures.mkdir()
        clean.mkdir()
        for number in range(-(-size // BLOCK)):
            texts = block(number, min(BLOCK, size), length)
            docs = [
                Document(text=text, id="", metadata={"place": number * BLOCK + index})
                for index, text in enumerate(texts)
            ]
            started = time.process_time()
            for _ in (step := near.Signatures(signatures)).run(iter(docs), number):
                pass
            signing += time.process_time() - started
            assert step.name == "signatures"
            places = pa.array([doc.metadata["place"] for doc in docs], pa.int64())
            pq.write_table(pa.table({"place": places, "text": texts}), clean / f"{number:05d}.parquet")
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        started = time.process_time()
        gone = near.removals(signatures, clean, Dedup())
        finding = time.process_time() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"size": size, "signing": signing, "finding": finding, "gone": len(gone), "peak": peak, "before": before}


def measure(sizes: tuple[int, ...] = SIZES) -> list[Row]:
    """One line."""
    found = []
    for size in sizes:
        done = subprocess.run(
            [sys.executable, "-m", "bench.corpus_growth", str(size)],
            cwd=ROOT,
            check=True,
            capture_output=True,
            text=True,
        )
        found.append(json.loads(done.stdout))
    return [line(sizes, found)]


def line(sizes: Sequence[int], found: Sequence[dict[str, float]]) -> Row:
    """What `one` gave for each size, and the exponent: the slope of log seconds over log documents."""
    seconds = [one["signing"] + one["finding"] for one in found]
    exponent = float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0]) if len(sizes) > 1 else math.nan
    return Row(
        what="deduplication, exponent of CPU time",
        on=", ".join(f"{size:,}" for size in sizes) + f" documents of {WORDS} words",
        value=f"{exponent:.2f}",
        bar="<= 1.15",
        reached=exponent <= 1.15,
        beside="; ".join(
            f"{one['size']:,.0f}: signing {one['signing']:.1f} s, finding {one['finding']:.1f} s, "
            f"peak {one['peak'] / 2**20:.2f} GiB, {one['gone'] / one['size']:.3f} gone"
            for one in found
        ),
    )


if __name__ == "__main__":
    sys.stdout.write(json.dumps(one(*map(int, sys.argv[1:]))) + "\n")
