"""Decontamination: drops documents that contain items of the benchmarks in collect's evaluation/*.jsonl.

An item of n words or more leaks through any shared word n-gram; a shorter one by being contained whole, and one of
fewer than SHORT words by being the whole document (two words are contained everywhere). Words are compared without
case and punctuation. Writes `certificates/<benchmark>.json`: what was searched for, in which files, what was found.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from datatrove.data import Document

from pipeline.corpus.step import Ledger, Step
from pipeline.corpus.words import normal_words
from pipeline.stage import UserError

SHORT = 5  # words


@dataclass(frozen=True, kw_only=True)
class Match:
    """One leak."""

    benchmark: str
    item: str
    passage: str


class Index:
    """Looks up every n-gram of a document; keys are word tuples, first come first kept.

    Items of n words and more have one table, shorter ones one for each length. A document is looked through once, for
    the first words of any n-gram; only where they stand are the tables asked.
    """

    def __init__(self, n: int) -> None:
        self.n = n
        self.head = min(n, SHORT)
        self.heads: set[tuple[str, ...]] = set()
        self.grams: dict[int, dict[tuple[str, ...], tuple[str, str]]] = {}
        self.whole: dict[tuple[str, ...], tuple[str, str]] = {}

    def add(self, benchmark: str, item: str, text: str) -> None:
        """Enters an item."""
        words = normal_words(text)
        if not words:
            return
        if len(words) < SHORT:
            self.whole.setdefault(words, (benchmark, item))
            return
        size = min(self.n, len(words))
        table = self.grams.setdefault(size, {})
        for start in range(len(words) - size + 1):
            table.setdefault(words[start : start + size], (benchmark, item))
            self.heads.add(words[start : start + self.head])

    def find(self, text: str) -> Match | None:
        """The first leak in the text."""
        words = normal_words(text)
        if found := self.whole.get(words):
            return Match(benchmark=found[0], item=found[1], passage=" ".join(words))
        head, heads = self.head, self.heads
        starts = [start for start in range(len(words) - head + 1) if words[start : start + head] in heads]
        for size, table in sorted(self.grams.items(), reverse=True) if starts else ():
            for start in starts:
                if found := table.get(words[start : start + size]):
                    return Match(benchmark=found[0], item=found[1], passage=" ".join(words[start : start + size]))
        return None


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


class Decontaminate(Step):
    """Drops documents that leak an item, for the reason `leak_<benchmark>`; the ledger also keeps the passage."""

    name = "decontaminate"

    def __init__(self, paths: tuple[Path, ...], n: int, ledger: Ledger) -> None:
        super().__init__(ledger)
        self.paths = paths
        self.n = n

    def filter(self, doc: Document) -> bool | tuple[bool, str]:
        """Whether the document is free of items."""
        match = load(self.paths, self.n).find(doc.text)
        if match is None:
            return True
        doc.metadata["match"] = {"benchmark": match.benchmark, "item": match.item, "passage": match.passage}
        return False, f"leak_{match.benchmark}"


class MatchLedger(Ledger):
    """A ledger whose lines also say what matched."""

    def row(self, document: Document) -> dict[str, Any]:
        """The ledger's line and the match."""
        return {**super().row(document), "match": document.metadata["match"]}


def sha256(path: Path) -> str:
    """Of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def certify(paths: list[Path], n: int, matches: list[dict[str, Any]], corpus: Path) -> None:
    """Writes one certificate a benchmark about the corpus files as they lie in `corpus`."""
    files = {p.relative_to(corpus).as_posix(): sha256(p) for p in sorted(corpus.glob("*/*.parquet"))}
    (corpus / "certificates").mkdir(exist_ok=True)
    for path in paths:
        found = [
            {"document": row["id"], "item": row["match"]["item"], "passage": row["match"]["passage"]}
            for row in matches
            if row["match"]["benchmark"] == path.stem
        ]
        certificate = {
            "benchmark": path.stem,
            "items": count(path),
            "items_sha256": sha256(path),
            "ngram": n,
            "documents_matched_and_dropped": len(found),
            "matches": found,
            "corpus_files_sha256": files,
        }
        text = json.dumps(certificate, indent=1, ensure_ascii=False)
        (corpus / "certificates" / f"{path.stem}.json").write_text(text + "\n", encoding="utf-8")
