"""Speed of every step on one core, beside stock datatrove's blocks with their defaults on the same documents.

Ours runs on all of the text (books, PEPs, docstrings of what is installed), stock's filters on NUM_SHARED documents
spread over it, since they are slow; their ratios are of seconds on those same documents, the two taking turns document
by document. Near-duplicates is the whole of both sides' steps on all documents, copies planted among them. The chain
with extraction starts from web pages. CPU seconds of one process, so that another job on the machine changes little.
"""

import gc
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from datatrove.data import Document

from bench import corpus_near, corpus_stock
from bench.corpus_copies import edited
from bench.corpus_data import Row, jsonl_of, named, only, word_f1
from bench.corpus_pages import SHIPPED, Page, wcxb
from pipeline import coarse_words
from pipeline.collect import pydocs
from pipeline.corpus import across, quality
from pipeline.corpus.boilerplate import without
from pipeline.corpus.extract import EXTRACTORS
from pipeline.corpus.language import ENOUGH, identify, middle
from pipeline.corpus.passages import once
from pipeline.corpus.recipe import Quality, Recipe
from pipeline.corpus.repair import Repair, tidy
from pipeline.screen import privacy
from pipeline.screen.leaks import Index

NUM_SHARED = 240  # documents that stock's filters see too
COPIED = 10  # one document in so many has a near-copy planted
PIECE = 6_000  # characters: a book becomes documents of the length of a long page


@dataclass(kw_only=True)
class Clock:
    """Seconds of one step a document: of all documents, and of those that stock also saw."""

    every: float = 0.0
    shared: float = 0.0


def texts(data: Path, megabytes: float) -> list[str]:
    """Documents of so many megabytes: books and PEPs, and docstrings of what is installed where more is wanted."""
    found: list[str] = []
    for pattern in ("classic_books/*.jsonl*", "kids_classics/*.jsonl*", "python_peps/*.jsonl*"):
        for row in jsonl_of(only(data, pattern)):
            found += [row["text"][at : at + PIECE] for at in range(0, len(row["text"]), PIECE)]
    size, wanted = sum(map(len, found)), int(megabytes * 1_000_000)
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


def with_copies(documents: Sequence[str]) -> list[str]:
    """The documents, and behind them edited copies of some, at a similarity of 0.75 to 1."""
    rng = random.Random(0)
    return [*documents, *(" ".join(edited(text.split(), rng.uniform(0.75, 1), rng)) for text in documents[::COPIED])]


def run(data: Path, documents: Sequence[str], num_shared: int) -> tuple[dict[str, Clock], dict[str, float]]:
    """(our clocks, stock's seconds on the shared documents); near-duplicates apart."""
    steps, stock = ours(data), corpus_stock.stock_blocks()
    share = max(1, len(documents) // num_shared)
    clocks = {name: Clock() for name in steps}
    other = dict.fromkeys(stock, 0.0)
    for step in (*steps.values(), *stock.values()):  # loads models
        timed(step, documents[0])
    gc.disable()
    for number, text in enumerate(documents):
        both = number % share == 0
        for name, step in steps.items():
            seconds = timed(step, text)
            clocks[name].every += seconds / len(documents)
            clocks[name].shared += seconds * both
        if both:
            for name, step in stock.items():
                other[name] += timed(step, text)
        if number % 2_000 == 0:
            gc.collect()
    gc.enable()
    number = len(documents[::share])
    for clock in clocks.values():
        clock.shared /= number
    return clocks, {name: seconds / number for name, seconds in other.items()}


def near_duplicates(documents: Sequence[str], with_stock: bool) -> tuple[Row, float, float]:
    """(the line, our CPU seconds a document, stock's; 0 where it does not run)."""
    copied = with_copies(documents)
    found = corpus_near.run(copied)
    mine = sum(found.seconds.values())
    parts = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in found.seconds.items())
    row = Row(
        what="speed: near-duplicates, the whole step",
        on=f"{len(copied):,} documents, {len(copied) - len(documents):,} of them planted copies",
        value=f"{len(copied) / mine:,.0f} documents/s",
        beside=f"ours: {parts}; {len(found.gone):,} removed",
    )
    if not with_stock:
        return row, mine / len(copied), 0.0
    gone, seconds = corpus_stock.copies(copied)
    theirs = sum(seconds.values())
    parts = ", ".join(f"{name} {value:.2f} s" for name, value in seconds.items())
    row = replace(
        row,
        value=f"{row.value}, {theirs / mine:.1f} times stock",
        bar=">= 10 times stock",
        reached=theirs / mine >= 10,
        beside=f"{row.beside}; stock {len(copied) / theirs:,.0f} documents/s: {parts}; {gone:,} removed",
    )
    return row, mine / len(copied), theirs / len(copied)


def lines(documents: Sequence[str], clocks: dict[str, Clock], stock: dict[str, float]) -> Iterator[Row]:
    """A line a step; seconds are a document's."""
    megabytes = sum(len(text.encode()) for text in documents) / 1e6
    for name, clock in clocks.items():
        ratio = f", {stock[name] / clock.shared:.1f} times stock" if name in stock else ""
        beside = f"stock {1 / stock[name]:,.0f} documents/s" if name in stock else "no such block in datatrove"
        yield Row(
            what=f"speed: {name}",
            on=f"{len(documents):,} documents, {megabytes:.0f} MB",
            value=f"{1 / clock.every:,.0f} documents/s, {megabytes / len(documents) / clock.every:.1f} MB/s{ratio}",
            beside=beside if stock else "stock was not run",
        )


def chain(data: Path, documents: Sequence[str], num_shared: int) -> Iterator[Row]:
    """Every step on text, near-duplicates whole, and the chain of those that both have."""
    clocks, stock = run(data, documents, num_shared)
    yield from lines(documents, clocks, stock)
    row, mine, theirs = near_duplicates(documents, bool(stock))
    yield row
    if not stock:
        return
    ratio = (sum(stock.values()) + theirs) / (sum(clocks[name].shared for name in stock) + mine)
    costs = {**{name: clock.every for name, clock in clocks.items()}, "near-duplicates": mine}
    everything, size = sum(costs.values()), sum(len(text.encode()) for text in documents) / len(documents) / 1e6
    first = sorted(costs, key=lambda name: -costs[name])[:3]
    costly = ", ".join(f"{name} {costs[name] / everything:.0%}" for name in first)
    versions = ", ".join(map(named, ("datatrove", "spacy", "ftfy", "xxhash", "rensa")))
    yield Row(
        what="speed: the whole chain on text, without extraction",
        on=f"the same; the blocks that both have: {', '.join(stock)}, near-duplicates with removal",
        value=f"{ratio:.1f} times stock; with our other steps {1 / everything:,.0f} documents/s, "
        f"{size / everything:.2f} MB/s",
        bar=">= 5 times stock",
        reached=ratio >= 5,
        beside=f"costliest: {costly}; {versions}",
    )


def extracted(extract: Callable[[str], str], pages: Sequence[Page]) -> tuple[list[str], float, str]:
    """(texts, CPU seconds a page, both the speed and what it is worth in words)."""
    extract(pages[0].html)
    started = time.process_time()
    found = [extract(page.html) for page in pages]
    seconds = (time.process_time() - started) / len(pages)
    score = sum(word_f1(text, page.gold) for text, page in zip(found, pages, strict=True)) / len(pages)
    return found, seconds, f"{1 / seconds:.0f} pages/s at word F1 {score:.3f}"


def chain_from_pages(data: Path, pages: Sequence[Page]) -> Iterator[Row]:
    """Extraction, and with it the chain: both sides' other steps on the text that our default finds."""
    on = f"wcxb_dev, {len(pages)} pages"
    found, mine, worth = extracted(EXTRACTORS[SHIPPED], pages)
    _, fast, fast_worth = extracted(EXTRACTORS["resiliparse"], pages)
    _, theirs, their_worth = extracted(corpus_stock.stock_extractor(), pages)
    yield Row(
        what="speed: extraction",
        on=on,
        value=f"{SHIPPED} {worth}, {theirs / mine:.1f} times stock",
        beside=f"resiliparse {fast_worth}, {theirs / fast:.1f} times stock; stock's Trafilatura {their_worth}; "
        + ", ".join(map(named, ("datatrove", "trafilatura", "resiliparse"))),
    )
    documents = [text for text in found if text]
    clocks, stock = run(data, documents, len(documents))
    if not stock:
        return
    _, near_mine, near_theirs = near_duplicates(documents, True)
    rest = sum(clocks[name].shared for name in stock) + near_mine
    other = sum(stock.values()) + near_theirs
    yield Row(
        what="speed: the whole chain from web pages, with extraction",
        on=on,
        value=f"{(theirs + other) / (mine + rest):.1f} times stock",
        beside=f"with extractor: resiliparse {(theirs + other) / (fast + rest):.1f} times; without extraction "
        f"{other / rest:.1f} times; of our time extraction is {mine / (mine + rest):.0%}, of stock's "
        f"{theirs / (theirs + other):.0%}",
    )


def measure(data: Path, megabytes: float, num_shared: int = NUM_SHARED) -> list[Row]:
    """The lines on speed: every step, the chain on text, the chain from pages."""
    return [*chain(data, texts(data, megabytes), num_shared), *chain_from_pages(data, wcxb(data))]
