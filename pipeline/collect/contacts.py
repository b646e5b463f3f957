"""Invented mail addresses and phone numbers, and sentences that carry them.

Hosts end in the reserved names of RFC 2606; numbers come, where a country has them, from the ranges that its regulator
keeps for fiction (Ofcom's drama numbers, 555-01xx, ...), so that nobody's telephone rings.
"""

import random

EMAIL_PLACEHOLDER = "<email>"
PHONE_PLACEHOLDER = "<phone>"

FIRST = (
    "anna", "ben", "carla", "david", "emma", "felix", "greta", "henry", "ida", "jonas", "klara", "leo", "maria",
    "nils", "olga", "paul", "rosa", "sven", "tina",
)  # fmt: skip
LAST = (
    "baker", "miller", "fischer", "novak", "silva", "moreau", "jensen", "rossi", "kowalski", "smith", "hansen",
    "murphy", "weber", "lind", "costa",
)  # fmt: skip
HOSTS = (
    "example.com", "example.org", "example.net", "mail.example.com", "post.example.org", "storymail.example",
    "kinder-post.example", "letters.example", "office.tale-house.example", "web2.example",
)  # fmt: skip

# "#" is any digit.
PHONES = (
    "+1 (202) 555-01##", "(303) 555-01##", "415-555-01##", "+1-604-555-01##", "212.555.01##", "+1 416 555 01##",
    "+44 20 7946 0###", "020 7946 0###", "(0161) 496 0###", "07700 900###", "+44 7700 900###", "01632 960###",
    "+49 30 23125 ###", "030/23125###", "030 23125-###", "+49 (0)171 39200##", "0171-39200##", "+49 40 66969###",
    "01 99 00 ## ##", "+33 1 99 00 ## ##", "06 39 98 ## ##", "01.99.00.##.##", "+33 6 39 98 ## ##",
    "(02) 5550 ####", "+61 2 5550 ####", "0491 570 ###", "+61 491 570 ###",
    "+46 8 465 004 ##", "08-465 004 ##", "031-390 06 ##", "+353 20 91# ####", "020 91# ####",
    "+36 55 785 ###",
    "+48 22 5## ## ##", "+34 91# ### ###", "+39 06 #### ####", "+31 20 5## ####", "0031 20 5## ## ##",
)  # fmt: skip

EMAIL_LINES = (
    "You can write to {first} at {contact} if you liked this story.",
    "This story was sent in by {first} ({contact}).",
    "For more stories, send a letter to {contact}.",
    "{first} says: write to {contact} and tell me your own story.",
    "If you know how it goes on, please mail {contact}.",
    "Send pictures of your pets to {contact}, please.",
    "Contact: {contact}",
    "Told by {first}, {contact}.",
)
PHONE_LINES = (
    "You can call {first} on {contact} if you liked this story.",
    "For more stories, ring {contact} in the evening.",
    "The library can be reached on {contact}.",
    "{first} says: call me on {contact} and tell me your own story.",
    "If you find a lost pet, please call {contact}.",
    "Phone: {contact}",
    "Told by {first}, telephone {contact}.",
    "To hear this story read aloud, dial {contact}.",
)


def email(rng: random.Random) -> str:
    """A mail address in one of the forms that people use."""
    first, last = rng.choice(FIRST), rng.choice(LAST)
    number = rng.randint(1, 99)
    local = rng.choice(
        (
            f"{first}.{last}",
            f"{first}{number}",
            f"{first[0]}{last}",
            f"{first}_{last}",
            f"{last}-{first}",
            f"{first}.{last}+stories",
            f"{first.title()}.{last.title()}",
            f"{last}{number:02d}",
            f"{first}.{last[0]}",
        )
    )
    return f"{local}@{rng.choice(HOSTS)}"


def phone(rng: random.Random) -> str:
    """A phone number in one of the forms that several countries use."""
    return "".join(str(rng.randint(0, 9)) if sign == "#" else sign for sign in rng.choice(PHONES))


def email_line(rng: random.Random) -> tuple[str, str]:
    """A sentence with a mail address, and the address."""
    contact = email(rng)
    return rng.choice(EMAIL_LINES).format(first=rng.choice(FIRST).title(), contact=contact), contact


def phone_line(rng: random.Random) -> tuple[str, str]:
    """A sentence with a phone number, and the number."""
    contact = phone(rng)
    return rng.choice(PHONE_LINES).format(first=rng.choice(FIRST).title(), contact=contact), contact
