"""Telephone numbers: digits in groups that have a number's form, or stand beside a word that says what they are."""

import re
from collections.abc import Iterator

EXTENSION = r"(?:[ ]?(?:x|ext\.?)[ ]?\d{1,6})?"
# Digits in groups. Whether they are a telephone number is settled by form, count and company in `is_phone`.
NUMBER = re.compile(
    r"(?<![\w./$€£-])(?<!\d,)(?:(?:\+|00)\d{1,3}[ .-]?|1[ .-](?=\(?\d{3}\)?[ .-]\d{3}[ .-]\d{4}))?"
    r"(?:\(\d{1,5}\)[ .-]?)?"
    rf"\d{{2,7}}(?:/\d{{4,9}}|(?:[ .-]?\d{{2,6}}){{0,5}}){EXTENSION}(?![\w/]|-\d)(?![.,]\d)"
)
FORMS = re.compile(
    r"(?:(?:001|1)[-. ])?\d{3}([-. ])\d{3}\1\d{4}"  # 555-010-4477, 1-800-555-0199
    r"|(?:1[-. ])?\([2-9]\d\d\)[-. ]?\d{3}[-. ]?\d{4}"  # (541) 754-3010
    r"|\d{3}([- ])\d{4}\2\d{4}"
    r"|555-\d{4}|[2-9]\d\d-0\d{3}"  # 212-0134; what could be a range ("pages 500-1000") needs a word beside it
    r"|00\d{1,3}[ -]\d{1,4}(?:[ -]\d{2,4}){2,4}"  # 0031 20 555 12 12
    r"|0\d{1,4}[-/ ]\d{3,9}(?:[- ]?\d{2,5}){0,2}"  # 0301 555 7788, 030/23125286, 031-390 06 05
    r"|0\d(?:([ .-])\d{2})(?:\3\d{2}){3}"  # 01.99.00.48.19
    r"|\(0\d{1,4}\)[-. /]?\d{2,9}(?:[-. ]\d{2,5}){0,3}"  # (0161) 496 0123
    r"|\(\d\d\)[ ]?\d{4,5}[- ]\d{4}"  # (11) 91234-5678
)
# "most recent call last" stands in every traceback.
SAYS_SO = r"call(?:s|ed|ing)?(?! last\b)|(?:tele)?phone|tel|mobile|cell|fax|ring|dial|text|sms|whatsapp|hotline"
SAID = rf"\b(?:{SAYS_SO}|reach(?:ed)?|contact|answering|office)\b\W*"
BEFORE = re.compile(rf"{SAID}(?:\w+\W+){{0,4}}$", re.IGNORECASE)
RIGHT_BEFORE = re.compile(rf"{SAID}(?:\w+\W+)?$", re.IGNORECASE)
SAID_OUTRIGHT = re.compile(rf"\b(?:{SAYS_SO})\b\W*(?:\w+\W+)?$", re.IGNORECASE)
AFTER = re.compile(
    r"[ ]?[-(,:]?[ ]?(?:office|fax|mobile|cell|telephone|phone|tel|home|work|switchboard|hotline)\b", re.IGNORECASE
)
REACH = 60  # characters before a number in which such a word counts
DATE = re.compile(  # a day, or years: "1987-1991"
    r"\d{4}-\d{2}-\d{2}(?:[ ]\d{2})?|\d{1,2}\.\d{1,2}\.\d{4}|(?:1[4-9]|20)\d\d[-/ ](?:1[4-9]|20)\d\d"
)
RANGE = re.compile(r"(\d{3})-([1-9]\d{3})")  # "500-1000 people", "pages 150-1200"
YEAR = re.compile(r"\((?:1[4-9]|20)\d\d\)")  # "Phys. Rev. Lett. (1998) 80 1234"
NOT_DIGIT = re.compile(r"\D")
EXTENDED = re.compile(r"[ ]?(?:x|ext)", re.IGNORECASE)


def is_phone(found: str, before: str, after: str) -> bool:
    """Whether a run of digits is a telephone number: international form, grouped like one, or said to be one."""
    number = EXTENDED.split(found)[0]
    digits = NOT_DIGIT.sub("", number)
    if not 6 <= len(digits) <= 15 or DATE.fullmatch(number):
        return False
    if AFTER.match(after):
        return True
    if len(digits) == 6:  # short numbers of small countries: only where nothing else can be meant
        return bool(RIGHT_BEFORE.search(before))
    if (pages := RANGE.fullmatch(number)) and int(pages[2]) > int(pages[1]) and pages[1] != "555":
        return bool(SAID_OUTRIGHT.search(before))
    if number.startswith("+") or FORMS.fullmatch(number):
        return True
    return not YEAR.match(number) and bool(BEFORE.search(before))


def find(text: str, first: int, last: int) -> Iterator[tuple[int, int]]:
    """(start, end) of every telephone number in text[first:last]."""
    for match in NUMBER.finditer(text, first, last):
        start, end = match.span()
        if end - start >= 6 and is_phone(match.group(), text[max(0, start - REACH) : start], text[end : end + 16]):
            yield start, end
