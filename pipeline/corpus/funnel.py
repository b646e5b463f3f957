"""The funnel and the books: counts a step from datatrove's stats, and dropped.jsonl from the ledgers."""

import heapq
import json
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pipeline.corpus.step import from_place

FILES = 200  # open at once; systems allow a process 256 or 1,024, and a ledger is a step's and a task's
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
    """Every ledger line, in reading order, with the step that wrote it. At most FILES ledgers are open at once."""
    with tempfile.TemporaryDirectory() as merged:
        sources = [(path, path.parent.name.split("_", 1)[1]) for path in sorted(folder.glob("*/*.jsonl"))]
        while len(sources) > FILES:
            files = Path(tempfile.mkdtemp(dir=merged))
            for number, group in enumerate(batched(sources, FILES)):
                with (files / f"{number:05d}").open("w", encoding="utf-8") as file:
                    file.writelines(json.dumps(row) + "\n" for row in in_order(group))
            sources = [(path, "") for path in sorted(files.iterdir())]
        yield from in_order(sources)


def in_order(sources: Sequence[tuple[Path, str]]) -> Iterator[dict[str, Any]]:
    """The lines of several ledgers, by place; a line that names no step yet gets its ledger's."""

    def lines(path: Path, step: str) -> Iterator[dict[str, Any]]:
        with path.open(encoding="utf-8") as file:
            for line in file:
                yield {"step": step, **json.loads(line)}

    return heapq.merge(*(lines(*source) for source in sources), key=lambda row: row["place"])


def batched(sources: Sequence[tuple[Path, str]], size: int) -> Iterator[Sequence[tuple[Path, str]]]:
    """The sequence in pieces of so many."""
    return (sources[first : first + size] for first in range(0, len(sources), size))


def write_dropped(
    folder: Path, out: Path, names: Sequence[str]
) -> tuple[dict[str, Counter[str]], Counter[str], Counter[str]]:
    """Writes dropped.jsonl. Returns the drops by step and reason, by reason, and the lost by reason.

    names: of the sources, by number.
    """
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
            source = names[from_place(row["place"])[0]]
            found = {"id": row["id"], "source": source, "step": row["step"], "reason": reason, "text": text}
            file.write(json.dumps(found, ensure_ascii=False) + "\n")
    return by_step, dropped, lost
