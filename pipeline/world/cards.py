"""Cards: a few plain sentences about who somebody is, what they have and where, each fact said again and again.

They are the primer of the story world. To keep to the names and things of a text, a model must learn to copy from what
it has read; stories alone, where a name comes back after thirty tokens, teach that to a model of a million parameters
only after many million tokens. In a card it comes back after five, and some hundred thousand tokens do (see LOG.md).
"""

import random

from pipeline.world.cast import COLOURS, ENDINGS, FORMS, GENDER, KINDS, NAMES, PLACE_AT, PLACES, THINGS, TRAITS
from pipeline.world.grammar import fit_articles
from pipeline.world.wishes import Wishes

# N, K, A: name, kind and trait; T, C: thing and its colour; P, at: place and the word before it; F, G: a friend and
# that one's kind; E: happy or sad; D: a time of day; he, him, his: the pronouns of N, and fhe, fhim, fhis those of F.
INTRO: tuple[str, ...] = (
    "This is {N}, a {A} {K}.", "Here is {N}, a {A} {K}.", "Once {N} was a {A} {K}.", "Do you know {N}, the {A} {K}?",
    "The name of the {A} {K} is {N}.", "Everybody knows {N}, a {A} {K}.", "Look, there is a {A} {K} named {N}.",
)  # fmt: skip
KIND: tuple[str, ...] = (
    "What is {N}? {N} is a {K}.", "Is {N} a {K}? Yes, {N} is a {K}.", "{N} is a {K} and likes every {K}.",
    "Good day, {N} the {K}!", "Who is the {K}? The {K} is {N}.", "Good morning, {N} the {K}!",
)  # fmt: skip
TRAIT: tuple[str, ...] = (
    "Is {N} {A}? Yes, {N} is very {A}.", "Nobody is as {A} as {N}.", "Everybody says that {N} is {A}.",
    "How {A} {N} is, so very {A}!", "{N} was always {A}, and is {A} still.", "{N} said that {he} was {A}.",
)  # fmt: skip
BOTH: tuple[str, ...] = (
    "{N} is a {A} {K}.", "{N} is what {he} was, a {A} {K}.", "{N}, a {A} {K}, is here with {his} friend.",
    "Nobody knew {N}, a {A} {K}.", "{N} said that {he} was a {A} {K}.", "Now comes {N}, and {he} is a {A} {K}.",
    "A {A} {K} is {N}.", "Where is {N}, the {A} {K}?",
)  # fmt: skip
THING: tuple[str, ...] = (
    "Look, a {T}! {N} has a {C} {T}.", "The {T} is {C}. What a {T}!", "The {C} {T} belongs to {N}.",
    "A {T} is good to have, and {F} likes the {C} {T}.", "Is it a {T}? Yes, it is a {C} {T}.",
    "Where is the {T}? {N} has {his} {T}.", "What is {C}? The {T} is {C}.", "{N} gave the {T} to {F}.",
    "Is this the {T} of {N}? Yes, it is the {C} {T} of {N}.", "What a good {T}! {F} wants a {T} like it.",
)  # fmt: skip
PLACE: tuple[str, ...] = (
    "{N} is {at} the {P}.", "Where is {N}? {N} is {at} the {P}.", "The {P} is far away.", "{N} loves the {P}.",
    "{F} went to the {P} with {N}.", "Who is {at} the {P}? {F} is {at} the {P}.", "See you {at} the {P}, {N}!",
    "Is {F} {at} the {P}? Yes, {F} is {at} the {P}.",
)  # fmt: skip
# Two kinds in one card: which one is meant is told by the name alone.
FRIEND: tuple[str, ...] = (
    "{N} the {K} and {F} the {G} are friends.", "{F} the {G} likes {N}, and {N} likes {F}.",
    "Is {F} here? Yes, {F} the {G} is here.", '"Hello, {F}," said {N}. "Hello, {N}," said {F} the {G}.',
    "{F} said that {fhe} was a {G}.", "Who is the {G}? The {G} is {F}.", "{F} the {G} has a friend with {fhim}.",
    "{N} the {K} waves at {F} the {G}.", "{F} went home, and {fhe} was a {G}.", "Good {D}, {F} the {G}!",
    "{F} the {G} knows {N} the {K}.", '"Yes, {N}," said {F} the {G}. "No, {F}," said {N} the {K}.',
)  # fmt: skip
COMES: tuple[str, ...] = (
    "Here comes {F}, a {G}.", "There is {F}, a {G}.", "{N} met {F}, a {G}.", "{N} sees {F}, a {G}.",
)  # fmt: skip
# How it will end is said early and comes true in the last sentence.
MOOD: tuple[str, ...] = (
    "It is a {E} day.", "This is a {E} {D}.", "The story is {E}.", "Now comes a {E} story.",
)  # fmt: skip
DAY: tuple[str, ...] = (
    "Is the day {E}? Yes, the day is {E}.", "What a {E} {D}! It is a {E} story.",
    "{N} knows a {E} story, a very {E} one.",
)  # fmt: skip
END: tuple[str, ...] = (
    "So the day had a {E} end.", "Then came the {E} end.", "That was the {E} part.", "This is the {E} end.",
)  # fmt: skip
# Every card is about all that a story must keep to, since what the cards leave out is not copied in stories either.
SENTENCES = ((KIND, 1), (TRAIT, 1), (BOTH, 1), (THING, 3), (PLACE, 1), (FRIEND, 2), (DAY, 1))


def card(rng: random.Random) -> tuple[str, Wishes]:
    """A card's text and the facts that it tells: who it is about, a thing, a place and more."""
    name, friend = rng.sample(NAMES, 2)
    facts = Wishes(
        name=name, kind=rng.choice(KINDS), trait=rng.choice(TRAITS), thing=rng.choice(THINGS),
        place=rng.choice(PLACES),
    )  # fmt: skip
    (he, him, his), (fhe, fhim, fhis) = (FORMS[GENDER[who]] for who in (name, friend))
    slots = {
        "N": name, "K": facts.kind, "A": facts.trait, "T": facts.thing, "C": rng.choice(COLOURS), "P": facts.place,
        "at": PLACE_AT[str(facts.place)], "F": friend, "G": rng.choice(KINDS),
        "E": rng.choice(ENDINGS), "D": rng.choice(("morning", "evening")),
        "he": he, "him": him, "his": his, "fhe": fhe, "fhim": fhim, "fhis": fhis,
    }  # fmt: skip
    chosen = [sentence for subject, number in SENTENCES for sentence in rng.sample(subject, number)]
    rng.shuffle(chosen)
    first = [rng.choice(sentences) for sentences in (INTRO, MOOD, COMES)]
    return fit_articles(" ".join([*first, *chosen, rng.choice(END)]).format(**slots)), facts
