"""The decontamination step: drops documents that hold items of the benchmarks that collect names."""

from pathlib import Path
from typing import Any

from datatrove.data import Document

from pipeline.corpus.step import Ledger, Step
from pipeline.screen import leaks


class Decontaminate(Step):
    """Drops documents that leak an item, for the reason `leak_<benchmark>`; the ledger also keeps the passage."""

    name = "decontaminate"

    def __init__(self, paths: tuple[Path, ...], n: int, ledger: Ledger) -> None:
        super().__init__(ledger)
        self.paths = paths
        self.n = n

    def filter(self, doc: Document) -> bool | tuple[bool, str]:
        """Whether the document is free of items."""
        match = leaks.load(self.paths, self.n).find(doc.text)
        if match is None:
            return True
        doc.metadata["match"] = {"benchmark": match.benchmark, "item": match.item, "passage": match.passage}
        return False, f"leak_{match.benchmark}"


class MatchLedger(Ledger):
    """A ledger whose lines also say what matched."""

    def row(self, document: Document) -> dict[str, Any]:
        """The ledger's line and the match."""
        return {**super().row(document), "match": document.metadata["match"]}
