"""Language: drops documents in other languages than the recipe names. Both models ship with their libraries.

CLD2 (C++, 20,000 documents/s) looks first; where it is sure, that settles it. Else py3langid (3,000/s, 140 labels)
judges. Together they are faster than the second alone and better than either: CLD2 knows more scripts, py3langid more
languages. English that scores low may be a creole that CLD2 does not know, so it is looked at twice. A recipe may
name a fastText model instead (lid.176.bin, GlotLID's model.bin): `language_model: path`.
"""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import fasttext
import pycld2
from datatrove.data import Document
from py3langid.langid import MODEL_FILE, LanguageIdentifier

from pipeline.corpus.step import Ledger, Step
from pipeline.stage import UserError

ENOUGH = 300  # characters from the middle: the time grows with them
SECOND_LOOK = 3_000  # characters on which a document is judged again before it goes: 300 may all be code
SURE_PERCENT = 90  # of the text in one language, as CLD2 counts it
PLAIN_ENGLISH = 1150  # CLD2's score (per 1,024 bytes) of the fifth of English that is least like English
CODES = {"iw": "he", "jw": "jv", "zh-Hant": "zh", "fil": "tl", "in": "id", "gn": "gug"}  # CLD2's names, py3langid's

Identify = Callable[[str], tuple[str, float]]


@cache
def langid() -> LanguageIdentifier:
    """py3langid's model, loaded once a process."""
    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


def identify(text: str) -> tuple[str, float]:
    """(ISO 639 code, probability) by the two models; the probability is CLD2's share of the text where it was sure."""
    try:
        reliable, _, ((_, code, percent, score), *_) = pycld2.detect(text)
    except (pycld2.error, UnicodeEncodeError):  # characters that CLD2 refuses, or that UTF-8 cannot hold
        reliable, code, percent, score = False, "un", 0, 0.0
    code = CODES.get(code, code)
    sure = reliable and percent >= SURE_PERCENT and code in langid().labels
    if sure and (code != "en" or score >= PLAIN_ENGLISH):
        return code, percent / 100
    found, probability = langid().classify(text)
    return found, float(probability)


@cache
def fasttext_identifier(path: Path) -> Identify:
    """A fastText model's verdicts. GlotLID's labels carry a script ("eng_Latn"), which is left out."""
    model = fasttext.load_model(str(path))

    def by_fasttext(text: str) -> tuple[str, float]:
        labels, probabilities = model.predict(text.replace("\n", " "))
        return code_of(labels[0]), min(1.0, float(probabilities[0]))

    return by_fasttext


def code_of(label: str) -> str:
    """The language of a fastText label."""
    return label.removeprefix("__label__").partition("_")[0]


def check(languages: tuple[str, ...], model: Path | None) -> None:
    """Raises UserError for a language that the model does not know, and for a model that is none."""
    known = set(langid().labels)
    if model is not None:
        if not model.is_file():
            raise UserError(f"corpus.yaml: language_model: there is no file {model}. Give a fastText model, or null.")
        try:
            known = {code_of(label) for label in fasttext.load_model(str(model)).get_labels()}
        except ValueError as error:
            raise UserError(f"corpus.yaml: language_model: {model} is no fastText model ({error}).") from None
    if unknown := [code for code in languages if code not in known]:
        raise UserError(f"corpus.yaml: languages: unknown {', '.join(unknown)}. Known: {' '.join(sorted(known))}.")


def middle(text: str, length: int) -> str:
    """At most `length` characters from the middle: headings and credits stand at the ends."""
    start = max(0, (len(text) - length) // 2)
    return text[start : start + length]


class Language(Step):
    """Keeps documents in `languages`; writes the language found into the metadata."""

    name = "language"

    def __init__(self, languages: tuple[str, ...], model: Path | None, ledger: Ledger) -> None:
        super().__init__(ledger)
        self.languages = languages
        self.model = model

    def filter(self, doc: Document) -> bool | tuple[bool, str]:
        """Whether the likeliest language is a wanted one."""
        verdict = identify if self.model is None else fasttext_identifier(self.model)
        language, probability = verdict(middle(doc.text, ENOUGH))
        if language not in self.languages and len(doc.text) > ENOUGH:
            language, probability = verdict(middle(doc.text, SECOND_LOOK))
        doc.metadata["language"] = language
        doc.metadata.setdefault("scores", {})["language"] = round(probability, 4)
        return True if language in self.languages else (False, "language")
