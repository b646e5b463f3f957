"""Certificates: a benchmark counts only where what the models learnt from was searched for its items.

Reads collect/evaluation/<benchmark>.jsonl (the items) and certificates/<benchmark>.json of the corpus and of every
stage whose conversations, prompts or pairs the models were trained on. Certificates are matched by the benchmark's
name and by the sha256 of its items, so one whose items changed afterwards is not certified; and the questions that are
asked must be among these items, so that a name alone certifies nothing.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.artifact import sha256
from pipeline.chain import SCREENED
from pipeline.evaluate.covered import uncovered
from pipeline.stage import UserError

Questions = Callable[[str], Iterable[Sequence[str]]]  # of a named benchmark; asked for where it has its certificates

PROMPTS = "evaluation prompts"  # of a collect that names no items to search for


def searched(inputs: Mapping[str, Path]) -> dict[str, Path]:
    """Those of evaluate's inputs that must hold certificates; of a base recipe's too, whose models stand beside."""
    return {key: folder for key, folder in inputs.items() if key.rpartition("/")[2] in SCREENED}


def check(
    collect: Path | None,
    inputs: Mapping[str, Path],
    uncertified: str | None,
    named: Sequence[str],
    answered: bool,
    questions: Questions | None = None,
) -> list[dict[str, Any]]:
    """One {"benchmark", "status", "reason", "certificates"} a benchmark; certified, uncertified or not certifiable.

    The benchmarks are those of collect's evaluation prompts, where these are `answered`, and the named ones.
    certificates: {stage: its certificate}. questions: those of a named benchmark, which its items must cover. Raises
    UserError for a benchmark that one of the stages was not searched for and the recipe gives no reason, and for a
    reason that nothing needs.
    """
    benchmarks = collected(collect) if collect and answered else []
    benchmarks += [name for name in named if name not in benchmarks]
    if "corpus" not in inputs:
        reason = "the run has no corpus, so what its models were trained on is not known here"
        return [
            {"benchmark": name, "status": "not certifiable", "reason": reason, "certificates": {}}
            for name in benchmarks
        ]
    rows, faults = [], list[str]()
    for name in benchmarks:
        found, lacking = certificates(name, collect, searched(inputs))
        if collect and questions and name in named and not lacking:
            fault = uncovered(collect / "evaluation" / f"{name}.jsonl", questions(name))
            lacking = [fault] if fault else []
        faults += [f"{name}: {fault}" for fault in lacking]
        status = "uncertified" if lacking else "certified"
        rows.append(
            {
                "benchmark": name,
                "status": status,
                "reason": uncertified if lacking else None,
                "certificates": found,
            }
        )
    if faults and uncertified is None:
        raise UserError(
            f"evaluate: {'; '.join(faults)}. So a good figure may be recall. Let collect write all questions of the "
            "benchmark as evaluation/<benchmark>.jsonl and build these again (with decontaminate_ngram set), or "
            "say why it counts all the same: uncertified: '<reason in words>' in evaluate.yaml."
        )
    if uncertified is not None and not faults:
        raise UserError(
            "evaluate.yaml: uncertified gives a reason, but there is a certificate for every benchmark "
            f"({', '.join(benchmarks)}). Remove the key."
        )
    return rows


def collected(collect: Path) -> list[str]:
    """The benchmarks whose items collect holds."""
    return sorted(path.stem for path in (collect / "evaluation").glob("*.jsonl")) or [PROMPTS]


def certificates(
    benchmark: str, collect: Path | None, stages: Mapping[str, Path]
) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """{stage: certificate} of a benchmark, and what speaks against the others, in words."""
    items = collect / "evaluation" / f"{benchmark}.jsonl" if collect else None
    now = sha256(items) if items and items.is_file() else None
    found, lacking = {}, []
    for stage, folder in stages.items():
        path = folder / "certificates" / f"{benchmark}.json"
        if not path.is_file():
            lacking.append(f"no certificate in {folder / 'certificates'} of what {stage} was made from")
            continue
        certificate = json.loads(path.read_text(encoding="utf-8"))
        if certificate.get("items_sha256") != now:
            changed = "are not in collect/evaluation" if now is None else "have changed since"
            lacking.append(f"the certificate {path} does not count, for its items {changed}")
            continue
        found[stage] = certificate
    return found, lacking
