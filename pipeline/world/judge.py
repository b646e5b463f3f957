"""The gold judge: what a careful reader would say of a story, as a pure function of its text and the wishes.

It knows the words of the world and nothing of how the text came about, so that it reads a model's stories as it reads
the generator's. It stands for people's taste in this project; no training ever sees its score.

The score is the weighted mean of five parts, each in [0, 1]: the share of the wishes that are met (weight 0.50),
consistent facts (0.20), well-formed text (0.15), no repetition (0.10), length (0.05). A part loses PENALTY for each of
its defects. Without wishes the other four are weighted alone.
"""

import re
from collections import Counter
from dataclasses import dataclass
from operator import eq

from pipeline.world.cast import COLOURS, GENDER, KINDS, NAMES, PLACES, THINGS, TRAITS
from pipeline.world.lexicon import MOOD
from pipeline.world.story import WORD, vocabulary
from pipeline.world.wishes import Wishes

SHORTEST, LONGEST = 40, 160  # words
WEIGHTS: dict[str, float] = {"wishes": 0.50, "facts": 0.20, "form": 0.15, "repetition": 0.10, "length": 0.05}
PENALTY = 0.35  # of a part, for each defect in it

CLOSERS: tuple[str, ...] = (
    "from that day on", "from then on", "in the end", "and so", "at last", "that night", "that evening", "ever since",
    "to this day", "at bedtime", "at sunset", "at dusk", "in the happy end", "in the sad end",
)  # fmt: skip
HAPPY_WORDS: frozenset[str] = frozenset(MOOD["gladf"]) | frozenset(
    ["happy", "smile", "smiled", "laughed", "joy", "cheered", "cheer", "hugged", "hug", "grinned", "danced"]
)
SAD_WORDS: frozenset[str] = frozenset(MOOD["sadf"]) | frozenset(
    ["sad", "cried", "wept", "tears", "sighed", "alone", "sorry", "gone", "lost", "never", "forgotten", "late"]
)
_FORMS = {"she": ("she", "her", "hers", "herself"), "he": ("he", "him", "his", "himself")}
PRONOUNS: dict[str, str] = {
    written: gender for gender, forms in _FORMS.items() for form in forms for written in (form, form.capitalize())
}
DETERMINERS: frozenset[str] = frozenset({"a", "an", "the"})
# Words that cannot follow an article: the commonest trace of a sentence that lost its thread.
NEVER_AFTER_ARTICLE: frozenset[str] = frozenset(
    [
        "a",
        "an",
        "the",
        "and",
        "or",
        "of",
        "to",
        "was",
        "were",
        "is",
        "had",
        "at",
        "in",
        "on",
        "with",
        "for",
        "from",
        "he",
        "she",
        "his",
        "her",
        "him",
        "they",
        "it",
        "but",
        "so",
        "that",
        "who",
    ]
)

SENTENCE_END = re.compile(r'(?<=[.!?])\s+(?=["A-Z])|(?<=[.!?]")\s+(?=["A-Z])')
STRANGE = re.compile(r"[^A-Za-z ,.!?:;'\"\n-]")
LOWER_START = re.compile(r"(?:^|[.!?] )\"?[a-z]")
STICKING = re.compile(r"  |\s[,.!?;:]|[,.!?;:]{2}|[,;:](?=[A-Za-z])|[.!?](?=[A-Za-z])")
# One to four words and then the same again, with nothing but a space between.
DOUBLED = re.compile(r"\b([A-Za-z'-]+(?: [A-Za-z'-]+){0,3}),? \1\b", re.IGNORECASE)
# How the story says it will end, or that its end has come.
PROMISE = re.compile(
    r"\b(happy|sad) (?:story|tale|end|part)\b|\b(?:end|story|tale) (?:is|turned|grew|became) (happy|sad)\b"
)
KIND_THEN_NAME = re.compile(r"\b([a-z]+) (?:named|called) ([A-Z][a-z]+)\b")
NAME_THEN_KIND = re.compile(r"\b([A-Z][a-z]+)(,? (?:was )?an?| the)((?: [a-z-]+){1,3})\b")
_NAMES, _KINDS, _THINGS = frozenset(NAMES), frozenset(KINDS), frozenset(THINGS)
_LOWER_NAMES = frozenset(name.lower() for name in NAMES)
_PLACES, _TRAITS, _COLOURS = frozenset(PLACES), frozenset(TRAITS), frozenset(COLOURS)


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What the judge found; `reasons` names each defect and each unmet wish in words."""

    score: float
    wishes_met: bool
    facts_consistent: bool
    well_formed: bool
    no_repetition: bool
    length_ok: bool
    reasons: tuple[str, ...]

    @property
    def defect_free(self) -> bool:
        """Nothing to complain of: every wish met and every part without a defect."""
        return not self.reasons


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What the judge reads from a text: its words, who is who, and which facts it names."""

    text: str
    words: list[str]
    lower: list[str]
    sentences: list[str]
    kinds: dict[str, str]  # name -> the kind it was introduced with, the main character first
    introduced_at: dict[str, int]  # name -> character offset of the introduction
    twice: tuple[str, ...]  # names introduced with two kinds
    things: list[str]  # the different ones, in the order of the text
    places: list[str]
    traits: list[str]
    ending: str | None


def read(text: str) -> Reading:
    """The facts that the text states, by the lexicon alone."""
    text = text.strip()
    words = WORD.findall(text)
    lower = [word.lower() for word in words]
    named = [(m.start(), m[2], m[1], True) for m in KIND_THEN_NAME.finditer(text)]
    for m in NAME_THEN_KIND.finditer(text):
        kind = next((word for word in m[3].split() if word in _KINDS), "")
        named.append((m.start(), m[1], kind, m[2] != " the"))
    kinds: dict[str, str] = {}
    introduced_at: dict[str, int] = {}
    twice: list[str] = []
    # "Mia the fox" only says again what an introduction has said: it can contradict one, and cannot replace it.
    for at, name, kind, introduces in sorted(found for found in named if found[1] in _NAMES and found[2] in _KINDS):
        if introduces:
            introduced_at.setdefault(name, at)
            kinds.setdefault(name, kind)
        if kinds.get(name, kind) != kind:
            twice.append(name)
    sentences = [sentence for sentence in SENTENCE_END.split(text) if sentence]
    return Reading(
        text=text, words=words, lower=lower, sentences=sentences, kinds=kinds, introduced_at=introduced_at,
        twice=tuple(twice), things=_in_order(_THINGS, lower), places=_in_order(_PLACES, lower),
        traits=_in_order(_TRAITS, lower),
        ending=ending_of(sentences[-1]) if sentences else None,
    )  # fmt: skip


def _in_order(values: frozenset[str], lower: list[str]) -> list[str]:
    return sorted(values.intersection(lower), key=lower.index)


def ending_of(sentence: str) -> str | None:
    """The mood of a closing sentence, None where it is not one."""
    if not sentence.lower().startswith(CLOSERS):
        return None
    words = {word.lower() for word in WORD.findall(sentence)}
    happy, sad = bool(words & HAPPY_WORDS), bool(words & SAD_WORDS)
    if happy == sad:
        return None
    return "happy" if happy else "sad"


def judge(text: str, wishes: Wishes | None = None) -> Judgement:
    """The judgement of a story. Pure: the same text and wishes give the same judgement."""
    reading = read(text)
    unmet = unmet_wishes(reading, wishes) if wishes else ()
    facts, form, repetition = fact_defects(reading), form_defects(reading), repetition_defects(reading)
    length = len(reading.words)
    length_ok = SHORTEST <= length <= LONGEST
    length_reasons = () if length_ok else (f"length: {length} words, not {SHORTEST} to {LONGEST}",)
    parts = {
        "facts": max(0.0, 1 - PENALTY * len(facts)),
        "form": max(0.0, 1 - PENALTY * len(form)),
        "repetition": max(0.0, 1 - PENALTY * len(repetition)),
        "length": 1.0 if length_ok else min(length / SHORTEST, LONGEST / max(length, 1)),
    }
    if wishes and (given := len(wishes.given())):
        parts["wishes"] = 1 - len(unmet) / given
    return Judgement(
        score=sum(WEIGHTS[part] * value for part, value in parts.items()) / sum(WEIGHTS[part] for part in parts),
        wishes_met=not unmet,
        facts_consistent=not facts,
        well_formed=not form,
        no_repetition=not repetition,
        length_ok=length_ok,
        reasons=(*unmet, *facts, *form, *repetition, *length_reasons),
    )


def unmet_wishes(reading: Reading, wishes: Wishes) -> tuple[str, ...]:
    """A reason for every wish that the story does not meet. The main character is the first one introduced."""
    main = next(iter(reading.kinds), None)
    told = {
        "name": main,
        "kind": reading.kinds.get(main) if main else None,
        "trait": next(iter(reading.traits), None),
        "thing": next(iter(reading.things), None),
        "place": next(iter(reading.places), None),
        "ending": reading.ending,
    }
    return tuple(
        f"wish: {field} should be {wished}, the story has {told[field] or 'none'}"
        for field, wished in wishes.given().items()
        if told[field] != wished
    )


def fact_defects(reading: Reading) -> tuple[str, ...]:
    """Contradictions: strangers, two kinds for one name, a second thing, place, trait or colour, a wrong pronoun."""
    reasons = [f"facts: {name} has two kinds" for name in reading.twice]
    known = set(reading.kinds.values())
    for name in _in_order(_NAMES, reading.words):
        if name not in reading.introduced_at:
            reasons.append(f"facts: {name} was never introduced")
        elif reading.text.index(name) < reading.introduced_at[name]:
            reasons.append(f"facts: {name} acts before being introduced")
    for kind in _in_order(_KINDS - known, reading.lower):
        reasons.append(f"facts: there is no {kind} in the story")
    for field, values in (("thing", reading.things), ("place", reading.places), ("trait", reading.traits)):
        if not values and field != "trait":
            reasons.append(f"facts: no {field} is named")
        if len(values) > 1:
            reasons.append(f"facts: the {field} changes: {', '.join(values)}")
    colours = set()
    if len(_COLOURS.intersection(reading.lower)) > 1:
        colours = {a for a, b in zip(reading.lower, reading.lower[1:], strict=False) if b in _THINGS and a in _COLOURS}
    if len(colours) > 1:
        reasons.append(f"facts: the colour changes: {', '.join(sorted(colours))}")
    if wrong := _wrong_pronoun(reading.words):
        reasons.append(wrong)
    return tuple(reasons)


def _wrong_pronoun(words: list[str]) -> str | None:
    """A pronoun means the character named last before it; the first one that does not fit is the reason."""
    last = None
    for word in words:
        if word in GENDER:
            last = word
        elif word in PRONOUNS and (last is None or GENDER[last] != PRONOUNS[word]):
            return f"facts: pronoun '{word}' after {last or 'nobody'}"
    return None


def form_defects(reading: Reading) -> tuple[str, ...]:
    """What is wrong with the text as a text: opening, ending, cut sentences, quotes, words, articles."""
    text, reasons = reading.text, []
    # Names are words with their capital only, so they are looked up as written and all others in small letters.
    unknown = set(reading.lower) - vocabulary() - _LOWER_NAMES
    unknown |= {word for word in _LOWER_NAMES.intersection(reading.lower) if word.capitalize() not in reading.words}
    reasons += [f"form: unknown word '{word}'" for word in sorted(unknown)]
    if strange := STRANGE.search(text):
        reasons.append(f"form: strange character {strange[0]!r}")
    main = next(iter(reading.kinds), None)
    if main is None or not reading.sentences or main not in reading.sentences[0]:
        reasons.append("form: the first sentence introduces nobody")
    if not text.endswith((".", "!", "?", '."', '!"', '?"')):
        reasons.append("form: the text breaks off")
    elif reading.ending is None:
        reasons.append("form: no closing sentence")
    paragraphs = [paragraph.strip() for paragraph in text.split("\n") if paragraph.strip()]
    if any(paragraph.count('"') % 2 for paragraph in paragraphs):
        reasons.append("form: a quotation mark has no partner")
    if any(not paragraph.endswith((".", "!", "?", '"')) for paragraph in paragraphs[:-1]):
        reasons.append("form: a paragraph breaks off")
    if any(LOWER_START.search(paragraph) for paragraph in paragraphs):
        reasons.append("form: a sentence begins with a small letter")
    if stuck := STICKING.search(text):
        reasons.append(f"form: punctuation goes wrong at {stuck[0]!r}")
    if reading.ending and paragraphs and _moods_clash(paragraphs[-1], reading.ending):
        reasons.append(f"form: the last paragraph does not fit a {reading.ending} ending")
    if reading.ending and any(reading.ending not in found for found in PROMISE.findall(text.lower())):
        reasons.append(f"form: not the {reading.ending} ending that was promised")
    reasons += _article_defects(reading.lower)
    return tuple(reasons)


def _moods_clash(paragraph: str, ending: str) -> bool:
    words = {word.lower() for word in WORD.findall(paragraph)}
    return bool(words & (SAD_WORDS if ending == "happy" else HAPPY_WORDS))


def _article_defects(lower: list[str]) -> list[str]:
    reasons = []
    following = [(word, lower[at + 1]) for at, word in enumerate(lower[:-1]) if word in DETERMINERS]
    for article, word in following:
        if word in NEVER_AFTER_ARTICLE or (
            article in ("a", "an") and (article == "an") != (word[0] in "aeiou" or word == "honest")
        ):
            reasons.append(f"form: '{article} {word}'")
    return reasons


def repetition_defects(reading: Reading) -> tuple[str, ...]:
    """Repeated sentences, phrases said twice in a row, four words that come three times."""
    reasons = []
    told = Counter(sentence.lower() for sentence in reading.sentences if sentence.count(" ") >= 3)
    reasons += [f"repetition: '{sentence}' comes {n} times" for sentence, n in told.items() if n > 1]
    lower = reading.lower
    # The search in the text is slow, so the words are asked first: do `size` words in a row equal the ones after them?
    doubled = any(b"\1" * size in bytes(map(eq, lower, lower[size:])) for size in (1, 2, 3, 4))
    if doubled and (found := DOUBLED.search(reading.text)):
        reasons.append(f"repetition: '{found[1]}' twice in a row")
    runs = Counter(zip(lower, lower[1:], lower[2:], lower[3:], strict=False))
    if len(runs) < len(lower) - 4:  # at least two runs come again
        reasons += [f"repetition: '{' '.join(run)}' comes {n} times" for run, n in runs.items() if n > 2]
    return tuple(reasons)
