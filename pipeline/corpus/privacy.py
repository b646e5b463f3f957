"""The privacy step: typed placeholders in place of what `pipeline.screen.privacy` finds."""

from datatrove.data import Document

from pipeline.corpus.step import Ledger, Step
from pipeline.screen.privacy import scrub


class Privacy(Step):
    """Replaces what identifies people; drops nothing."""

    name = "privacy"

    def __init__(self, kinds: tuple[str, ...], ledger: Ledger) -> None:
        super().__init__(ledger)
        self.kinds = kinds

    def filter(self, doc: Document) -> bool | tuple[bool, str]:
        """Edits in place."""
        doc.text, counts = scrub(doc.text, self.kinds)
        for kind, count in counts.items():
            self.edited(kind, count)
        return True
