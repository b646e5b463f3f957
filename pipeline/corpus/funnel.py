"""The funnel and the books: counts a step from datatrove's stats, and dropped.jsonl from the ledgers."""

import heapq
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SAMPLES = 100  # dropped documents of each reason whose text is kept


def total(value: Any) -> int:
    """datatrove writes a count as a number, or as an object where it varied."""
    return int(value["total"] if isinstance(value, dict) else value)


def seconds(step: dict[str, Any]) -> float:
    """CPU time of a step over one task."""
    found = step["time_stats"]
    return float(found["total"] if isinstance(found, dict) else found)


def merge(logging_dir: Path) -> list[dict[str, Any]]:
    """One entry a step, summed over tasks. Tasks finished before a kill count too: their stats lie there as well."""
    entries: dict[str, dict[str, Any]] = {}
    for path in sorted((logging_dir / "stats").glob("*.json")):
        for step in json.loads(path.read_text(encoding="utf-8")):
            name = step["name"].split(": ", 1)[-1]
            entry = entries.setdefault(name, {"step": name, "counts": Counter(), "seconds": 0.0})
            entry["seconds"] += seconds(step)
            for key, value in step["stats"].items():
                entry["counts"][key] += total(value)
    return list(entries.values())


def rows(entries: list[dict[str, Any]], dropped: dict[str, Counter[str]]) -> list[dict[str, Any]]:
    """The funnel: what came into each step, what stayed, what was dropped for which reason, what was edited."""
    table, alive = [], 0
    for entry in entries:
        counts, reasons = entry["counts"], dropped.get(entry["step"], Counter())
        came = counts["read"] if entry["step"].startswith("read ") else alive
        kept = came - sum(reasons.values()) + counts["repeated"]
        alive = alive + kept if entry["step"].startswith("read ") else kept
        edited = {key.removeprefix("edited_"): n for key, n in sorted(counts.items()) if key.startswith("edited_")}
        table.append(
            {
                "step": entry["step"],
                "read": came,
                "kept": kept,
                "dropped": dict(sorted(reasons.items())),
                "edited": edited,
                "seconds": round(entry["seconds"], 3),
            }
        )
    return table


def ledger_rows(folder: Path) -> Iterator[dict[str, Any]]:
    """Every ledger line, in reading order, with the step that wrote it."""

    def lines(path: Path) -> Iterator[dict[str, Any]]:
        with path.open(encoding="utf-8") as file:
            for line in file:
                yield {"step": path.parent.name.split("_", 1)[1], **json.loads(line)}

    return heapq.merge(*(lines(path) for path in sorted(folder.glob("*/*.jsonl"))), key=lambda row: row["place"])


def write_dropped(folder: Path, out: Path) -> tuple[dict[str, Counter[str]], Counter[str], Counter[str]]:
    """Writes dropped.jsonl. Returns the drops by step and reason, by reason, and the lost by reason."""
    by_step: dict[str, Counter[str]] = {}
    dropped: Counter[str] = Counter()
    lost: Counter[str] = Counter()
    with out.open("w", encoding="utf-8") as file:
        for row in ledger_rows(folder):
            book = lost if row["lost"] else dropped
            book[row["reason"]] += 1
            reason = f"lost_{row['reason']}" if row["lost"] else row["reason"]
            by_step.setdefault(row["step"], Counter())[reason] += 1
            text = row["text"] if book[row["reason"]] <= SAMPLES else ""
            file.write(json.dumps({"id": row["id"], "reason": reason, "text": text}, ensure_ascii=False) + "\n")
    return by_step, dropped, lost
