"""Leaks: texts that hold items of the benchmarks in collect's evaluation/*.jsonl, and certificates of the search.

An item of n words or more leaks through any shared word n-gram; a shorter one by standing anywhere as a whole; and one
of fewer than RUN words, which stand everywhere, as a whole line. Words are compared without case and punctuation.
Where placeholders have replaced private data in the text, items are searched for with the same placeholders too.
`certificates/<benchmark>.json` says what was searched for, how, in which data, and what was found.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from pipeline.artifact import sha256, write_json
from pipeline.screen.privacy import scrub
from pipeline.stage import UserError
from pipeline.words import length, normal_words

RUN = 3  # words from which an item is searched for inside a line
HEAD = 5  # words at which a text is first looked at
PLACEHOLDER = re.compile(r"<[a-z_]+>")


@dataclass(frozen=True, kw_only=True)
class Match:
    """One leak."""

    benchmark: str
    item: str
    passage: str


Words = tuple[str, ...]
Table = dict[Words, tuple[str, str]]


class Index:
    """Looks up every n-gram of a text; keys are word tuples, of a benchmark's items the first come is kept.

    Items of n words and more have one table, shorter ones one for each length. A text is looked through once for the
    first words of any n-gram; only where they stand are the tables asked. privacy: what is replaced in the texts.
    """

    def __init__(self, n: int, privacy: tuple[str, ...] = ()) -> None:
        self.n = n
        self.privacy = privacy
        self.heads: dict[int, set[Words]] = {}  # by their number of words
        self.grams: dict[int, Table] = {}
        self.lines: Table = {}
        # By whether whole lines are meant, and the words: the items of benchmarks that came later.
        self.more: dict[tuple[bool, Words], dict[str, str]] = {}

    def add(self, benchmark: str, item: str, text: str) -> None:
        """Enters an item, as it is and as the privacy step leaves it."""
        for rendering in renderings(text, self.privacy):
            words = normal_words(rendering)
            if length(words) < RUN:
                if words:
                    self._enter(self.lines, words, benchmark, item)
                continue
            size = min(self.n, len(words))
            head = min(size, HEAD)
            table, heads = self.grams.setdefault(size, {}), self.heads.setdefault(head, set())
            for start in range(len(words) - size + 1):
                self._enter(table, words[start : start + size], benchmark, item)
                heads.add(words[start : start + head])

    def _enter(self, table: Table, words: Words, benchmark: str, item: str) -> None:
        if table.setdefault(words, (benchmark, item))[0] != benchmark:
            self.more.setdefault((table is self.lines, words), {}).setdefault(benchmark, item)

    def _matches(self, table: Table, words: Words) -> list[Match]:
        """The items that hold these words, one of each benchmark."""
        if (first := table.get(words)) is None:
            return []
        known, passage = dict([first]) | self.more.get((table is self.lines, words), {}), " ".join(words)
        return [Match(benchmark=benchmark, item=item, passage=passage) for benchmark, item in known.items()]

    def whole_lines(self, text: str) -> list[Match]:
        """The items of fewer than RUN words that a line of the text is, one of each benchmark."""
        found: dict[str, Match] = {}
        for line in text.split("\n") if self.lines else ():
            for match in self._matches(self.lines, normal_words(line)):
                found.setdefault(match.benchmark, match)
        return list(found.values())

    def inside(self, text: str) -> list[Match]:
        """The first leak of each benchmark that stands anywhere in the text."""
        words, found = normal_words(text), dict[str, Match]()
        starts = {
            head: [start for start in range(len(words) - head + 1) if words[start : start + head] in heads]
            for head, heads in self.heads.items()
        }
        for size, table in sorted(self.grams.items(), reverse=True):
            for start in starts[min(size, HEAD)]:
                for match in self._matches(table, words[start : start + size]):
                    found.setdefault(match.benchmark, match)
        return list(found.values())

    def find(self, text: str) -> list[Match]:
        """The first leak of each benchmark in the text; [] where there is none."""
        found = {match.benchmark: match for match in self.inside(text)}
        for match in self.whole_lines(text):
            found.setdefault(match.benchmark, match)
        return list(found.values())


def renderings(text: str, privacy: tuple[str, ...]) -> list[str]:
    """What an item looks like in texts: as it is, and with placeholders; not where these leave too little of it."""
    scrubbed = scrub(text, privacy)[0] if privacy else text
    return [text] if scrubbed == text or hidden(scrubbed) else [text, scrubbed]


def hidden(scrubbed: str) -> bool:
    """Whether placeholders leave fewer than RUN words of an item: "<email>" is no sign of it."""
    return length(normal_words(PLACEHOLDER.sub(" ", scrubbed))) < RUN


def how(path: Path, privacy: tuple[str, ...]) -> dict[str, int]:
    """How many items a certificate claims less of: searched for as whole lines only, or not to be found at all."""
    lines = lost = 0
    for _, text in items(path):
        scrubbed = scrub(text, privacy)[0] if privacy else text
        if not normal_words(text) or (scrubbed != text and hidden(scrubbed)):
            lost += 1
        elif length(normal_words(text)) < RUN:
            lines += 1
    return {"items_as_whole_lines_only": lines, "items_not_searchable": lost}


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
def load(paths: tuple[Path, ...], n: int, privacy: tuple[str, ...] = ()) -> Index:
    """The index of all benchmarks, made once a process. privacy: what was replaced in the texts before the search."""
    index = Index(n, privacy)
    for path in paths:
        for item, text in items(path):
            index.add(path.stem, item, text)
    return index


def certify(
    index: Index, paths: Iterable[Path], matches: Sequence[Mapping[str, Any]], data: Mapping[str, Any], out: Path
) -> None:
    """Writes `certificates/<benchmark>.json` of each benchmark.

    index: what was searched with. matches: {"document", "benchmark", "item", "passage"} of what was found and
    dropped. data: what was searched, under keys that are not a certificate's own.
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
            **how(path, index.privacy),
            "items_sha256": sha256(path),
            "ngram": index.n,
            "documents_matched_and_dropped": len(found),
            "matches": found,
            **data,
        }
        write_json(out / "certificates" / f"{path.stem}.json", certificate)
