"""What conversations, prompts and pairs are searched for before a model sees them: a section of three recipes.

Imports nothing heavy, since recipes do.
"""

from pydantic import Field, field_validator

from pipeline.stage import Section

PRIVACY_TYPES = ("email", "phone", "ip", "card", "iban", "national_id", "secret", "url")
# Addresses of pages ("url") are left by default: they name a place, not a person.
PRIVACY = PRIVACY_TYPES[:-1]
NGRAM = 13  # words


def known_types(value: tuple[str, ...]) -> tuple[str, ...]:
    """The types. Raises ValueError for one that there is no pattern for."""
    if unknown := sorted(set(value) - set(PRIVACY_TYPES)):
        raise ValueError(f"unknown {', '.join(unknown)}; accepted: {', '.join(PRIVACY_TYPES)}")
    return value


class Screen(Section):
    """The corpus's privacy and decontamination steps, for chat data.

    privacy: what becomes a placeholder (`<email>`); an empty list leaves the texts alone.
    decontaminate_ngram: words in a row, in common with an item of collect's evaluation/, for which a row is dropped;
        null searches for none, and then `evaluate` refuses the benchmark unless its recipe says why it counts.
    """

    privacy: tuple[str, ...] = PRIVACY
    decontaminate_ngram: int | None = Field(default=NGRAM, ge=4)

    _known = field_validator("privacy")(known_types)
