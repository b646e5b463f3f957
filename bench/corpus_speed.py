"""Speed of every step on one core, beside stock datatrove's blocks with their defaults on the same documents.

Ours runs on all of the text (at least 50 MB: docstrings of what is installed, books, PEPs), stock on every SHARE-th
document, since it is slow; ratios are of seconds on those same documents, the two taking turns document by document.
CPU seconds of one process, so that another job on the machine changes little.
"""

import gc
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from datatrove.data import Document

from bench.corpus_data import Row, jsonl_of, only
from bench.corpus_stock import minhash_seconds, stock_blocks, stock_extraction
from pipeline import coarse_words
from pipeline.collect import pydocs
from pipeline.corpus import across, near, quality
from pipeline.corpus.boilerplate import without
from pipeline.corpus.language import ENOUGH, identify, middle
from pipeline.corpus.passages import once
from pipeline.corpus.recipe import Quality, Recipe
from pipeline.corpus.repair import Repair, tidy
from pipeline.screen import privacy
from pipeline.screen.leaks import Index

SHARE = 40
PIECE = 6_000  # characters: a book becomes documents of the length of a long page


@dataclass(kw_only=True)
class Clock:
    """Seconds of one step: on all documents, and on those that stock also saw."""

    every: float = 0.0
    shared: float = 0.0


def texts(data: Path, megabytes: int) -> list[str]:
    """Documents of so many megabytes: books and PEPs, and docstrings of what is installed where more is wanted."""
    found: list[str] = []
    for pattern in ("classic_books/*.jsonl*", "kids_classics/*.jsonl*", "python_peps/*.jsonl*"):
        for row in jsonl_of(only(data, pattern)):
            found += [row["text"][at : at + PIECE] for at in range(0, len(row["text"]), PIECE)]
    size, wanted = sum(map(len, found)), megabytes * 1_000_000
    if size < wanted:
        documents, _ = pydocs.read(wanted - size)
        return found + [row["text"] for row in documents]
    return found[:: size // wanted]


def ours(data: Path) -> dict[str, Callable[[Document], object]]:
    """The steps that a default recipe runs on text, with datatrove's own thresholds; gsm8k's items as benchmark."""
    repair, recipe = Repair(), Recipe()
    index = Index(recipe.decontaminate_ngram or 13)
    for number, row in enumerate(jsonl_of(only(data, "gsm8k_train/*.jsonl*"))):
        index.add("gsm8k", str(number), row["question"])
    wanted = Quality(gopher_quality={}, gopher_repetition={}, c4={}, fineweb={})
    filters = {step.name: step for step in quality.filters(wanted, lambda name: None)}  # type: ignore[arg-type,return-value]
    return {
        "repair": lambda doc: tidy(repair.format(doc.text)),
        "language": lambda doc: identify(middle(doc.text, ENOUGH)),
        "passages": lambda doc: once(doc.text),
        **{name: step.filter for name, step in filters.items()},
        "coarse words": lambda doc: coarse_words.share(doc.text),
        "boilerplate": lambda doc: without(doc.text),
        "privacy": lambda doc: privacy.find(doc.text, recipe.privacy),
        "passages across": lambda doc: {across.key(line) for line in doc.text.split("\n")},
        "decontaminate": lambda doc: index.find(doc.text),
    }


def timed(step: Callable[[Document], object], text: str) -> float:
    """CPU seconds of a step on a fresh document."""
    doc = Document(text=text, id="", metadata={})
    started = time.process_time_ns()
    step(doc)
    return (time.process_time_ns() - started) / 1e9


def signed(documents: Sequence[str]) -> float:
    """CPU seconds of our signatures."""
    step = near.Signatures(Path())
    started = time.process_time()
    for at in range(0, len(documents), near.BATCH):
        batch = [
            Document(text=text, id="", metadata={"place": at + index})
            for index, text in enumerate(documents[at : at + near.BATCH])
        ]
        step.rows(batch)
    return time.process_time() - started


def run(data: Path, documents: Sequence[str]) -> tuple[dict[str, Clock], dict[str, float], int]:
    """(our clocks, stock's seconds on every SHARE-th document, their number)."""
    steps, stock = ours(data), stock_blocks()
    clocks = {name: Clock() for name in steps}
    other = dict.fromkeys(stock, 0.0)
    for step in (*steps.values(), *stock.values()):  # loads models
        timed(step, documents[0])
    gc.disable()
    for number, text in enumerate(documents):
        both = number % SHARE == 0
        for name, step in steps.items():
            seconds = timed(step, text)
            clocks[name].every += seconds
            clocks[name].shared += seconds * both
        if both:
            for name, step in stock.items():
                other[name] += timed(step, text)
        if number % 2_000 == 0:
            gc.collect()
    gc.enable()
    shared = documents[::SHARE]
    clocks["near-duplicates"] = Clock(every=signed(documents), shared=signed(shared))
    if stock:
        other["near-duplicates"] = minhash_seconds(shared)
    return clocks, other, len(shared)


def lines(documents: Sequence[str], clocks: dict[str, Clock], stock: dict[str, float], shared: int) -> Iterator[Row]:
    """A line a step, then the chain."""
    megabytes = sum(len(text.encode()) for text in documents) / 1e6
    on = f"{len(documents):,} documents, {megabytes:.0f} MB"
    for name, clock in clocks.items():
        ratio = f", {stock[name] / clock.shared:.1f} times stock" if name in stock else ""
        bar, reached = "", None
        if name == "near-duplicates" and name in stock:
            bar, reached = ">= 10 times stock", stock[name] / clock.shared >= 10
        beside = f"stock {shared / stock[name]:,.0f} documents/s" if name in stock else "no such block in datatrove"
        yield Row(
            what=f"speed: {name}",
            on=on,
            value=f"{len(documents) / clock.every:,.0f} documents/s, {megabytes / clock.every:.1f} MB/s{ratio}",
            bar=bar,
            reached=reached,
            beside=beside if stock else "stock was not run",
        )
    if not stock:
        return
    same = [name for name in clocks if name in stock]
    faster = sum(stock[name] for name in same) / sum(clocks[name].shared for name in same)
    everything = sum(clock.every for clock in clocks.values())
    costly = sorted(clocks, key=lambda name: -clocks[name].every)[:3]
    yield Row(
        what="speed: the whole chain",
        on=f"{on}; the blocks that both have: {', '.join(same)}",
        value=f"{faster:.1f} times stock; with our other steps {len(documents) / everything:,.0f} documents/s, "
        f"{megabytes / everything:.1f} MB/s",
        bar=">= 5 times stock",
        reached=faster >= 5,
        beside="costliest: " + ", ".join(f"{name} {clocks[name].every / everything:.0%}" for name in costly),
    )


def measure(data: Path, megabytes: int) -> list[Row]:
    """The lines on speed, and extraction by the page."""
    documents = texts(data, megabytes)
    return [*lines(documents, *run(data, documents)), *stock_extraction(data)]
