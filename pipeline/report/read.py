"""What the report takes from the artifacts: manifests, the funnel, samples, logs. What is absent is None."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from pipeline.artifact import manifest
from pipeline.chain import BY_NAME
from pipeline.shown import figures


@dataclass(frozen=True, kw_only=True)
class Sealed:
    """A stage's artifact as the page shows it."""

    name: str
    folder: Path
    manifest: dict[str, Any]

    @property
    def metrics(self) -> dict[str, float]:
        """The flat metrics."""
        return self.manifest["metrics"]

    def json(self, file: str) -> Any:
        """A JSON file of the artifact; None where there is none."""
        path = self.folder / file
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None

    def rows(self, file: str, most: int | None = None) -> list[dict[str, Any]]:
        """The objects of a JSONL file, [] where there is none."""
        path = self.folder / file
        if not path.is_file():
            return []
        with path.open(encoding="utf-8") as lines:
            return [json.loads(line) for line in islice(lines, most)]


def stages(inputs: Mapping[str, Path], names: tuple[str, ...]) -> dict[str, Sealed | None]:
    """Every stage by name; None where the run leaves it out. Of the optional ones only those that it has."""
    found: dict[str, Sealed | None] = {}
    for name in names:
        sealed = manifest(inputs[name]) if name in inputs else None
        if sealed is not None:
            found[name] = Sealed(name=name, folder=inputs[name], manifest=sealed)
        elif not BY_NAME[name].optional:
            found[name] = None
    return found


def with_interval(metrics: Mapping[str, float], prefix: str) -> list[dict[str, Any]]:
    """The rows of `figures` under a prefix, which is cut off, that have an interval."""
    return [
        {**row, "name": row["name"].removeprefix(prefix)}
        for row in figures(metrics)
        if row["name"].startswith(prefix) and row["low"] is not None
    ]


def dropped(corpus: Sealed, most: int, num_characters: int) -> list[dict[str, Any]]:
    """Up to `most` examples for each reason, as {reason, texts}, in the order in which the reasons appear."""
    examples: dict[str, list[str]] = {}
    for row in corpus.rows("dropped.jsonl"):
        texts = examples.setdefault(row["reason"], [])
        if len(texts) < most and row["text"]:
            texts.append(cut(row["text"], num_characters))
    return [{"reason": reason, "texts": texts} for reason, texts in examples.items() if texts]


def cut(text: str, num_characters: int) -> str:
    """The text's beginning, with a sign where it was cut."""
    return text if len(text) <= num_characters else text[:num_characters].rstrip() + " [...]"
