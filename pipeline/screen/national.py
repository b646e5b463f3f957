"""National identity numbers: found by their form, confirmed by their check digits (python-stdnum).

A form that ordinary numbers share (eleven digits, say) also needs a word beside it that names the number.
"""

import importlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from types import ModuleType

NAMED = re.compile(
    r"\b(?:ssn|social security|national|identity|identification|personal|insurance|citizen|tax|passport|pesel|bsn|"
    r"burgerservicenummer|nir|cpr|id(?:entity)? (?:no|number|card)|steuer-?id|idnr|aadha+r|uid)\b\W*(?:\w+\W+){0,4}$",
    re.IGNORECASE,
)
REACH = 60  # characters before a number in which such a word counts


@dataclass(frozen=True, kw_only=True)
class Form:
    """One country's number. module: of stdnum, None where there is no check digit; named: needs a word beside it."""

    pattern: re.Pattern[str]
    module: str | None = None
    named: bool = False


def form(pattern: str, module: str | None = None, named: bool = False) -> Form:
    """A form that stands on its own, not inside a longer number or word."""
    return Form(pattern=re.compile(rf"(?<![\w.-])(?:{pattern})(?![\w-])(?!\.\d)"), module=module, named=named)


FORMS = (
    form(r"\d{3}-\d{2}-\d{4}", "us.ssn"),
    form(r"\d{3} ?\d{2} ?\d{4}", "us.ssn", named=True),
    # National Insurance, United Kingdom: no check digit, but a form that nothing else has.
    form(r"(?!BG|GB|KN|NK|NT|TN|ZZ)[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] ?\d\d ?\d\d ?\d\d ?[A-D]"),
    form(r"[12] ?\d\d ?(?:0[1-9]|1[0-2]) ?(?:\d\d|2[AB]) ?\d{3} ?\d{3} ?\d\d", "fr.nir"),
    form(r"(?i:[A-Z]{6}\d\d[A-EHLMPRST]\d\d[A-Z]\d{3}[A-Z])", "it.codicefiscale"),
    form(r"\d{8}-?[A-HJ-NP-TV-Z]", "es.dni"),
    form(r"[XYZ]-?\d{7}-?[A-Z]", "es.nie"),
    form(r"\d{6}[-+A]\d{3}[0-9A-Y]", "fi.hetu"),
    form(r"(?:19|20)?\d{6}[-+]\d{4}", "se.personnummer"),
    form(r"756\.\d{4}\.\d{4}\.\d{2}", "ch.ssn"),
    form(r"\d{3}\.\d{3}\.\d{3}-\d{2}", "br.cpf"),
    form(r"\d{1,2}\.\d{3}\.\d{3}-[\dkK]", "cl.rut"),
    form(r"[1-9]\d{5}(?:19|20)\d{9}[\dX]", "cn.ric"),
    form(r"\d{6}-[1-8]\d{6}", "kr.rrn"),
    form(r"[2-9]\d{3}[ -]?\d{4}[ -]?\d{4}", "in_.aadhaar", named=True),
    form(r"\d{11}", "pl.pesel", named=True),
    form(r"\d{2} ?\d{3} ?\d{3} ?\d{3}", "de.idnr", named=True),
    form(r"\d{11}", "no.fodselsnummer", named=True),
    form(r"\d{9}", "nl.bsn", named=True),
    form(r"\d{13}", "za.idnr", named=True),
)  # fmt: skip


@cache
def checker(module: str) -> ModuleType:
    """A module of stdnum, loaded when its form is first met."""
    return importlib.import_module(f"stdnum.{module}")


def find(text: str, first: int, last: int) -> Iterator[tuple[int, int]]:
    """(start, end) of every national identity number in text[first:last]; the first form that fits wins."""
    taken: list[tuple[int, int]] = []
    for one in FORMS:
        for match in one.pattern.finditer(text, first, last):
            start, end = match.span()
            if any(start < b and a < end for a, b in taken):
                continue
            if one.named and not NAMED.search(text[max(0, start - REACH) : start]):
                continue
            if one.module is None or checker(one.module).is_valid(match.group().replace(" ", "")):
                taken.append((start, end))
                yield start, end
