"""Language: drops documents in other languages than the recipe names, by py3langid, which ships its model.

py3langid 0.4 was the broadest of six identifiers tried (105 languages, 0.94 raw accuracy on 300 to 1,000 characters).
"""

from functools import cache

from datatrove.data import Document
from py3langid.langid import MODEL_FILE, LanguageIdentifier

from pipeline.corpus.step import Ledger, Step
from pipeline.stage import UserError

ENOUGH = 300  # characters from the middle: the time grows with them
SECOND_LOOK = 3_000  # characters on which a document is judged again before it goes: 300 may all be code


@cache
def identifier() -> LanguageIdentifier:
    """The model, loaded once a process."""
    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


def check(languages: tuple[str, ...]) -> None:
    """Raises UserError for a language that the model does not know."""
    known = identifier().labels
    if unknown := [code for code in languages if code not in known]:
        raise UserError(f"corpus.yaml: languages: unknown {', '.join(unknown)}. Known: {' '.join(sorted(known))}.")


def middle(text: str, length: int) -> str:
    """At most `length` characters from the middle: headings and credits stand at the ends."""
    start = max(0, (len(text) - length) // 2)
    return text[start : start + length]


class Language(Step):
    """Keeps documents in `languages`; writes the language found into the metadata."""

    name = "language"

    def __init__(self, languages: tuple[str, ...], ledger: Ledger) -> None:
        super().__init__(ledger)
        self.languages = languages

    def filter(self, doc: Document) -> bool | tuple[bool, str]:
        """Whether the likeliest language is a wanted one."""
        language, probability = identifier().classify(middle(doc.text, ENOUGH))
        if language not in self.languages and len(doc.text) > ENOUGH:
            language, probability = identifier().classify(middle(doc.text, SECOND_LOOK))
        doc.metadata["language"] = language
        doc.metadata.setdefault("scores", {})["language"] = round(float(probability), 4)
        return True if language in self.languages else (False, "language")
