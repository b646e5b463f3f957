"""Privacy: spans found in presidio's generated sentences, by type."""

import time
from collections import Counter
from pathlib import Path

from bench.corpus_data import Row, json_of, only
from pipeline.screen import privacy

KINDS = {
    "EMAIL_ADDRESS": "email", "PHONE_NUMBER": "phone", "CREDIT_CARD": "card", "IBAN_CODE": "iban", "IP_ADDRESS": "ip",
    "DOMAIN_NAME": "url", "URL": "url", "US_SSN": "national_id",
}  # fmt: skip
COVERED = 0.8  # share of a gold span that a found one must cover
FEW = 100  # spans below which two misses are allowed


def reached(kind: str, hits: int, count: int) -> bool:
    """Whether a type's recall is enough."""
    return count - hits <= 2 if count < FEW else hits / count >= (0.90 if kind == "phone" else 0.95)


def measure(data: Path) -> list[Row]:
    """Recall a type, precision over all."""
    hits: Counter[str] = Counter()
    counts: Counter[str] = Counter()
    found: Counter[str] = Counter()
    right: Counter[str] = Counter()
    rows = json_of(only(data, "pii_presidio_large/*.json*"))
    started = time.process_time()
    spans = [privacy.find(row["full_text"], privacy.KINDS) for row in rows]
    seconds = time.process_time() - started
    for row, ours in zip(rows, spans, strict=True):
        gold = [
            (KINDS[span["entity_type"]], span["start_position"], span["end_position"])
            for span in row["spans"]
            if span["entity_type"] in KINDS
        ]
        for kind, start, end in gold:
            counts[kind] += 1
            hits[kind] += any(
                one.kind == kind and min(end, one.end) - max(start, one.start) >= COVERED * (end - start)
                for one in ours
            )
        for one in ours:
            found[one.kind] += 1
            right[one.kind] += any(
                one.kind == kind and min(end, one.end) > max(start, one.start) for kind, start, end in gold
            )
    precision = right.total() / found.total()
    recalls = ", ".join(f"{kind} {hits[kind] / n:.3f} of {n}" for kind, n in counts.most_common())
    return [
        Row(
            what="privacy, recall a type",
            on=f"pii_presidio_large, {len(rows)} texts",
            value=recalls,
            bar=">= 0.95, phone >= 0.90; of fewer than 100, two misses",
            reached=all(reached(kind, hits[kind], n) for kind, n in counts.items()),
            beside=f"{len(rows) / seconds:,.0f} texts/s",
        ),
        Row(
            what="privacy, precision",
            on="the same",
            value=f"{precision:.3f}",
            bar=">= 0.95",
            reached=precision >= 0.95,
            beside=", ".join(f"{kind} {right[kind] / n:.3f}" for kind, n in found.most_common()),
        ),
    ]
