"""What a user wishes of a story, and which split a combination of wishes belongs to.

A wish is a value of one of six fields, or None where the user leaves it open. `split_of` puts every combination of
(name, kind, thing, place) on one side by its hash, so that what is evaluated was never trained on as a combination.
"""

import hashlib
import random
from dataclasses import asdict, dataclass, fields
from typing import Any

from pipeline.world.cast import ENDINGS, KINDS, NAMES, PLACES, THINGS, TRAITS

VALUES: dict[str, tuple[str, ...]] = {
    "name": NAMES, "kind": KINDS, "trait": TRAITS, "thing": THINGS, "place": PLACES, "ending": ENDINGS,
}  # fmt: skip
SPLITS: tuple[str, ...] = ("train", "preferences", "rl", "evaluate")
# The upper ends of the splits, in per mille of the hash: 70, 12, 8 and 10 per cent.
SPLIT_BOUNDS: tuple[tuple[str, int], ...] = (("train", 700), ("preferences", 820), ("rl", 900), ("evaluate", 1000))


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """The wished values; None means that anything will do. Raises ValueError for a value that the world lacks."""

    name: str | None = None
    kind: str | None = None
    trait: str | None = None
    thing: str | None = None
    place: str | None = None
    ending: str | None = None

    def __post_init__(self) -> None:
        for field, value in self.given().items():
            if value not in VALUES[field]:
                raise ValueError(f"wish {field}={value!r}: the story world knows {', '.join(VALUES[field])}")

    def to_dict(self) -> dict[str, str | None]:
        """All six fields, None where nothing is wished."""
        return asdict(self)

    def given(self) -> dict[str, str]:
        """The wished fields only, in the order of the class."""
        values = ((field, getattr(self, field)) for field in VALUES)
        return {field: value for field, value in values if value is not None}

    @staticmethod
    def from_dict(values: dict[str, Any]) -> "Wishes":
        """The inverse of to_dict. Missing keys are open wishes; an unknown key raises ValueError."""
        known = {field.name for field in fields(Wishes)}
        if unknown := sorted(set(values) - known):
            raise ValueError(f"wishes: unknown field {unknown[0]!r}; known are {', '.join(sorted(known))}")
        return Wishes(**values)


def draw_wishes(rng: random.Random) -> Wishes:
    """A user's wishes: three to five of the six fields."""
    count = rng.choices((3, 4, 5), weights=(25, 35, 40))[0]
    chosen = set(rng.sample(sorted(VALUES), count))
    values = {field: rng.choice(VALUES[field]) for field in VALUES if field in chosen}
    return Wishes(**values)


def split_of(wishes: Wishes) -> str:
    """The split of this combination of name, kind, thing and place (trait and ending don't count): one of SPLITS."""
    combination = "/".join(value or "-" for value in (wishes.name, wishes.kind, wishes.thing, wishes.place))
    digest = hashlib.blake2b(combination.encode(), digest_size=8, person=b"world").digest()
    share = int.from_bytes(digest, "big") % 1000
    return next(split for split, bound in SPLIT_BOUNDS if share < bound)
