"""Cards: a few plain sentences about who somebody is, what they have and where, each fact said again and again.

They are the primer of the story world. To keep to the names and things of a text, a model must learn to copy from what
it has read; stories alone, where a name comes back after thirty tokens, teach that to a model of a million parameters
only after many million tokens. In a card it comes back after five, and some hundred thousand tokens do (see LOG.md).
"""

import itertools
import random

from pipeline.world.cast import COLOURS, GENDER, KIND_GENDER, KINDS, NAMES, PLACE_AT, PLACES, THINGS, TRAITS
from pipeline.world.wishes import Wishes

# N, K, A: name, kind and trait; T, C: thing and its colour; P, at: place and the word before it; F, G: a friend.
INTRO: tuple[str, ...] = (
    "This is {N} the {K}.", "Here is {N}, a {A} {K}.", "Good morning, {N} the {K}!", "Do you know {N} the {K}?",
    "The name of the {A} {K} is {N}.", "Everybody knows {N} the {A} {K}.", "Look, it is {N} the {K}.",
)  # fmt: skip
KIND: tuple[str, ...] = (
    "What is {N}? {N} is a {K}.", "Is {N} a {K}? Yes, {N} is a {K}.", "{N} is a {K} and likes every {K}.",
    "Good day, {N} the {K}!", "A {K} like {N} is a good {K}.", "Who is the {K}? The {K} is {N}.",
)  # fmt: skip
TRAIT: tuple[str, ...] = (
    "Is {N} {A}? Yes, {N} is very {A}.", "Nobody is as {A} as {N}.", "Everybody says that {N} is {A}.",
    "How {A} {N} is, so very {A}!", "{N} was always {A}, and is {A} still.", "A {A} {K} is {N}.",
)  # fmt: skip
THING: tuple[str, ...] = (
    "Look, a {T}! {N} has a {C} {T}.", "The {T} is {C}. What a {T}!", "The {C} {T} belongs to {N}.",
    "A {T} is good to have, and {F} likes the {C} {T}.", "Is it a {T}? Yes, it is a {C} {T}.",
    "Where is the {T}? {N} has the {T}.", "What is {C}? The {T} is {C}.", "{N} gave the {T} to {F}.",
    "Is this the {T} of {N}? Yes, it is the {C} {T} of {N}.", "What a good {T}! {F} wants a {T} like it.",
)  # fmt: skip
PLACE: tuple[str, ...] = (
    "{N} is {at} the {P}.", "Where is {N}? {N} is {at} the {P}.", "The {P} is far away.", "{N} loves the {P}.",
    "{F} went to the {P} with {N}.", "Who is {at} the {P}? {F} is {at} the {P}.", "See you {at} the {P}, {N}!",
    "Is {F} {at} the {P}? Yes, {F} is {at} the {P}.",
)  # fmt: skip
FRIEND: tuple[str, ...] = (
    "{N} and {F} are friends.", "{F} the {G} likes {N}, and {N} likes {F}.", "Is {F} here? Yes, {F} the {G} is here.",
    '"Hello, {F}," said {N}. "Hello, {N}," said {F}.', "This is {F}. {F} is a {G}.", "{N} waves at {F} the {G}.",
    "Who is the {G}? The {G} is {F}.",
)  # fmt: skip
# Every card is about all that a story must keep to, since what the cards leave out is not copied in stories either.
OTHERS = (TRAIT, FRIEND)
SENTENCES = ((KIND, 2), (THING, 3), (PLACE, 2))


def card(rng: random.Random) -> tuple[str, Wishes]:
    """A card's text and the facts that it tells: who it is about, a thing, a place and more."""
    name, friend = rng.sample(NAMES, 2)
    facts = Wishes(
        name=name, kind=kind_for(rng, name), trait=rng.choice(TRAITS), thing=rng.choice(THINGS),
        place=rng.choice(PLACES),
    )  # fmt: skip
    slots = {
        "N": name, "K": facts.kind, "A": facts.trait, "T": facts.thing, "C": rng.choice(COLOURS), "P": facts.place,
        "at": PLACE_AT[str(facts.place)], "F": friend, "G": kind_for(rng, friend),
    }  # fmt: skip
    other = rng.choice(OTHERS)
    chosen = [sentence for subject, number in SENTENCES for sentence in rng.sample(subject, number)]
    chosen.append(rng.choice(other))
    rng.shuffle(chosen)
    return mend_article(" ".join([rng.choice(INTRO), *chosen]).format(**slots)), facts


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
