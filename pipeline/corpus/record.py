"""What a file holds: records. Each becomes a document, is refused for a reason, or is passed over as no document."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

MAX_DOCUMENT = 50_000_000  # bytes; a longer record is no document that a step below could handle


@dataclass(frozen=True, kw_only=True)
class Refused:
    """A record that becomes no document. lost: it could not be read (else: read, but not of our kind)."""

    reason: str
    lost: bool = True
    id: str | None = None
    text: str = ""


@dataclass(frozen=True, kw_only=True)
class Skipped:
    """A record that is no document by its nature, such as a crawler's request. kind: "request", ..."""

    kind: str


# A document: "text", "id" (None where it has none), and where known "html" (a page, not yet text), "url", "licence".
Parsed = dict[str, Any] | Refused
# Parsing is put off, since a task reads past the records of the others.
Record = Refused | Skipped | Callable[[], Parsed]
