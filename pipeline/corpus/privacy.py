"""Privacy: mail addresses and telephone numbers become typed placeholders, `<email>` and `<phone>`.

The placeholders are ordinary text that a byte-level tokenizer learns as two or three tokens; none looks like one of
the special tokens `<|...|>`.
"""

import re

from datatrove.data import Document

from pipeline.corpus.step import Ledger, Step

# Written out ("anna at tales dot org", "anna [at] tales.org") as well as plain; no space beside a bare @, which would
# take a decorator or a mention for an address.
AT = r"(?:@|[ ]?(?:\[at\]|\(at\))[ ]?|[ ]at[ ](?=[\w-]+(?:[ ]dot[ ][\w-]+)+))"
DOT = r"(?:\.|[ ]?(?:\[dot\]|\(dot\))[ ]?|[ ]dot[ ])"
EMAIL = re.compile(rf"(?<![\w.+-])[a-z0-9][\w.+-]*{AT}(?:[a-z0-9-]+{DOT})+[a-z]{{2,24}}\b", re.IGNORECASE)
# Digits in groups. Whether they are a telephone number is settled by form, count and company in `is_phone`.
NUMBER = re.compile(
    r"(?<![\w.,/$€£-])(?:(?:\+|00)\d{1,3}[ .-]?)?(?:\(\d{1,5}\)[ .-]?)?\d{2,5}(?:/\d{4,9}|(?:[ .-]?\d{2,5}){0,5})"
    r"(?![\w/-])(?![.,]\d)"
)
FORMS = re.compile(
    r"\d{3}([-. ])\d{3,4}\1\d{3,4}"  # 555-010-4477
    r"|\d{3}-\d{4}"
    r"|0\d{1,4}[-/ ]\d{3,9}(?:[- ]?\d{2,5}){0,2}"  # 0301 555 7788, 030/23125286, 031-390 06 05
    r"|0\d(?:([ .-])\d{2})(?:\2\d{2}){3}"  # 01.99.00.48.19
)
CALL = re.compile(
    r"\b(?:call|calling|phone|telephone|tel|mobile|cell|fax|ring|dial|text|sms|whatsapp|hotline|reach|reached|contact)\b"
    r"\W*(?:\w+\W+){0,4}$",
    re.IGNORECASE,
)
DIGIT = re.compile(r"\d")
DATE = re.compile(r"\d{4}-\d{2}-\d{2}|\d{1,2}\.\d{1,2}\.\d{4}")


def is_phone(found: str, before: str) -> bool:
    """Whether a run of digits is a telephone number: international form, grouped like one, or said to be one."""
    digits = re.sub(r"\D", "", found)
    if not 7 <= len(digits) <= 15 or DATE.fullmatch(found):
        return False
    if found.startswith(("+", "(")) or FORMS.fullmatch(found):
        return True
    return bool(CALL.search(before[-60:]))


def scrub(text: str, types: tuple[str, ...]) -> tuple[str, dict[str, int]]:
    """The text with placeholders, and how many of each type were set."""
    counts = dict.fromkeys(types, 0)
    if "email" in types:
        text, counts["email"] = EMAIL.subn("<email>", text)
    if "phone" in types and DIGIT.search(text):

        def replace(match: re.Match[str]) -> str:
            if not is_phone(match.group(), text[: match.start()]):
                return match.group()
            counts["phone"] += 1
            return "<phone>"

        text = NUMBER.sub(replace, text)
    return text, counts


class Privacy(Step):
    """Replaces what identifies people; drops nothing."""

    name = "privacy"

    def __init__(self, types: tuple[str, ...], ledger: Ledger) -> None:
        super().__init__(ledger)
        self.types = types

    def filter(self, doc: Document) -> bool | tuple[bool, str]:
        """Edits in place."""
        doc.text, counts = scrub(doc.text, self.types)
        for kind, count in counts.items():
            self.edited(kind, count)
        return True
