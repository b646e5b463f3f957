"""Leakage of training text: how many words of what a model writes stand verbatim in the training split.

Each model goes on with the first words of training documents, which is when a memorised text comes out. The
measure is the longest run of words that some training document holds too. A language repeats itself, so a baseline
stands beside it, `heldout`: the same of passages of held-out text, which no model can have leaked.
Reads corpus/train/*.parquet, a batch at a time; of each document only runs that a searched text holds are looked at.
"""

import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from pipeline.evaluate.answers import say
from pipeline.evaluate.checks import words
from pipeline.evaluate.exam import Measures, digest
from pipeline.evaluate.models import Candidate
from pipeline.evaluate.recipe import Recipe
from pipeline.evaluate.score import Measure
from pipeline.stage import UserError

OPENING = 12  # words of a document that are given
SEED_RUN = 4  # words; a shorter run in common says nothing and counts as 0


class Leakage:
    """The exam."""

    def __init__(self, corpus: Path | None, held: Sequence[str], recipe: Recipe, seed: int) -> None:
        if corpus is None:
            raise UserError("evaluate.yaml: leakage searches the corpus, and the run has none. Remove the key.")
        self.corpus, self.recipe, self.seed = corpus, recipe, seed
        count = int(recipe.leakage or 0)
        self.openings = openings(corpus, count, seed)
        self.passages = [" ".join(text.split()[OPENING:]) for text in held if len(text.split()) > 2 * OPENING][:count]
        if not self.openings or not self.passages:
            raise UserError(
                f"evaluate.yaml: leakage needs documents of more than {2 * OPENING} words, in the training and in the "
                f"held-out split of {corpus}, and finds none. Remove the key."
            )
        self.said: dict[str, list[str]] = {}
        self.titles = {"verbatim_words": "longest run of words that stands in the training text"}

    @property
    def items_by_kind(self) -> dict[str, list[str]]:
        """The openings."""
        return {"openings": [digest(text) for text in self.openings]}

    def measure(self, candidate: Candidate, model: Any) -> dict[str, Measure]:
        """Lets the model write; the search comes once, for all."""
        asked = [candidate.document(opening)[:-1] for opening in self.openings]
        self.said[candidate.name] = say(candidate, model, asked, self.recipe, self.seed)
        return {}

    def afterwards(self) -> Measures:
        """The longest runs of every model's texts and of the held-out passages, cut to the models' mean length."""
        lengths = [len(words(text)) for texts in self.said.values() for text in texts]
        mean = max(SEED_RUN, round(sum(lengths) / len(lengths)))
        searched = {**self.said, "heldout": [" ".join(words(text)[:mean]) for text in self.passages]}
        flat = [text for texts in searched.values() for text in texts]
        found = iter(longest_runs(flat, train_texts(self.corpus)))
        return {
            name: {
                "verbatim_words": Measure(
                    values=[float(next(found)) for _ in texts], over="openings" if name in self.said else "passages"
                )
            }
            for name, texts in searched.items()
        }

    def results(self) -> dict[str, Any]:
        """What was asked."""
        return {"settings": {"leakage_openings": len(self.openings), "leakage_opening_words": OPENING}}


def openings(corpus: Path, count: int, seed: int) -> list[str]:
    """The first words of `count` training documents that are long enough, drawn by the seed; the text is read twice,
    so that no more than these are held."""
    long = [number for number, text in enumerate(train_texts(corpus)) if len(text.split()) > 2 * OPENING]
    chosen = random.Random(f"{seed}/leakage").sample(long, min(count, len(long)))
    wanted = set(chosen)
    found = {
        number: " ".join(text.split()[:OPENING]) for number, text in enumerate(train_texts(corpus)) if number in wanted
    }
    return [found[number] for number in chosen]


def train_texts(corpus: Path) -> Iterator[str]:
    """Every document of the training split, a batch at a time."""
    for shard in sorted((corpus / "train").glob("*.parquet")):
        for batch in pq.ParquetFile(shard).iter_batches(1000, columns=["text"]):
            yield from batch["text"].to_pylist()


def longest_runs(texts: Sequence[str], documents: Iterator[str]) -> list[int]:
    """Of each text the length in words of its longest run that one document holds; 0 below SEED_RUN.

    Runs are found by their first words, which are looked up in an index of the texts, and followed from there, one
    place of the document after the other; so a document costs its length and what it has in common.
    """
    split = [words(text) for text in texts]
    index: dict[tuple[str, ...], list[tuple[int, int]]] = {}
    for number, found in enumerate(split):
        for at in range(len(found) - SEED_RUN + 1):
            index.setdefault(tuple(found[at : at + SEED_RUN]), []).append((number, at))
    longest = [0] * len(texts)
    for document in documents:
        said = words(document)
        for at in range(len(said) - SEED_RUN + 1):
            for number, start in index.get(tuple(said[at : at + SEED_RUN]), ()):
                if at and start and said[at - 1] == split[number][start - 1]:
                    continue  # inside of a run that was followed from its beginning
                longest[number] = max(longest[number], common(split[number], start, said, at))
    return longest


def common(a: Sequence[str], start: int, b: Sequence[str], at: int) -> int:
    """How many words agree from these two places on."""
    length = 0
    while start + length < len(a) and at + length < len(b) and a[start + length] == b[at + length]:
        length += 1
    return length
