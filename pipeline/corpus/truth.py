"""How well the filters did, where the truth is known: planted dirt removed, clean documents lost.

Reads collect's truth.jsonl, which nothing before this reads, and the finished shards. A document kind counts as
removed when the document is gone (of a group of copies: all but one), an in-place kind when its planted span is gone
and the rest stands (word F1 against the expected text at least 0.98). A clean document is lost when it is gone or
altered beyond that; so is a group of copies of which not one is left.
"""

import json
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from pipeline.corpus.words import TOKEN
from pipeline.intervals import proportion
from pipeline.words import normal_words

SAME = 0.98  # word F1 from which a text counts as kept


def word_f1(text: str, expected: str) -> float:
    """F1 of the two bags of words, case and punctuation aside; 1 for two empty texts."""
    a, b = Counter(normal_words(text)), Counter(normal_words(expected))
    if not a or not b:
        return float(a == b)
    return 2 * (a & b).total() / (a.total() + b.total())


def squeezed(text: str) -> str:
    """The text with single spaces, for finding a span whatever the layout."""
    return " ".join(TOKEN.findall(text.casefold()))


def kept_texts(corpus: Path, wanted: set[str]) -> dict[str, str]:
    """The kept text of the documents named in the truth."""
    found = {}
    for path in sorted([*corpus.glob("train/*.parquet"), *corpus.glob("heldout/*.parquet")]):
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(columns=["id", "text"]):
                for name, text in zip(batch["id"].to_pylist(), batch["text"].to_pylist(), strict=True):
                    if name in wanted:
                        found[name] = text
    return found


def mended(row: dict[str, Any], text: str | None) -> bool:
    """Whether a document with planted dirt in it came out clean and whole."""
    if text is None or (row["span"] and squeezed(row["span"]) in squeezed(text)):
        return False
    return word_f1(text, row["clean_text"]) >= SAME


def judge(rows: list[dict[str, Any]], kept: dict[str, str]) -> dict[str, list[bool]]:
    """kind -> one verdict a planted piece (True: removed); "clean": one a document that should stay (True: lost)."""
    verdicts: dict[str, list[bool]] = defaultdict(list)
    groups: dict[tuple[str, str], list[bool]] = defaultdict(list)
    for row in rows:
        text = kept.get(row["id"])
        if row["action"] == "drop":
            verdicts[row["kind"]].append(text is None)
        elif row["action"] == "span":
            verdicts[row["kind"]].append(mended(row, text))
        elif row["action"] == "keep_one":
            groups[row["kind"], row["group"]].append(text is None)
        else:
            assert row["action"] == "clean", row
            verdicts["clean"].append(text is None or word_f1(text, row["clean_text"]) < SAME)
    for (kind, _), gone in groups.items():
        copies = len(gone) - 1
        verdicts[kind] += [number < sum(gone) for number in range(copies)]
        verdicts["clean"].append(all(gone))
    return verdicts


def planted_recall(truth: Path, corpus: Path) -> dict[str, float]:
    """`planted_recall_<kind>` and `clean_lost`, each with _low, _high (95 %) and _n; {} where no truth is known."""
    if not truth.is_file():
        return {}
    with truth.open(encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    metrics: dict[str, float] = {}
    for kind, verdicts in sorted(judge(rows, kept_texts(corpus, {row["id"] for row in rows})).items()):
        if not verdicts:
            continue
        name = "clean_lost" if kind == "clean" else f"planted_recall_{kind}"
        low, high = proportion(sum(verdicts), len(verdicts))
        metrics |= {
            name: sum(verdicts) / len(verdicts),
            f"{name}_low": low,
            f"{name}_high": high,
            f"{name}_n": len(verdicts),
        }
    return metrics
