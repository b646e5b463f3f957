"""How alike texts are: the Jaccard similarity of a text's word 5-grams to its nearest neighbour among all others."""

import re
from collections.abc import Sequence
from random import Random

import numpy as np

WORD = re.compile(r"\w+")
SHINGLE = 5  # words


def shingles(text: str) -> set[int]:
    """The hashes of the text's runs of five words, in lower case and without punctuation.

    Hashes of this process only: equal within a run, not for storing.
    """
    words = WORD.findall(text.lower())
    return {hash(tuple(words[at : at + SHINGLE])) for at in range(max(1, len(words) - SHINGLE + 1))}


def nearest_neighbour_similarity(texts: Sequence[str], rng: Random, sample: int) -> dict[str, float]:
    """The median, 99th and 99.9th percentile and maximum over `sample` texts, each to its nearest among all of them.

    Exact, through an inverted index of the sampled texts' shingles.
    """
    if len(texts) < 2:
        raise ValueError("a nearest neighbour needs at least two texts")
    sets = [shingles(text) for text in texts]
    sizes = np.array([len(found) for found in sets])
    sampled = rng.sample(range(len(texts)), min(sample, len(texts)))
    index: dict[int, list[int]] = {shingle: [] for at in sampled for shingle in sets[at]}
    for at, found in enumerate(sets):
        for shingle in found & index.keys():
            index[shingle].append(at)
    nearest = []
    for at in sampled:
        holders = [other for shingle in sets[at] for other in index[shingle]]
        shared = np.bincount(holders, minlength=len(texts))  # shingles in common with each text
        shared[at] = 0
        nearest.append(float((shared / (sizes[at] + sizes - shared)).max()))
    nearest.sort()

    def quantile(share: float) -> float:
        return nearest[min(len(nearest) - 1, int(share * len(nearest)))]

    return {"median": quantile(0.5), "p99": quantile(0.99), "p999": quantile(0.999), "max": nearest[-1]}
