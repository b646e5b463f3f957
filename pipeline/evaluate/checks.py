"""Instructions that code can check: one pure function a kind, in the manner of IFEval (Zhou et al. 2023, arXiv
2311.07911). A check is {"kind": .., "value": ..}; what `value` is stands beside each kind."""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from pipeline.stage import UserError

WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")  # noqa: RUF001
SENTENCE_END = re.compile(r"[.!?]+(?=\s|$)")


def words(text: str) -> list[str]:
    """The words in lower case; it's and well-known are one each."""
    return WORD.findall(text.casefold())


def num_sentences(text: str) -> int:
    """Runs of ., ! or ? before a blank or the end; a rest without one counts too."""
    ends = list(SENTENCE_END.finditer(text))
    rest = text[ends[-1].end() :] if ends else text
    return len(ends) + bool(rest.strip())


def num_paragraphs(text: str) -> int:
    """Blocks of text between empty lines."""
    return len([block for block in re.split(r"\n\s*\n", text) if block.strip()])


def num_bullets(text: str) -> int:
    """Lines that begin with -, * or a bullet and a blank."""
    return len(re.findall(r"^\s*[-*•]\s+\S", text, re.M))


def contains(text: str, term: str) -> bool:
    """Whether the words of the term stand in the text one after the other."""
    wanted, found = words(term), words(text)
    return any(found[i : i + len(wanted)] == wanted for i in range(len(found) - len(wanted) + 1))


def is_json(text: str) -> bool:
    """Whether the whole answer is one JSON value, a fence of code around it allowed."""
    fenced = re.fullmatch(r"\s*```(?:json)?\s*\n(.*?)\n\s*```\s*", text, re.S)
    try:
        json.loads(fenced[1] if fenced else text)
    except ValueError:
        return False
    return True


# kind -> (type of value, whether the answer follows it)
KINDS: dict[str, tuple[type, Callable[[str, Any], bool]]] = {
    "min_words": (int, lambda text, n: len(words(text)) >= n),
    "max_words": (int, lambda text, n: len(words(text)) <= n),
    "min_sentences": (int, lambda text, n: num_sentences(text) >= n),
    "max_sentences": (int, lambda text, n: num_sentences(text) <= n),
    "paragraphs": (int, lambda text, n: num_paragraphs(text) == n),
    "bullets": (int, lambda text, n: num_bullets(text) == n),
    "contains": (str, contains),
    "excludes": (str, lambda text, term: not contains(text, term)),
    "starts_with": (str, lambda text, start: text.strip().casefold().startswith(start.casefold())),
    "ends_with": (str, lambda text, end: text.strip().casefold().endswith(end.casefold())),
    "lowercase": (bool, lambda text, yes: (text == text.lower()) == yes),
    "uppercase": (bool, lambda text, yes: (text == text.upper()) == yes),
    "json": (bool, lambda text, yes: is_json(text) == yes),
    "matches": (str, lambda text, pattern: re.search(pattern, text) is not None),
}


def follows(text: str, check: Mapping[str, Any]) -> bool:
    """Whether an answer does what one check asks; an empty answer follows nothing."""
    return bool(text.strip()) and KINDS[check["kind"]][1](text, check["value"])


def validate(check: Any, where: str) -> None:
    """Raises UserError, naming the place, for a check that is none."""
    if not isinstance(check, Mapping) or set(check) != {"kind", "value"}:
        raise UserError(f'{where}: a check is {{"kind", "value"}}, found {json.dumps(check)}.')
    if check["kind"] not in KINDS:
        raise UserError(f"{where}: no check is called '{check['kind']}'. There are: {', '.join(KINDS)}.")
    kind, _ = KINDS[check["kind"]]
    if type(check["value"]) is not kind:
        raise UserError(f"{where}: {check['kind']} wants a value of type {kind.__name__}, found {check['value']!r}.")
    if check["kind"] == "matches":
        try:
            re.compile(str(check["value"]))
        except re.error as error:
            raise UserError(f"{where}: matches = {check['value']!r} is no regular expression: {error}.") from None
