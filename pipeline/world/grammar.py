"""Templates: how sentences with alternatives and slots are compiled, rendered and counted.

    "[Soon|Before long], {M} found a {look} {T} under {hide}."

`[a|b|]` picks one alternative (they nest), `{slot}` takes a fact of the story or else draws an entry of the lexicon
(no entry twice in a story if that can be avoided), and `{slot*}` draws once and keeps the entry for later sentences.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from random import Random

TOKEN = re.compile(r"\{([A-Za-z0-9]+)(\*?)\}|([\[\]|])|([^\[\]|{}]+)")
BEFORE_VOWEL = re.compile(r"\b([Aa]) (?=[aeiouAEIOU]|honest)")
SENTENCE_START = re.compile(r"(?:^\"?|[.!?] \"?)[a-z]")
# A list longer than this is drawn from its front more often, half of the time from its first eighth: words of a real
# text are not equally common either, and a small tokenizer can then spend its vocabulary on the common ones.
LONG_LIST = 16
DRAWS = 4  # how often a list is asked again for an entry that the story has not used


@dataclass(frozen=True, eq=False)
class Choice:
    """Alternatives, each compiled."""

    options: tuple["Parts", ...]

    @cached_property
    def size(self) -> int:
        """How many texts the alternatives can give."""
        return sum(count(option) for option in self.options)


@dataclass(frozen=True, eq=False)
class Slot:
    """A place in a template that a fact fills (no entries) or an entry of the lexicon."""

    name: str
    keep: bool
    entries: Choice


Parts = tuple[str | Slot | Choice, ...]


class Grammar:
    """Compiles templates over a lexicon; the entries of a list are compiled once and shared by every slot."""

    def __init__(self, lexicon: Mapping[str, tuple[str, ...]], facts: frozenset[str]) -> None:
        self.lexicon, self.facts = lexicon, facts
        self._lists: dict[str, Choice] = dict.fromkeys(facts, Choice(()))

    def compile(self, template: str) -> Parts:
        """The compiled template. Raises ValueError for an unknown slot or a bracket without its partner."""
        tokens = [match.groups() for match in TOKEN.finditer(template)]
        parts, rest = self._parts(tokens, 0, template)
        if rest != len(tokens):
            raise ValueError(f"template {template!r}: '{tokens[rest][2]}' stands outside brackets")
        return parts

    def _parts(self, tokens: list[tuple[str, ...]], at: int, template: str) -> tuple[Parts, int]:
        """Compiles from token `at` to the end of this alternative; returns the parts and the next position."""
        parts: list[str | Slot | Choice] = []
        while at < len(tokens):
            name, keep, mark, literal = tokens[at]
            if literal:
                parts.append(literal)
            elif name:
                parts.append(Slot(name, bool(keep), self._entries(name, template)))
            elif mark == "[":
                options: list[Parts] = []
                while tokens[at][2] != "]":
                    option, at = self._parts(tokens, at + 1, template)
                    if at >= len(tokens):
                        raise ValueError(f"template {template!r}: a bracket is never closed")
                    options.append(option)
                parts.append(Choice(tuple(options)))
            else:
                break
            at += 1
        return tuple(parts), at

    def _entries(self, name: str, template: str) -> Choice:
        if name not in self._lists:
            if name not in self.lexicon:
                raise ValueError(f"template {template!r}: no slot is named {name!r}")
            self._lists[name] = Choice(tuple(self.compile(entry) for entry in self.lexicon[name]))
        return self._lists[name]


def fit_articles(text: str) -> str:
    """The text with "a owl" made "an owl"; every other article stays."""
    return BEFORE_VOWEL.sub(r"\1n ", text)


def render(parts: Parts, facts: dict[str, str], used: set[str], rng: Random) -> str:
    """The text of a template, sentences beginning with capitals. Adds kept entries to `facts`, entries to `used`."""
    out: list[str] = []
    _render(parts, facts, used, rng.random, out)
    text = fit_articles("".join(out))
    return SENTENCE_START.sub(lambda match: match[0][:-1] + match[0][-1].upper(), text)


def _render(parts: Parts, facts: dict[str, str], used: set[str], uniform: Callable[[], float], out: list[str]) -> None:
    for part in parts:
        if type(part) is str:
            out.append(part)
        elif type(part) is Choice:
            options = part.options
            _render(options[int(uniform() * len(options))], facts, used, uniform, out)
        elif type(part) is Slot:
            value = facts.get(part.name)
            out.append(_draw(part, facts, used, uniform) if value is None else value)


def _draw(slot: Slot, facts: dict[str, str], used: set[str], uniform: Callable[[], float]) -> str:
    options = slot.entries.options
    value = ""
    for _ in range(DRAWS):
        share = uniform()
        option = options[int((share**3 if len(options) > LONG_LIST else share) * len(options))]
        if len(option) == 1 and type(option[0]) is str:
            value = option[0]
        else:
            nested: list[str] = []
            _render(option, facts, used, uniform, nested)
            value = "".join(nested)
        if value not in used:
            break
    used.add(value)
    if slot.keep:
        facts[slot.name] = value
    return value


def count(parts: Parts) -> int:
    """How many texts the template can give with the facts fixed; an entry that is kept counts as one."""
    total = 1
    for part in parts:
        if isinstance(part, Choice):
            total *= part.size
        elif isinstance(part, Slot) and part.entries.options and not part.keep:
            total *= part.entries.size
    return total


def literals(parts: Parts) -> Iterator[str]:
    """Every literal piece of text that the template can write."""
    for part in parts:
        if isinstance(part, str):
            yield part
        else:
            for option in part.options if isinstance(part, Choice) else part.entries.options:
                yield from literals(option)
