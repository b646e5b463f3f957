"""Leaks: texts that hold items of the benchmarks in collect's evaluation/*.jsonl, and certificates of the search.

An item of n words or more leaks through any shared word n-gram; a shorter one by being contained whole, and one of
fewer than SHORT words by being the whole text (two words are contained everywhere). Words are compared without case
and punctuation. `certificates/<benchmark>.json` says what was searched for, in which data, and what was found.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from pipeline.artifact import sha256, write_json
from pipeline.stage import UserError
from pipeline.words import normal_words

SHORT = 5  # words


@dataclass(frozen=True, kw_only=True)
class Match:
    """One leak."""

    benchmark: str
    item: str
    passage: str


class Index:
    """Looks up every n-gram of a text; keys are word tuples, of a benchmark's items the first come is kept.

    Items of n words and more have one table, shorter ones one for each length. A text is looked through once, for
    the first words of any n-gram; only where they stand are the tables asked.
    """

    def __init__(self, n: int) -> None:
        self.n = n
        self.head = min(n, SHORT)
        self.heads: set[tuple[str, ...]] = set()
        self.grams: dict[int, dict[tuple[str, ...], tuple[str, str]]] = {}
        self.whole: dict[tuple[str, ...], tuple[str, str]] = {}
        # By whether whole items are meant, and the words: the items of benchmarks that came later.
        self.more: dict[tuple[bool, tuple[str, ...]], dict[str, str]] = {}

    def add(self, benchmark: str, item: str, text: str) -> None:
        """Enters an item."""
        words = normal_words(text)
        if not words:
            return
        if len(words) < SHORT:
            self._enter(self.whole, words, benchmark, item)
            return
        size = min(self.n, len(words))
        table = self.grams.setdefault(size, {})
        for start in range(len(words) - size + 1):
            self._enter(table, words[start : start + size], benchmark, item)
            self.heads.add(words[start : start + self.head])

    def _enter(
        self, table: dict[tuple[str, ...], tuple[str, str]], words: tuple[str, ...], benchmark: str, item: str
    ) -> None:
        if table.setdefault(words, (benchmark, item))[0] != benchmark:
            self.more.setdefault((table is self.whole, words), {}).setdefault(benchmark, item)

    def _matches(self, table: Mapping[tuple[str, ...], tuple[str, str]], words: tuple[str, ...]) -> list[Match]:
        """The items that hold these words, one of each benchmark."""
        if (first := table.get(words)) is None:
            return []
        known, passage = dict([first]) | self.more.get((table is self.whole, words), {}), " ".join(words)
        return [Match(benchmark=benchmark, item=item, passage=passage) for benchmark, item in known.items()]

    def equal(self, text: str) -> list[Match]:
        """The items of fewer than SHORT words that the text is, one of each benchmark."""
        return self._matches(self.whole, normal_words(text))

    def find(self, text: str) -> list[Match]:
        """The first leak of each benchmark in the text; [] where there is none."""
        words = normal_words(text)
        found = {match.benchmark: match for match in self._matches(self.whole, words)}
        head, heads = self.head, self.heads
        starts = [start for start in range(len(words) - head + 1) if words[start : start + head] in heads]
        for size, table in sorted(self.grams.items(), reverse=True) if starts else ():
            for start in starts:
                for match in self._matches(table, words[start : start + size]):
                    found.setdefault(match.benchmark, match)
        return list(found.values())


def items(path: Path) -> Iterator[tuple[str, str]]:
    """(id, text) of a benchmark's items. Raises UserError naming the line that holds none."""
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            try:
                row = json.loads(line)
                yield str(row["id"]), row["text"]
            except (json.JSONDecodeError, KeyError, TypeError) as error:
                raise UserError(f'{path}, line {number}: no item {{"id", "text"}}: {error!r}') from None


def count(path: Path) -> int:
    """The number of items; reads all of them, so that a bad line is found before any work."""
    return sum(1 for _ in items(path))


def benchmarks(collect: Path) -> list[Path]:
    """The benchmarks' files, by name."""
    return sorted((collect / "evaluation").glob("*.jsonl"))


@cache
def load(paths: tuple[Path, ...], n: int) -> Index:
    """The index of all benchmarks, made once a process."""
    index = Index(n)
    for path in paths:
        for item, text in items(path):
            index.add(path.stem, item, text)
    return index


def certify(
    paths: Iterable[Path], n: int, matches: Sequence[Mapping[str, Any]], data: Mapping[str, Any], out: Path
) -> None:
    """Writes `certificates/<benchmark>.json` of each benchmark.

    matches: {"document", "benchmark", "item", "passage"} of what was found and dropped. data: what was searched, under
    keys that are not a certificate's own.
    """
    (out / "certificates").mkdir(exist_ok=True)
    for path in paths:
        found = [
            {key: match[key] for key in ("document", "item", "passage")}
            for match in matches
            if match["benchmark"] == path.stem
        ]
        certificate = {
            "benchmark": path.stem,
            "items": count(path),
            "items_sha256": sha256(path),
            "ngram": n,
            "documents_matched_and_dropped": len(found),
            "matches": found,
            **data,
        }
        write_json(out / "certificates" / f"{path.stem}.json", certificate)
