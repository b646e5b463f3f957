"""Privacy: spans found in presidio's generated sentences, by type."""

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.corpus_data import Row, json_of, only
from pipeline.screen import privacy
from pipeline.screen.privacy import Span

KINDS = {
    "EMAIL_ADDRESS": "email", "PHONE_NUMBER": "phone", "CREDIT_CARD": "card", "IBAN_CODE": "iban", "IP_ADDRESS": "ip",
    "DOMAIN_NAME": "url", "URL": "url", "US_SSN": "national_id",
}  # fmt: skip
COVERED = 0.8  # share of a gold span that a found one must cover
FEW = 100  # spans below which two misses are allowed


def reached(kind: str, hits: int, count: int) -> bool:
    """Whether a type's recall is enough."""
    return count - hits <= 2 if count < FEW else hits / count >= (0.90 if kind == "phone" else 0.95)


@dataclass(frozen=True, kw_only=True)
class Tally:
    """By kind: gold spans and how many of them were found, found spans and how many of them touch a gold one."""

    gold: Counter[str] = field(default_factory=Counter)
    hits: Counter[str] = field(default_factory=Counter)
    found: Counter[str] = field(default_factory=Counter)
    right: Counter[str] = field(default_factory=Counter)


def covers(one: Span, gold: Span) -> bool:
    """Whether a found span is of the gold one's kind and covers enough of it."""
    shared = min(gold.end, one.end) - max(gold.start, one.start)
    return one.kind == gold.kind and shared >= COVERED * (gold.end - gold.start)


def tally(cases: Iterable[tuple[Sequence[Span], Sequence[Span]]]) -> Tally:
    """Counts of (gold spans, found spans), a pair a text."""
    counts = Tally()
    for gold, found in cases:
        for span in gold:
            counts.gold[span.kind] += 1
            counts.hits[span.kind] += any(covers(one, span) for one in found)
        for one in found:
            counts.found[one.kind] += 1
            counts.right[one.kind] += any(
                one.kind == span.kind and min(span.end, one.end) > max(span.start, one.start) for span in gold
            )
    return counts


def presidio(row: dict[str, Any]) -> list[Span]:
    """A row's gold spans of the kinds that are patterns."""
    return [
        Span(kind=KINDS[span["entity_type"]], start=span["start_position"], end=span["end_position"])
        for span in row["spans"]
        if span["entity_type"] in KINDS
    ]


def measure(data: Path) -> list[Row]:
    """Recall a type, precision over all."""
    rows = json_of(only(data, "pii_presidio_large/*.json*"))
    started = time.process_time()
    spans = [privacy.find(row["full_text"], privacy.KINDS) for row in rows]
    seconds = time.process_time() - started
    counts = tally(zip(map(presidio, rows), spans, strict=True))
    precision = counts.right.total() / max(1, counts.found.total())
    recalls = ", ".join(f"{kind} {counts.hits[kind] / n:.3f} of {n}" for kind, n in counts.gold.most_common())
    return [
        Row(
            what="privacy, recall a type",
            on=f"pii_presidio_large, {len(rows)} texts, seen when the patterns were written",
            value=recalls,
            bar=">= 0.95, phone >= 0.90; of fewer than 100, two misses",
            reached=all(reached(kind, counts.hits[kind], n) for kind, n in counts.gold.items()),
            beside=f"{len(rows) / seconds:,.0f} texts/s",
        ),
        Row(
            what="privacy, precision",
            on="the same",
            value=f"{precision:.3f}",
            bar=">= 0.95",
            reached=precision >= 0.95,
            beside=", ".join(f"{kind} {counts.right[kind] / n:.3f}" for kind, n in counts.found.most_common()),
        ),
    ]
