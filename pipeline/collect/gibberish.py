"""Documents that say nothing: random letters, shuffled characters, symbols, codes, a cat on the keyboard."""

import random
import string
from collections.abc import Callable

KEYBOARD = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
SYMBOLS = "#@%&*=+~^|<>{}[]/\\_$!?;:"


def document(rng: random.Random, story: str) -> str:
    """One of the kinds, drawn evenly. `story` is what the kind with shuffled characters spoils."""
    return rng.choice(KINDS)(rng, story)


def random_letters(rng: random.Random, story: str) -> str:
    """Words of letters that all come equally often."""
    return _words(rng, lambda: "".join(rng.choices(string.ascii_lowercase, k=rng.randint(2, 11))))


def shuffled_characters(rng: random.Random, story: str) -> str:
    """A story with all of its characters out of order."""
    return "".join(rng.sample(story, len(story))).strip()


def shuffled_words(rng: random.Random, story: str) -> str:
    """A story with the letters of each word out of order."""
    return " ".join("".join(rng.sample(word, len(word))) for word in story.split())


def symbol_noise(rng: random.Random, story: str) -> str:
    """Mostly symbols, a few letters and digits."""
    signs = SYMBOLS * 3 + string.ascii_letters + string.digits
    return _words(rng, lambda: "".join(rng.choices(signs, k=rng.randint(1, 12))))


def codes(rng: random.Random, story: str) -> str:
    """Hexadecimal and base-64-like blocks, as left by a broken download."""
    signs = rng.choice(("0123456789abcdef", string.ascii_letters + string.digits + "+/"))
    width = rng.choice((16, 32, 64))
    return "\n".join("".join(rng.choices(signs, k=width)) for _ in range(rng.randint(8, 20)))


def keyboard_mash(rng: random.Random, story: str) -> str:
    """Runs of neighbouring keys."""

    def run() -> str:
        row = rng.choice(KEYBOARD)
        return "".join(rng.choices(row, k=rng.randint(3, 9))) + rng.choice(("", ";", ";l", rng.choice(row) * 3))

    return _words(rng, run)


def _words(rng: random.Random, word: Callable[[], str]) -> str:
    return " ".join(word() for _ in range(rng.randint(40, 120)))


KINDS: tuple[Callable[[random.Random, str], str], ...] = (
    random_letters, shuffled_characters, shuffled_words, symbol_noise, codes, keyboard_mash,
)  # fmt: skip
