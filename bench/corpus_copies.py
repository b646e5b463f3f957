"""Near-duplicates: pairs planted by editing real documents to a known Jaccard similarity of word 5-grams, and two
natural sets. By pair, before clustering; the clusters and FineWeb's plain 14 x 8 banding beside it."""

import random
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from rensa import RMinHash

from bench.corpus_data import Row, jsonl_of, only, text_of
from pipeline.corpus import near
from pipeline.corpus.recipe import Dedup
from pipeline.corpus.words import ngrams
from pipeline.words import normal_words

NUM_DOCUMENTS = 2_000
WORDS = (80, 400)  # of a document
EDGES = [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]
THRESHOLD = Dedup().near or 0.7


def documents(data: Path, rng: random.Random) -> list[list[str]]:
    """Pieces of books, as words."""
    books = [row["text"].split() for row in jsonl_of(only(data, "classic_books/*.jsonl*"))]
    books = [words for words in books if len(words) > 2 * WORDS[1]]
    pieces = []
    for number in range(NUM_DOCUMENTS):
        words, length = books[number % len(books)], rng.randint(*WORDS)
        start = rng.randrange(len(words) - length)
        pieces.append(words[start : start + length])
    return pieces


def edited(words: Sequence[str], similarity: float, rng: random.Random) -> list[str]:
    """A copy with so many words replaced that about this share of its 5-grams is the original's."""
    kept = 2 * similarity / (1 + similarity)  # of the 5-grams: J = k / (2 - k)
    rate = 1 - kept ** (1 / near.SHINGLE)
    return [f"{rng.choice(words)}{rng.randrange(100)}" if rng.random() < rate else word for word in words]


def signatures(texts: Sequence[str]) -> np.ndarray:
    """(number of texts, PERMUTATIONS)."""
    grams = [sorted(ngrams(normal_words(text), near.SHINGLE)) for text in texts]
    return np.asarray(RMinHash.digests_from_token_sets(grams, near.PERMUTATIONS, near.SEED), dtype=np.uint32)


def found_pairs(texts: Sequence[str]) -> set[tuple[int, int]]:
    """The pairs that the shipped step takes for near-copies."""
    pairs = near.candidates(signatures(texts), THRESHOLD, np.arange(len(texts)))
    grams = {index: near.shingles(texts[index]) for index in np.unique(pairs).tolist()}
    return {(a, b) for a, b in pairs.tolist() if near.jaccard(grams[a], grams[b]) >= THRESHOLD}


def plain_banding(texts: Sequence[str], bands: int = 14, rows: int = 8) -> np.ndarray:
    """(half of the texts,) whether a text and its copy share a band: FineWeb's rule."""
    half = len(texts) // 2
    table = signatures(texts)[:, : bands * rows].reshape(len(texts), bands, rows)
    return (table[:half] == table[half:]).all(axis=2).any(axis=1)


def curve(similar: np.ndarray, merged: np.ndarray) -> str:
    """Share of pairs merged, by tenth of similarity."""
    parts = []
    for low, high in pairwise(EDGES):
        inside = (similar >= low) & (similar < high) if high < 1 else similar >= low
        if inside.any():
            parts.append(f"{low:.1f} {merged[inside].mean():.3f}")
    return ", ".join(parts)


def planted(data: Path) -> list[Row]:
    """The planted pairs and exact copies."""
    rng = random.Random(0)
    originals = documents(data, rng)
    copies = [edited(words, rng.uniform(0.05, 1), rng) for words in originals]
    texts = [" ".join(words) for words in (*originals, *copies)]
    grams = [near.shingles(text) for text in texts]
    count = len(originals)
    similar = np.array([near.jaccard(grams[index], grams[index + count]) for index in range(count)])
    found = found_pairs(texts)
    merged = np.array([(index, index + count) in found for index in range(count)])
    clusters = near.Clusters(len(texts))
    for a, b in found:
        clusters.join(a, b)
    together = np.array([clusters.root(index) == clusters.root(index + count) for index in range(count)])
    plain = plain_banding(texts)
    high, low = similar >= 0.8, similar <= 0.5
    exact = [text.replace(" ", " \n") for text in texts[:count]]
    equal = np.mean([near.same_text(a) == near.same_text(b) for a, b in zip(texts[:count], exact, strict=True)])
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
            beside=f"in one cluster {together[high].mean():.3f}; plain 14 x 8 {plain[high].mean():.3f}",
        ),
        Row(
            what="near-copies, merged at similarity <= 0.5",
            on=f"{low.sum()} pairs",
            value=f"{merged[low].mean():.3f}",
            bar="<= 0.02",
            reached=bool(merged[low].mean() <= 0.02),
            beside=f"in one cluster {together[low].mean():.3f}; plain 14 x 8 {plain[low].mean():.3f}",
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
    for a, b in found_pairs(texts):
        partners[a].add(owner[b])
        partners[b].add(owner[a])
    both = np.mean([len(editions_of) > 1 for editions_of in partners.values()])
    levels: dict[str, dict[str, str]] = {}
    for row in jsonl_of(only(data, "onestop_levels/*.jsonl*")):
        article = row["file"].rsplit("-", 1)[0].rsplit("_", 1)[0]
        levels.setdefault(article, {})[row["level"]] = row["text"]
    pairs = [(one["Int"], one["Adv"]) for one in levels.values() if {"Int", "Adv"} <= set(one)]
    similar = np.array([near.jaccard(near.shingles(a), near.shingles(b)) for a, b in pairs] or [0.0])
    return [
        Row(
            what="paragraphs with a copy in another edition",
            on=f"neardup_grimm_editions, {len(texts)} paragraphs of {len(blocks)} plain-text editions",
            value=f"{both:.3f}",
        ),
        Row(
            what="articles merged with their harder version",
            on=f"onestop_levels, {len(pairs)} pairs, similarity {similar.mean():.2f} on average",
            value=f"{(similar >= THRESHOLD).mean():.3f}",
        ),
    ]


def measure(data: Path) -> list[Row]:
    """Six lines."""
    return planted(data) + natural(data)
