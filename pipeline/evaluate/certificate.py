"""Certificates: a benchmark counts only where the corpus was searched for its items, or the recipe says why not.

Reads collect/evaluation/<benchmark>.jsonl (the items that were searched for) and corpus/certificates/<benchmark>.json.
"""

import json
from pathlib import Path
from typing import Any

from pipeline.stage import UserError


def check(collect: Path, corpus: Path | None, uncertified: str | None) -> list[dict[str, Any]]:
    """One {"benchmark", "status", "reason", "certificate"} a benchmark; certified, uncertified or not certifiable.

    Raises UserError for a benchmark without a certificate where the recipe gives no reason, and for a reason that
    nothing needs.
    """
    benchmarks = sorted(path.stem for path in (collect / "evaluation").glob("*.jsonl"))
    if corpus is None:
        reason = "the run has no corpus, so what its models were trained on is not known here"
        return [
            {"benchmark": name, "status": "not certifiable", "reason": reason, "certificate": None}
            for name in benchmarks or ["evaluation prompts"]
        ]
    found = {name: corpus / "certificates" / f"{name}.json" for name in benchmarks}
    missing = [name for name, path in found.items() if not path.is_file()]
    if not benchmarks:
        missing = ["evaluation prompts"]
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
