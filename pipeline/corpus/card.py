"""The corpus card, card.md: what is in the corpus, what was taken out, and what is known about its quality.

Reads the finished shards, the funnel, the certificates and the stage's metrics.
"""

import json
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.render import environment

RECALL = "planted_recall_"


def sources(corpus: Path) -> list[dict[str, Any]]:
    """{source, language, licence, documents, bytes, tokens} of each combination, the largest first."""
    keys = ("source", "language", "licence")
    totals: dict[tuple[str, ...], list[int]] = defaultdict(lambda: [0, 0, 0])
    for path in sorted([*corpus.glob("train/*.parquet"), *corpus.glob("heldout/*.parquet")]):
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(columns=[*keys, "text", "token_estimate"]):
                sizes = pc.binary_length(batch["text"]).to_pylist()
                names = zip(*(batch[key].to_pylist() for key in keys), strict=True)
                for name, size, tokens in zip(names, sizes, batch["token_estimate"].to_pylist(), strict=True):
                    total = totals[tuple(part or "unknown" for part in name)]
                    total[0], total[1], total[2] = total[0] + 1, total[1] + size, total[2] + tokens
    return [
        {**dict(zip(keys, name, strict=True)), "documents": count, "bytes": size, "tokens": tokens}
        for name, (count, size, tokens) in sorted(totals.items(), key=lambda item: (-item[1][1], item[0]))
    ]


def counts(found: Mapping[str, int]) -> str:
    """`email 3, phone 1`; the commonest first."""
    ordered = sorted(found.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{name.replace('_', ' ')} {number:,}" for name, number in ordered if number)


def split_note(dedup: Mapping[str, Any], heldout_share: float) -> str:
    """What may stand on both sides of the held-out split by the recipe's `dedup`; "" where nothing may."""
    if dedup["near"] is not None or not heldout_share:
        return ""
    kind = "near-copies" if dedup["exact"] else "copies"
    return (
        f"Its {kind} were not looked for (`dedup.near: null`): some may stand in `train` and in `heldout`, and what "
        "is measured on `heldout` may be learnt by heart."
    )


def write(corpus: Path, run: str, seed: int, metrics: Mapping[str, float], note: str) -> None:
    """Writes card.md beside the shards. note: `split_note`'s."""
    templates = environment(Path(__file__).parent, html=False)
    templates.filters["counts"] = counts
    kinds = sorted(key for key in metrics if key.startswith(RECALL) and f"{key}_n" in metrics)
    parts = ("low", "high", "n")
    text = templates.get_template("card.md.jinja").render(
        run=run,
        seed=seed,
        note=note,
        read=int(metrics["documents_read"]),
        kept=int(metrics["documents_kept"]),
        heldout=int(metrics["documents_heldout"]),
        dropped=int(sum(value for key, value in metrics.items() if key.startswith("dropped_"))),
        lost=int(metrics["documents_lost"]),
        sources=sources(corpus),
        funnel=json.loads((corpus / "funnel.json").read_text(encoding="utf-8")),
        certificates=[json.loads(path.read_bytes()) for path in sorted((corpus / "certificates").glob("*.json"))],
        recall=[
            {
                "kind": key.removeprefix(RECALL).replace("_", " "),
                "value": metrics[key],
                **{part: metrics[f"{key}_{part}"] for part in parts},
            }
            for key in kinds
        ],
        clean_lost=metrics.get("clean_lost"),
    )
    (corpus / "card.md").write_text(text, encoding="utf-8")
