"""The decontamination step: drops documents that hold items of the benchmarks that collect names."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from datatrove.data import Document

from pipeline.corpus.step import Ledger, Step
from pipeline.screen import leaks


class Decontaminate(Step):
    """Drops documents that leak an item, for the reason `leak_<benchmark>`; the ledger also keeps the passages,
    one of each benchmark."""

    name = "decontaminate"

    def __init__(self, paths: tuple[Path, ...], n: int, privacy: tuple[str, ...], ledger: Ledger) -> None:
        super().__init__(ledger)
        self.searched = paths, n, privacy

    def filter(self, doc: Document) -> bool | tuple[bool, str]:
        """Whether the document is free of items."""
        matches = leaks.load(*self.searched).find(doc.text)
        if not matches:
            return True
        doc.metadata["matches"] = [asdict(match) for match in matches]
        return False, f"leak_{matches[0].benchmark}"


class MatchLedger(Ledger):
    """A ledger whose lines also say what matched."""

    def row(self, document: Document) -> dict[str, Any]:
        """The ledger's line and the matches."""
        return {**super().row(document), "matches": document.metadata["matches"]}
