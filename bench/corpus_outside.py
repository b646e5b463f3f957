"""Privacy out of sample: numbers made by the public formats of many countries, in sentences not used for tuning.

Telephone numbers as national numbering plans write them, IBANs by the registry's lengths, cards by issuer, addresses
of both versions. Each kind is planted twice: with a word that says what it is (in several languages), and bare between
two words, where a reader would often not know either. Sentences: news (mrpc) and sums (gsm8k); found in them
unplanted counts as false.
"""

import ipaddress
import random
import re
import string
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

from bench.corpus_data import Row, jsonl_of, only, text_of
from bench.corpus_privacy import Tally, tally
from pipeline.screen import privacy
from pipeline.screen.privacy import Span

NUM_EACH = 400  # planted of a kind, said and bare each
NUM_CLEAN = 4_000  # sentences with nothing planted
KINDS = ("phone", "iban", "card", "ip", "email")
# "#" is any digit, "N" one from 2 to 9.
PHONES = {
    "US": "(NN#) N##-####|NN#-N##-####|NN#.N##.####|+1 NN# N## ####|1-NN#-N##-####|NN# N## ####",
    "GB": "020 7### ####|0161 ### ####|07### ######|+44 20 7### ####|+44 (0)20 7### ####|+447#########",
    "DE": "030 ########|089/#######|0151 ########|+49 151 ########|+49 (0)89 ######|040-#######",
    "FR": "01 ## ## ## ##|06.##.##.##.##|+33 1 ## ## ## ##|+33 (0)6 ## ## ## ##|06########",
    "IT": "06 ########|02 #### ####|347 #######|+39 06 ########|+39 347 ### ####",
    "ES": "91# ### ###|6## ## ## ##|+34 6## ### ###|9## ## ## ##",
    "NL": "020-### ####|06-########|06 ## ## ## ##|+31 6 ########|+31 20 ### ####",
    "BE": "02 ### ## ##|0470 ## ## ##|+32 470 ## ## ##",
    "CH": "044 ### ## ##|079 ### ## ##|+41 44 ### ## ##",
    "AT": "01 #######|0664 #######|+43 664 #######",
    "SE": "08-### ### ##|070-### ## ##|+46 70 ### ## ##",
    "NO": "NN ## ## ##|9## ## ###|+47 9## ## ###",
    "DK": "NN ## ## ##|+45 NN ## ## ##",
    "PL": "N## ### ###|22 ### ## ##|+48 N## ### ###",
    "CZ": "7## ### ###|+420 7## ### ###",
    "RU": "8 (495) ###-##-##|+7 495 ###-##-##|8-9##-###-##-##",
    "JP": "03-####-####|090-####-####|+81 3-####-####",
    "CN": "010-########|138 #### ####|+86 139 #### ####|138########",
    "IN": "022-########|9#### #####|+91 9#### #####|9#########",
    "AU": "(02) #### ####|04## ### ###|+61 4## ### ###",
    "BR": "(11) 9####-####|(21) ####-####|+55 11 9####-####",
    "ZA": "011 ### ####|082 ### ####|+27 82 ### ####",
    "KR": "02-###-####|010-####-####|+82 10-####-####",
    "TR": "0212 ### ## ##|0532 ### ## ##|+90 212 ### ## ##",
}
# Country -> form behind the two check digits: n digits, a capital letters, c both (the IBAN registry).
IBANS = dict(
    re.findall(
        r"(\w+):(\w+)",
        "DE:n18 GB:a4n14 FR:n10c11n2 IT:a1n10c12 ES:n20 NL:a4n10 BE:n12 AT:n16 CH:n5c12 SE:n20 NO:n11 DK:n14 FI:n14 "
        "PL:n24 PT:n21 IE:a4n14 CZ:n20 HU:n24 GR:n7c16 TR:n5n1c16 MT:a4n5c18 SA:n2c18 AE:n19 BR:n23a1c1 LC:a4c24 "
        "RO:a4c16 LU:n3c13",
    )
)
# Issuer -> (first digits, length, groups).
CARDS = {
    "Visa": (("4",), 16, (4, 4, 4, 4)),
    "Mastercard": (("51", "55", "2221", "2720"), 16, (4, 4, 4, 4)),
    "American Express": (("34", "37"), 15, (4, 6, 5)),
    "Discover": (("6011", "65"), 16, (4, 4, 4, 4)),
    "Diners": (("36", "38"), 14, (4, 6, 4)),
    "JCB": (("3528", "3589"), 16, (4, 4, 4, 4)),
    "UnionPay": (("62",), 19, (6, 13)),
    "Maestro": (("5018", "6304"), 16, (4, 4, 4, 4)),
    "Mir": (("2200", "2204"), 16, (4, 4, 4, 4)),
    "Troy": (("9792",), 16, (4, 4, 4, 4)),
}
SAID = {
    "phone": ("Tel. {}", "Phone: {}", "Call {} for details.", "Enquiries: {}", "Please ring {} before noon.", "Fax {}",
              "My mobile is {}.", "Telefon {}", "Tél. : {}", "Teléfono: {}", "Bookings on {}.", "WhatsApp {}"),
    "iban": ("IBAN {}", "Please pay to {}.", "Account: {}", "Kontonummer {}.", "(IBAN: {})"),
    "card": ("Card number {}.", "Paid with {}.", "Visa: {}", "cc {}, expires soon", "Kreditkarte {}"),
    "ip": ("Connection from {} refused.", "Server: {}", "ping {}", "client={} status=404", "inet {}"),
    "email": ("Write to {}.", "Contact: {}", "From: <{}>", "mailto:{}", "E-Mail: {}"),
}  # fmt: skip


def some(alphabet: str, count: int, rng: random.Random) -> str:
    """So many characters."""
    return "".join(rng.choices(alphabet, k=count))


def phone(rng: random.Random) -> tuple[str, str]:
    """(number, country)."""
    country = rng.choice(sorted(PHONES))
    form = rng.choice(PHONES[country].split("|"))
    return re.sub("[#N]", lambda m: rng.choice("0123456789" if m[0] == "#" else "23456789"), form), country


def iban(rng: random.Random) -> tuple[str, str]:
    """(account with its two check digits, country); whole, in fours, or in small letters."""
    country = rng.choice(sorted(IBANS))
    alphabets = {"n": string.digits, "a": string.ascii_uppercase, "c": string.digits + string.ascii_uppercase}
    account = "".join(
        some(alphabets[kind], int(count), rng) for kind, count in re.findall(r"([nac])(\d+)", IBANS[country])
    )
    # ISO 7064, modulus 97: letters count from A = 10, the country comes behind the account.
    number = int("".join(str(int(char, 36)) for char in f"{account}{country}00"))
    plain = f"{country}{98 - number % 97:02d}{account}"
    return rng.choice((plain, " ".join(re.findall(".{1,4}", plain)), plain.lower())), country


def card(rng: random.Random) -> tuple[str, str]:
    """(number with its Luhn digit, issuer); whole, or in the issuer's groups."""
    issuer = rng.choice(sorted(CARDS))
    prefixes, length, groups = CARDS[issuer]
    digits = rng.choice(prefixes)
    digits += some(string.digits, length - 1 - len(digits), rng)
    doubled = [int(digit) * (2 if at % 2 == 0 else 1) for at, digit in enumerate(reversed(digits))]
    digits += str(-sum(value // 10 + value % 10 for value in doubled) % 10)
    starts = [sum(groups[:at]) for at in range(len(groups) + 1)]
    parts = [digits[a:b] for a, b in pairwise(starts)]
    return rng.choice(("", " ", "-")).join(parts), issuer


def ip(rng: random.Random) -> tuple[str, str]:
    """(address, version); version 6 in full, shortened, with zeros."""
    if rng.random() < 0.5:
        return ".".join(str(rng.randrange(1, 255)) for _ in range(4)), "4"
    bits = rng.getrandbits(128) & ~(0xFFFFFFFF << 32 * rng.randrange(3)) & (1 << 125) - 1 | 0b001 << 125
    address = ipaddress.IPv6Address(bits)
    return rng.choice((str(address), address.exploded, str(address).upper())), "6"


def email(rng: random.Random) -> tuple[str, str]:
    """(address, its form)."""
    name, host = some(string.ascii_lowercase, 6, rng), some(string.ascii_lowercase, 7, rng)
    forms = {
        "plain": f"{name}@{host}.com",
        "dotted": f"{name}.{host}@{host}.co.uk",
        "tagged": f"{name}+list@{host}.org",
        "subdomain": f"{name}_9@mail.{host}-net.de",
        "capitals": f"{name.upper()}@{host.title()}.EDU",
        "apostrophe": f"o'{name}@{host}.ie",
        "punycode": f"{name}@xn--{host}-kva.fr",
        "long ending": f"{name}@{host}.photography",
    }
    form = rng.choice(sorted(forms))
    return forms[form], form


MAKERS: dict[str, Callable[[random.Random], tuple[str, str]]] = {
    "phone": phone, "iban": iban, "card": card, "ip": ip, "email": email,
}  # fmt: skip


def sentences(data: Path) -> list[str]:
    """News and sums."""
    lines = text_of(only(data, "mrpc/*train*")).splitlines()[1:]
    news = [line.split("\t")[3] for line in lines if line.count("\t") >= 4]
    return news + [row["question"] for row in jsonl_of(only(data, "gsm8k_train/*.jsonl*"))]


def planted(texts: list[str], number: int, said: bool, rng: random.Random) -> Iterator[tuple[str, Span, str]]:
    """(text, the span, its form), so many of every kind."""
    for kind in KINDS:
        for _ in range(number):
            value, form = MAKERS[kind](rng)
            text = rng.choice(texts)
            if said:
                before, after = rng.choice(SAID[kind]).split("{}")
                before = f"{text} {before}"
            else:
                at = rng.choice([match.end() for match in re.finditer(" ", text)] or [0])
                before, after = text[:at], f" {text[at:]}"
            start = len(before)
            yield before + value + after, Span(kind=kind, start=start, end=start + len(value)), form


def missed(cases: list[tuple[str, Span, str]], count: Callable[[list[tuple[str, Span, str]]], Tally]) -> str:
    """The forms found least, those below 0.9 only."""
    groups: dict[str, list[tuple[str, Span, str]]] = {}
    for case in cases:
        groups.setdefault(f"{case[1].kind} {case[2]}", []).append(case)
    shares = {name: count(group).hits.total() / len(group) for name, group in groups.items()}
    worst = sorted((share, name) for name, share in shares.items() if share < 0.9)[:8]
    return ", ".join(f"{name} {share:.2f}" for share, name in worst)


def measure(data: Path, number: int = NUM_EACH, num_clean: int = NUM_CLEAN) -> list[Row]:
    """Recall where a word says it and bare, precision, and false hits in sentences with nothing planted."""
    rng, texts = random.Random(2), sentences(data)

    def count(cases: list[tuple[str, Span, str]]) -> Tally:
        return tally(([span], privacy.find(text, KINDS)) for text, span, _ in cases)

    rows, found, right = [], 0, 0
    for said, what in ((True, "with a word that says what it is"), (False, "bare between two words")):
        cases = list(planted(texts, number, said, rng))
        counts = count(cases)
        found, right = found + counts.found.total(), right + counts.right.total()
        rows.append(
            Row(
                what=f"privacy out of sample, recall a type, {what}",
                on=f"{number} of each, {len(PHONES)} countries' telephones, {len(IBANS)} countries' accounts, "
                f"{len(CARDS)} issuers",
                value=", ".join(f"{kind} {counts.hits[kind] / n:.3f}" for kind, n in counts.gold.items()),
                beside=f"found least: {worst}" if (worst := missed(cases, count)) else "no form below 0.90",
            )
        )
    clean = rng.sample(texts, min(num_clean, len(texts)))
    false = tally(([], privacy.find(text, KINDS)) for text in clean).found
    rows.append(
        Row(
            what="privacy out of sample, precision",
            on=f"the same; {len(clean):,} sentences of news and sums with nothing planted",
            value=f"{right / max(1, found):.3f} where planted; {false.total()} false in the others",
            beside=", ".join(f"{kind} {n}" for kind, n in false.most_common()),
        )
    )
    return rows
