"""Certificates: a benchmark counts only where the corpus was searched for its items, or the recipe says why not.

Reads collect/evaluation/<benchmark>.jsonl (the items that were searched for) and corpus/certificates/<benchmark>.json.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.stage import UserError

PROMPTS = "evaluation prompts"  # of a collect that names no items to search for


def check(
    collect: Path | None, corpus: Path | None, uncertified: str | None, tasks: Sequence[str] = ()
) -> list[dict[str, Any]]:
    """One {"benchmark", "status", "reason", "certificate"} a benchmark; certified, uncertified or not certifiable.

    The benchmarks are those of collect's evaluation prompts, where these are answered, and the tasks by name. Raises
    UserError for a benchmark without a certificate where the recipe gives no reason, and for a reason that nothing
    needs.
    """
    benchmarks = sorted(path.stem for path in (collect / "evaluation").glob("*.jsonl")) if collect else []
    if collect and not benchmarks:
        benchmarks = [PROMPTS]
    benchmarks += [name for name in tasks if name not in benchmarks]
    if corpus is None:
        reason = "the run has no corpus, so what its models were trained on is not known here"
        return [
            {"benchmark": name, "status": "not certifiable", "reason": reason, "certificate": None}
            for name in benchmarks
        ]
    found = {name: corpus / "certificates" / f"{name}.json" for name in benchmarks}
    missing = [name for name, path in found.items() if not path.is_file()]
    if missing and uncertified is None:
        raise UserError(
            f"evaluate: no certificate in {corpus / 'certificates'} for {', '.join(missing)}: the corpus was "
            f"not searched for these items, so a good figure may be recall. Let collect write "
            f"evaluation/<benchmark>.jsonl and build the corpus again, or say why it counts all the same: "
            f"uncertified: '<reason in words>' in evaluate.yaml."
        )
    if uncertified is not None and not missing:
        raise UserError(
            "evaluate.yaml: uncertified gives a reason, but the corpus holds a certificate for every benchmark "
            f"({', '.join(benchmarks)}). Remove the key."
        )
    certified = [
        {
            "benchmark": name,
            "status": "certified",
            "reason": None,
            "certificate": json.loads(path.read_text(encoding="utf-8")),
        }
        for name, path in found.items()
        if name not in missing
    ]
    return certified + [
        {"benchmark": name, "status": "uncertified", "reason": uncertified, "certificate": None} for name in missing
    ]
