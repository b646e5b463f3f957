"""Cards: a few plain sentences about who somebody is, what they have and where, each fact said again and again.

They are the primer of the story world. To keep to the names and things of a text, a model must learn to copy from what
it has read; stories alone, where a name comes back after thirty tokens, teach that to a model of a million parameters
only after many million tokens. In a card it comes back after five, and some hundred thousand tokens do (see LOG.md).
"""

import itertools
import random

from pipeline.world.cast import COLOURS, GENDER, KIND_GENDER, KINDS, NAMES, PLACE_AT, PLACES, THINGS, TRAITS
from pipeline.world.wishes import Wishes

SENTENCES = 6  # of a card

# N, K, A: name, kind and trait; T, C: thing and its colour; P, at: place and the word before it; F, G: a friend.
ABOUT_NAME: tuple[str, ...] = (
    "This is {N} the {K}.", "{N} is a {A} {K}.", "Good morning, {N} the {K}!", "Do you know {N}? {N} is very {A}.",
    "The name of the {A} {K} is {N}.", "Is {N} a {K}? Yes, {N} is a {K}.", "Everybody knows {N} the {A} {K}.",
)  # fmt: skip
ABOUT_FRIEND: tuple[str, ...] = (
    "{N} and {F} are friends.", "{F} the {G} likes {N}, and {N} likes {F}.", "Is {F} here? Yes, {F} the {G} is here.",
    '"Hello, {F}," said {N}. "Hello, {N}," said {F}.', "This is {F}. {F} is a {G}.", "{N} waves at {F} the {G}.",
    "Who is the {G}? The {G} is {F}.",
)  # fmt: skip
ABOUT_THING: tuple[str, ...] = (
    "Look, {N} has a {C} {T}.", "The {T} is {C}.", "The {C} {T} belongs to {N}.", "{F} likes the {C} {T}.",
    "Where is the {T}? {N} has the {T}.", "What is {C}? The {T} of {N} is {C}.", "{N} gave the {T} to {F}.",
)  # fmt: skip
ABOUT_PLACE: tuple[str, ...] = (
    "{N} is {at} the {P}.", "Where is {N} the {K}? {N} is {at} the {P}.", "The {P} is far away.",
    "{F} went to the {P} with {N}.", "{N} loves the {P}.", "Who is {at} the {P}? {F} is {at} the {P}.",
    "The {T} is {at} the {P}.",
)  # fmt: skip
LISTS = (ABOUT_NAME, ABOUT_FRIEND, ABOUT_THING, ABOUT_PLACE)


def card(rng: random.Random) -> tuple[str, Wishes]:
    """A card's text and the facts that it tells."""
    name, friend = rng.sample(NAMES, 2)
    facts = Wishes(
        name=name, kind=kind_for(rng, name), trait=rng.choice(TRAITS), thing=rng.choice(THINGS),
        place=rng.choice(PLACES),
    )  # fmt: skip
    slots = {
        "N": name, "K": facts.kind, "A": facts.trait, "T": facts.thing, "C": rng.choice(COLOURS), "P": facts.place,
        "at": PLACE_AT[str(facts.place)], "F": friend, "G": kind_for(rng, friend),
    }  # fmt: skip
    # The first sentence introduces; of the others each list gives one, and two come from anywhere.
    chosen = [rng.choice(ABOUT_NAME)]
    rest = [rng.choice(sentences) for sentences in LISTS[1:]]
    pool = [sentence for sentences in LISTS for sentence in sentences if sentence not in (*chosen, *rest)]
    rest += rng.sample(pool, SENTENCES - len(chosen) - len(rest))
    rng.shuffle(rest)
    return mend_article(" ".join(chosen + rest).format(**slots)), facts


def kind_for(rng: random.Random, name: str) -> str:
    """A kind that the name may bear: a girl is she, a boy is he."""
    return rng.choice([kind for kind in KINDS if KIND_GENDER.get(kind, GENDER[name]) == GENDER[name]])


def mend_article(text: str) -> str:
    """ "a owl" to "an owl"."""
    words = text.split(" ")
    for i, (word, after) in enumerate(itertools.pairwise(words)):
        if word in ("a", "A") and (after[0] in "aeiou" or after.startswith("honest")):
            words[i] = word + "n"
    return " ".join(words)
