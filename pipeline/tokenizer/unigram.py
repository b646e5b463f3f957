"""The Unigram trainer: pieces with probabilities such that the corpus, cut the likeliest way, is as likely as can be.

tokenizers has one, which is not used here for two reasons that were measured (LOG.md, 2026-11-23): two runs over one
text give two vocabularies, and its first pieces are substrings that several different words share, so that a frequent
word which is part of no other never becomes a piece. Its model, which cuts the words here as later, is used.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import regex
from tokenizers import Tokenizer, models, pre_tokenizers

MAX_WORDS = 100_000  # the most frequent are learnt from: bounds memory, and what is rarer decides no piece
LONGEST_PIECE = 16  # bytes, SentencePiece's limit of characters
SEEDS = 10  # first pieces for one that is wanted
SHRINK = 0.75  # of the pieces stay in a round (Kudo 2018 takes 0.8, SentencePiece 0.75)
ROUNDS = 2  # of estimation between two prunings
RARE = 0.5  # occurrences that an unused byte is reckoned with

Normalize = Callable[[str], str]


def count_words(texts: Iterable[list[str]], pattern: str, normalize: Normalize | None) -> Counter[str]:
    """How often each word occurs. Memory grows with the number of different words, as in any trainer."""
    find = regex.compile(pattern).findall
    counts: Counter[str] = Counter()
    for batch in texts:
        for text in batch:
            counts.update(find(normalize(text) if normalize else text))
    return counts


def learn(counts: Counter[str], alphabet: list[str], size: int) -> list[tuple[str, float]]:
    """At most `size` pieces with their log probabilities: the alphabet, which is never pruned, then the others from
    the likeliest. EM with the likeliest cut in place of the expectation, pruning by what a piece's loss would cost."""
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    chosen = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:MAX_WORDS]
    words = ["".join(part for part, _ in byte_level.pre_tokenize_str(word)) for word, _ in chosen]
    occurrences = np.array([count for _, count in chosen], dtype=np.float64)
    pieces, weights = _seeds(words, occurrences, alphabet, SEEDS * size)
    while True:
        for _ in range(ROUNDS):
            weights = _estimate(words, occurrences, pieces, weights)
        used = [i for i in range(len(alphabet), len(pieces)) if weights[i] > 0]
        if len(alphabet) + len(used) <= size:
            break
        keep = max(size - len(alphabet), int(SHRINK * len(used)))
        costs = _costs(pieces, weights, used)
        used = sorted(sorted(used, key=lambda i: (-costs[i], pieces[i]))[:keep])
        chosen_ids = [*range(len(alphabet)), *used]
        pieces, weights = [pieces[i] for i in chosen_ids], weights[chosen_ids]
    kept = [*range(len(alphabet)), *sorted(used, key=lambda i: (-weights[i], pieces[i]))]
    scores = _log_probabilities(weights[kept])
    return [(pieces[i], float(score)) for i, score in zip(kept, scores, strict=True)]


def _seeds(words: list[str], occurrences: np.ndarray, alphabet: list[str], size: int) -> tuple[list[str], np.ndarray]:
    """The alphabet and the substrings that cover most of the corpus: occurrences times length."""
    single: Counter[str] = Counter()
    longer: Counter[str] = Counter()
    for word, count in zip(words, occurrences.astype(int).tolist(), strict=True):
        if len(word) > 4 * LONGEST_PIECE:
            continue  # an address or a blob: its parts are nobody's pieces
        for start in range(len(word)):
            single[word[start]] += count
            for end in range(start + 2, min(len(word), start + LONGEST_PIECE) + 1):
                longer[word[start:end]] += count
    found = [piece for piece, count in longer.items() if count > 1]
    found = sorted(found, key=lambda piece: (-longer[piece] * len(piece), piece))[:size]
    weights = [*(single[a] for a in alphabet), *(longer[piece] for piece in found)]
    return [*alphabet, *found], np.array(weights, dtype=np.float64)


def _log_probabilities(weights: np.ndarray) -> np.ndarray:
    weights = np.maximum(weights, RARE)
    return np.log(weights / weights.sum())


def _estimate(words: list[str], occurrences: np.ndarray, pieces: list[str], weights: np.ndarray) -> np.ndarray:
    """How often each piece occurs when every word is cut the likeliest way."""
    model: Any = models.Unigram(list(zip(pieces, _log_probabilities(weights).tolist(), strict=True)))
    cuts = [encoding.ids for encoding in Tokenizer(model).encode_batch_fast(words)]
    lengths = [len(cut) for cut in cuts]
    flat = np.fromiter((i for cut in cuts for i in cut), dtype=np.int64, count=sum(lengths))
    return np.bincount(flat, weights=np.repeat(occurrences, lengths), minlength=len(pieces))


def _costs(pieces: list[str], weights: np.ndarray, used: list[int]) -> dict[int, float]:
    """For each piece by how much the corpus's log likelihood falls without it: its occurrences times what its
    likeliest cut into other pieces loses."""
    scores = _log_probabilities(weights).tolist()
    size = len(pieces) - len(used)
    table = {pieces[i]: scores[i] for i in (*range(size), *used)}
    return {i: float(weights[i]) * (scores[i] - _next_best(pieces[i], table)) for i in used}


def _next_best(piece: str, table: dict[str, float]) -> float:
    """The log probability of the piece's likeliest cut into two parts or more."""
    best = [0.0] + [-math.inf] * len(piece)
    for end in range(1, len(piece) + 1):
        for start in range(1 if end == len(piece) else 0, end):
            score = table.get(piece[start:end])
            if score is not None and best[start] + score > best[end]:
                best[end] = best[start] + score
    return best[-1]
