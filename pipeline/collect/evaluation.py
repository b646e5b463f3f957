"""The benchmarks whose items must not be trained on: `evaluation:` in collect.yaml.

Writes evaluation/<name>.jsonl, {"id", "text"} a line. `corpus`, `sft`, `preferences` and `ppo` search for them and
certify it; `evaluate` asks for the certificate of the task of that name.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pipeline.collect import raw
from pipeline.collect.outside import table_at
from pipeline.collect.source import Benchmark
from pipeline.stage import UserError
from pipeline.table import column, rows


def collect(benchmarks: Mapping[str, Benchmark], out: Path) -> dict[str, float]:
    """Writes the items; returns how many of each benchmark. Raises UserError for one without items."""
    counts: dict[str, float] = {}
    for name, benchmark in benchmarks.items():
        path = out / "evaluation" / f"{name}.jsonl"
        if path.exists():
            raise UserError(
                f"collect.yaml: evaluation.{name}: the source writes a benchmark of this name itself. Choose another."
            )
        number = raw.write_jsonl(path, items(benchmark, name))
        if not number:
            raise UserError(f"collect.yaml: evaluation.{name}: {benchmark.name} holds no item with a text.")
        counts[f"evaluation_items_{name}"] = number
    return counts


def items(benchmark: Benchmark, name: str) -> Iterator[dict[str, str]]:
    """The rows as items: the texts of the named columns, one below the other. Rows without any text are left out."""
    for number, (row, where) in enumerate(rows(table_at(benchmark, name)), start=1):
        parts = [part for key in benchmark.text for part in texts(column(row, key, where), key, where)]
        text = "\n".join(part for part in parts if part.strip())
        given = column(row, benchmark.id, where) if benchmark.id else number
        if text:
            yield {"id": str(given), "text": text}


def texts(value: Any, key: str, where: str) -> list[str]:
    """The texts of a column: itself, or those of a list (choices). Raises UserError for anything else."""
    found = value if isinstance(value, list) else [value]
    if not all(isinstance(text, str | None) for text in found):
        raise UserError(f"{where}: the column '{key}' is no text and no list of texts: {str(value)[:60]}.")
    return [text for text in found if text]
