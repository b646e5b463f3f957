"""Near-duplicates: pairs planted by editing real documents, and two natural sets, all through the step's own code.

How similar two texts are is said by `corpus_near.similarity`, which shares no code with the step. By pair, before
clustering; the clusters and FineWeb's plain 14 x 8 banding beside it.
"""

import random
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np

from bench import corpus_near
from bench.corpus_data import Row, jsonl_of, only, text_of
from pipeline.corpus import near

NUM_DOCUMENTS = 2_000
WORDS = (80, 400)  # of a document
EDGES = [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]
SHINGLE = 5  # words


def documents(data: Path, rng: random.Random, num_documents: int) -> list[list[str]]:
    """Pieces of books, as words."""
    books = [row["text"].split() for row in jsonl_of(only(data, "classic_books/*.jsonl*"))]
    books = [words for words in books if len(words) > 2 * WORDS[1]]
    pieces = []
    for number in range(num_documents):
        words, length = books[number % len(books)], rng.randint(*WORDS)
        start = rng.randrange(len(words) - length)
        pieces.append(words[start : start + length])
    return pieces


def edited(words: Sequence[str], similarity: float, rng: random.Random) -> list[str]:
    """A copy with so many words replaced that about this share of its 5-grams is the original's."""
    kept = 2 * similarity / (1 + similarity)  # of the 5-grams: J = k / (2 - k)
    rate = 1 - kept ** (1 / SHINGLE)
    return [f"{rng.choice(words)}{rng.randrange(100)}" if rng.random() < rate else word for word in words]


def plain_banding(texts: Sequence[str], bands: int = 14, rows: int = 8) -> np.ndarray:
    """(half of the texts,) whether a text and its copy share a band: FineWeb's rule."""
    half = len(texts) // 2
    signed = near.Signatures(Path()).rows(corpus_near.documents(texts))["signature"]
    table = signed[:, : bands * rows].reshape(len(texts), bands, rows)
    return (table[:half] == table[half:]).all(axis=2).any(axis=1)


def curve(similar: np.ndarray, merged: np.ndarray) -> str:
    """Share of pairs merged, by tenth of similarity."""
    parts = []
    for low, high in pairwise(EDGES):
        inside = (similar >= low) & (similar < high) if high < 1 else similar >= low
        if inside.any():
            parts.append(f"{low:.1f} {merged[inside].mean():.3f}")
    return ", ".join(parts)


def together(texts: Sequence[str]) -> list[int]:
    """For each text the number of the one that stays for it, itself where it stays."""
    gone, stays = corpus_near.run(texts).gone, list(range(len(texts)))
    for number in stays:
        # An exact copy's original may itself have gone, as a near-copy of another.
        while stays[number] in gone:
            stays[number] = gone[stays[number]][1]
    return stays


def planted(data: Path, num_documents: int) -> list[Row]:
    """The planted pairs and exact copies."""
    rng = random.Random(0)
    originals = documents(data, rng, num_documents)
    copies = [edited(words, rng.uniform(0.05, 1), rng) for words in originals]
    texts = [" ".join(words) for words in (*originals, *copies)]
    count = len(originals)
    similar = np.array([corpus_near.similarity(texts[at], texts[at + count]) for at in range(count)])
    found = corpus_near.pairs(texts)
    merged = np.array([(at, at + count) in found for at in range(count)])
    stays = together(texts)
    clustered = np.array([stays[at] == stays[at + count] for at in range(count)])
    plain = plain_banding(texts)
    high, low = similar >= 0.8, similar <= 0.5
    layouts = [*texts[:count], *(text.replace(" ", " \n") for text in texts[:count])]
    gone = corpus_near.run(layouts).gone
    equal = np.mean([gone.get(at, ("",))[0] == "exact_copy" for at in range(count, 2 * count)])
    return [
        Row(
            what="exact copies found",
            on=f"{count} documents in other layout",
            value=f"{equal:.3f}",
            bar="1.000",
            reached=bool(equal == 1),
        ),
        Row(
            what="near-copies, recall at similarity >= 0.8",
            on=f"{high.sum()} of {count} planted pairs",
            value=f"{merged[high].mean():.3f}",
            bar=">= 0.95",
            reached=bool(merged[high].mean() >= 0.95),
            beside=f"in one cluster {clustered[high].mean():.3f}; plain 14 x 8 {plain[high].mean():.3f}",
        ),
        Row(
            what="near-copies, merged at similarity <= 0.5",
            on=f"{low.sum()} pairs",
            value=f"{merged[low].mean():.3f}",
            bar="<= 0.02",
            reached=bool(merged[low].mean() <= 0.02),
            beside=f"in one cluster {clustered[low].mean():.3f}; plain 14 x 8 {plain[low].mean():.3f}",
        ),
        Row(
            what="near-copies, share merged by similarity",
            on="the same pairs",
            value=curve(similar, merged),
            beside=f"plain 14 x 8: {curve(similar, plain)}",
        ),
    ]


def natural(data: Path) -> list[Row]:
    """Paragraphs of four editions of one book; articles at three reading levels."""
    editions = [text_of(path) for path in sorted((data / "neardup_grimm_editions").glob("*.gz"))]
    blocks = [
        {" ".join(block.split()) for block in text.replace("\r", "").split("\n\n") if len(block.split()) >= 50}
        for text in editions
        if "<html" not in text[:2000].lower()
    ]
    texts = [text for edition in blocks for text in sorted(edition)]
    owner = [number for number, edition in enumerate(blocks) for _ in edition]
    partners: dict[int, set[int]] = {index: {owner[index]} for index in range(len(texts))}
    for a, b in corpus_near.pairs(texts):
        partners[a].add(owner[b])
        partners[b].add(owner[a])
    both = np.mean([len(editions_of) > 1 for editions_of in partners.values()])
    levels: dict[str, dict[str, str]] = {}
    for row in jsonl_of(only(data, "onestop_levels/*.jsonl*")):
        article = row["file"].rsplit("-", 1)[0].rsplit("_", 1)[0]
        levels.setdefault(article, {})[row["level"]] = row["text"]
    pairs = [(one["Int"], one["Adv"]) for one in levels.values() if {"Int", "Adv"} <= set(one)]
    similar = np.array([corpus_near.similarity(a, b) for a, b in pairs])
    stays = together([text for pair in pairs for text in pair])
    merged = np.mean([stays[at] == stays[at + 1] for at in range(0, len(stays), 2)])
    return [
        Row(
            what="paragraphs with a copy in another edition",
            on=f"neardup_grimm_editions, {len(texts)} paragraphs of {len(blocks)} plain-text editions",
            value=f"{both:.3f}",
        ),
        Row(
            what="articles merged with their harder version",
            on=f"onestop_levels, {len(pairs)} pairs, similarity {similar.mean():.2f} on average, "
            f"{similar.max():.2f} at most",
            value=f"{merged:.3f}",
        ),
    ]


def measure(data: Path, num_documents: int = NUM_DOCUMENTS) -> list[Row]:
    """Six lines."""
    return planted(data, num_documents) + natural(data)
