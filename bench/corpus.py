"""Every cleaning step on labelled real data: `make bench-corpus` (`python -m bench.corpus --only privacy language`).

Prints one table, writes bench/corpus.json and puts the table into docs/corpus.md. The data is `--data`, else
$GROUNDUP_DATA, else ../shared/data beside the repository; without it the command says so and does nothing.
"""

import argparse
import json
import platform
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from bench import (
    corpus_archives,
    corpus_classes,
    corpus_copies,
    corpus_growth,
    corpus_language,
    corpus_leaks,
    corpus_outside,
    corpus_pages,
    corpus_privacy,
    corpus_secrets,
    corpus_speed,
)
from bench.corpus_data import ROOT, Row, folder

PAGE, RESULTS = ROOT / "docs" / "corpus.md", ROOT / "bench" / "corpus.json"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
VERDICT = {True: "yes", False: "**no**", None: ""}


def parts(args: argparse.Namespace) -> dict[str, Callable[[], list[Row]]]:
    """The parts of the table, in its order."""
    data = folder(args.data)
    return {
        "pages": lambda: corpus_pages.measure(data),
        "language": lambda: corpus_language.measure(data),
        "classes": lambda: corpus_classes.measure(data),
        "privacy": lambda: corpus_privacy.measure(data),
        "outside": lambda: corpus_outside.measure(data),
        "secrets": lambda: corpus_secrets.measure(data),
        "copies": lambda: corpus_copies.measure(data),
        "leaks": lambda: corpus_leaks.measure(data),
        "archives": lambda: corpus_archives.measure(data),
        "speed": lambda: corpus_speed.measure(data, args.megabytes),
        "growth": lambda: corpus_growth.measure(),
    }


def table(rows: Sequence[Row]) -> str:
    """The rows in Markdown."""
    lines = ["| what | on | measured | must reach | reached | beside it |", "|---|---|---|---|---|---|"]
    for row in rows:
        cells = (row.what, row.on, row.value, row.bar, VERDICT[row.reached], row.beside)
        lines.append("| " + " | ".join(cell.replace("|", "/") for cell in cells) + " |")
    return "\n".join(lines)


def write(results: dict[str, dict[str, object]]) -> str:
    """Writes the results of all parts, those of earlier runs included, to both files; returns the table."""
    order = [name for name in parts(argparse.Namespace(data=None, megabytes=0)) if name in results]
    rows = [Row(**row) for name in order for row in results[name]["rows"]]  # type: ignore[arg-type,attr-defined]
    RESULTS.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    page = PAGE.read_text(encoding="utf-8")
    before, after = page.split(BEGIN)[0], page.split(END)[1]
    PAGE.write_text(f"{before}{BEGIN}\n{table(rows)}\n{END}{after}", encoding="utf-8")
    return table(rows)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; the exit status is 1 where something that must be reached was not."""
    parser = argparse.ArgumentParser(prog="python -m bench.corpus", description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="the folder of labelled data")
    parser.add_argument("--only", nargs="+", choices=list(parts(argparse.Namespace(data=None, megabytes=0))))
    parser.add_argument("--megabytes", type=float, default=50, help="of text that speed is measured on")
    args = parser.parse_args(argv)
    if not folder(args.data).is_dir():
        sys.stdout.write(f"bench-corpus: skipped, there is no folder {folder(args.data)}; name one with --data.\n")
        return 0
    results = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    for name, measure in parts(args).items():
        if args.only and name not in args.only:
            continue
        started = time.monotonic()
        rows = measure()
        results[name] = {
            "rows": [asdict(row) for row in rows],
            "seconds": round(time.monotonic() - started, 1),
            "machine": f"{platform.machine()}, Python {platform.python_version()}",
        }
        sys.stderr.write(table(rows) + "\n")
        write(results)
    sys.stdout.write(write(results) + "\n")
    return int(any(row["reached"] is False for part in results.values() for row in part["rows"]))


if __name__ == "__main__":
    sys.exit(main())
