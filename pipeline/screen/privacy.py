"""Privacy: what identifies people or opens doors becomes a typed placeholder, `<email>`, `<phone>`, `<card>`, ...

Patterns propose, checks decide: payment cards by issuer and Luhn digit, IBANs by modulus 97, national numbers by their
check digits (all python-stdnum), addresses by `ipaddress`, telephone numbers by form and company. The placeholders
are ordinary text that a byte-level tokenizer learns as two or three tokens; none looks like one of the special tokens
`<|...|>`. Names and postal addresses are not found: that takes a recogniser of names, a hundred times as slow.
"""

import ipaddress
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from stdnum import iban, luhn

from pipeline.screen import national, phone
from pipeline.secrets import spans

# Written out ("anna at tales dot org", "anna [at] tales.org") as well as plain; no space beside a bare @, which would
# take a decorator or a mention for an address.
AT = r"(?:@|[ ]?(?:\[at\]|\(at\))[ ]?|[ ]at[ ](?=[\w-]+(?:[ ]dot[ ][\w-]+)+))"
DOT = r"(?:\.|[ ]?(?:\[dot\]|\(dot\))[ ]?|[ ]dot[ ])"
EMAIL = re.compile(rf"(?<![\w.+-])[a-z0-9][\w.+-]*{AT}(?:[a-z0-9-]+{DOT})+[a-z]{{2,24}}\b", re.IGNORECASE)
SIGNS_OF_EMAIL = ("@", "[at]", "(at)", " dot ")  # one of them is in every text that holds an address

URL = re.compile(r"\b(?:(?:https?|ftp)://|www\d?\.)[^\0\s<>\"'`{}|\\^]+", re.IGNORECASE)
TRAILING = ".,;:!?)]}*_'\""  # marks that end the sentence around an address, not the address

CARD = re.compile(r"(?<![\w.-])(?:\d[ -]?){12,18}\d(?![\w-])(?!\.\d)")
# First digits of the issuers in use (ISO/IEC 7812): Visa, Mastercard, American Express, Diners, Discover, JCB,
# UnionPay, Maestro. Without them one number of sixteen digits in ten would pass.
ISSUER = re.compile(r"4|5[0-8]|2[2-7]|3[0-9]|6[0-9]|18|21")

IBAN = re.compile(r"\b[A-Z]{2}\d{2}(?:[ ]?[A-Z0-9]){11,30}\b", re.IGNORECASE)

IPV4 = re.compile(r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?![\w.]*\w)")
COLONS = re.compile(r":[0-9a-f]{0,4}:[0-9a-f]{0,4}:", re.IGNORECASE)  # three near each other: in every IPV6
IPV6 = re.compile(r"(?<![\w:.])[0-9a-f]{0,4}(?::[0-9a-f]{0,4}){3,7}(?:(?:\.\d{1,3}){3})?(?![\w:])", re.IGNORECASE)
# "version 10.15.7.2", "section 3.2.1.4": four numbers with dots that are no address.
NUMBERING = re.compile(
    r"(?:\b(?:v|ver|versions?|releases?|build|driver|firmware|sections?|chapters?|clauses?|table|figure|appendix|rev)"
    r"\.?|§)\W{0,3}(?:\w+\W)?$",
    re.IGNORECASE,
)
ADDRESS = re.compile(
    r"\b(?:ip|ipv4|address|host|server|dns|gateway|subnet|ping|router|login|proxy)\b\W*(?:\w+\W+){0,4}$", re.IGNORECASE
)
LOW = 32  # four numbers all below it are more often a section than an address, where nothing says which

Spans = Iterator[tuple[int, int]]


@dataclass(frozen=True, kw_only=True)
class Span:
    """A piece of text that identifies somebody."""

    kind: str
    start: int
    end: int


def emails(text: str) -> Spans:
    """Mail addresses, plain and written out."""
    lower = text.lower()
    if any(sign in lower for sign in SIGNS_OF_EMAIL):
        yield from (match.span() for match in EMAIL.finditer(text))


def urls(text: str) -> Spans:
    """Web addresses with a scheme or "www."."""
    for match in URL.finditer(text):
        yield match.start(), match.start() + len(match.group().rstrip(TRAILING))


def cards(text: str, first: int, last: int) -> Spans:
    """Payment cards in text[first:last]."""
    for match in CARD.finditer(text, first, last):
        digits = match.group().replace(" ", "").replace("-", "")
        if ISSUER.match(digits) and luhn.is_valid(digits):
            yield match.span()


def ibans(text: str) -> Spans:
    """Bank accounts. Words that follow are taken up by the pattern; the check says where the number ends."""
    for match in IBAN.finditer(text):
        found = match.group()
        for end in range(len(found), 14, -1):
            if found[end - 1] != " " and iban.is_valid(found[:end], check_country=False):
                if not found[end : end + 1].isalnum():
                    yield match.start(), match.start() + end
                break


def addresses(text: str) -> Spans:
    """Internet addresses of both versions; those of every machine ("127.0.0.1", "::1", "0.0.0.0") identify nobody."""
    found = [*IPV4.finditer(text), *(IPV6.finditer(text) if COLONS.search(text) else ())]
    for match in sorted(found, key=lambda match: match.start()):
        try:
            address = ipaddress.ip_address(match.group())
        except ValueError:
            continue
        if address.is_loopback or address.is_unspecified or not is_address(address, text[: match.start()][-60:]):
            continue
        yield match.span()


def is_address(address: ipaddress.IPv4Address | ipaddress.IPv6Address, before: str) -> bool:
    """Whether it is more likely an address than a slice ("::2") or a section ("7.8.2.1")."""
    if isinstance(address, ipaddress.IPv6Address):
        return sum(bool(part) for part in str(address).split(":")) >= 3
    if NUMBERING.search(before):
        return False
    return any(part >= LOW for part in address.packed) or bool(ADDRESS.search(before))


def secrets(text: str) -> Spans:
    """Access tokens, passwords in addresses and private keys, of overlapping ones the first."""
    at = 0
    for start, end in sorted(spans(text)):
        if start >= at:
            yield start, end
            at = end


def within(finder: Callable[[str, int, int], Spans]) -> Callable[[str], Spans]:
    """A finder that is given the lines that hold a number alone, and the text around them to look at."""

    def find(text: str) -> Spans:
        at = 0
        while number := NUMBER.search(text, at):
            at = text.find("\n", number.end())
            at = len(text) if at < 0 else at
            yield from finder(text, text.rfind("\n", 0, number.start()) + 1, at)

    return find


# Six digits with at most two marks between any two: in every card, national number and telephone number, all of
# which stand on one line. Where the digits are, a text needs to be searched by their many expressions; nowhere else.
NUMBER = re.compile(r"\d(?:[^\n\d]{0,2}\d){5}")

# In this order: what an earlier kind has taken is not looked at by a later one.
KINDS: dict[str, tuple[Callable[[str], Spans], bool]] = {
    # kind: (finder, whether it needs a digit in the text)
    "secret": (secrets, False),
    "url": (urls, False),
    "email": (emails, False),
    "iban": (ibans, True),
    "card": (within(cards), True),
    "ip": (addresses, True),
    "national_id": (within(national.find), True),
    "phone": (within(phone.find), True),
}
DIGITS = re.compile(r"\d[^\n]{0,20}\d")  # two digits near each other: fewer make no number of any kind


def find(text: str, kinds: Iterable[str]) -> list[Span]:
    """Everything of these kinds, in the order of the text, without overlaps."""
    wanted, spans, numbers = set(kinds), list[Span](), DIGITS.search(text) is not None
    for kind, (finder, digits) in KINDS.items():
        if kind not in wanted or (digits and not numbers):
            continue
        if found := [Span(kind=kind, start=start, end=end) for start, end in finder(text)]:
            spans += found
            text = written(text, [(span, "\0" * (span.end - span.start)) for span in found])
    return sorted(spans, key=lambda span: span.start)


def written(text: str, pieces: Iterable[tuple[Span, str]]) -> str:
    """The text with each span replaced by its piece."""
    parts, at = [], 0
    for span, piece in sorted(pieces, key=lambda pair: pair[0].start):
        parts += [text[at : span.start], piece]
        at = span.end
    return "".join(parts) + text[at:]


def scrub(text: str, kinds: tuple[str, ...]) -> tuple[str, dict[str, int]]:
    """The text with placeholders, and how many of each kind were set."""
    spans = find(text, kinds)
    counts = dict.fromkeys(kinds, 0)
    for span in spans:
        counts[span.kind] += 1
    return (written(text, [(span, f"<{span.kind}>") for span in spans]) if spans else text), counts
