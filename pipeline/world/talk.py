"""What users say about stories and what a good answer is: wishes in many phrasings, questions, continuations.

`conversations` writes the training dialogues, `prompts` the ones that a model has to answer by itself. Both draw only
combinations of wishes of the split that they are asked for, so that no evaluated combination is ever trained on.
"""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

from pipeline.world.cast import PLACE_AT
from pipeline.world.grammar import fit_articles
from pipeline.world.story import Story, write
from pipeline.world.wishes import SPLITS, Wishes, draw_wishes, split_of

KIND_SHARES: tuple[tuple[str, float], ...] = (("write", 0.75), ("question", 0.12), ("continue", 0.13))

# What a user calls the fields in a list; "kind" would be taken for the trait of that name.
LABELS: dict[str, str] = {"name": "name", "kind": "hero", "trait": "trait", "thing": "thing", "ending": "ending"}


@dataclass(frozen=True, kw_only=True)
class Pieces:
    """The wishes in words; None or empty where nothing is wished."""

    who: str | None  # "a brave fox named Mia"
    thing: str | None  # "a kite"
    at: str | None  # "in the forest"
    ending: str | None  # "happy"
    fields: list[tuple[str, str]]  # the bare values by label, shuffled; a place with its preposition
    lines: list[tuple[str, str]]  # the pieces by question word, shuffled

    def cast(self) -> str:
        """Who and what, joined: "a fox and a kite"; "somebody" where neither is wished."""
        return " and ".join(piece for piece in (self.who, self.thing) if piece) or "somebody"


def _article(noun: str) -> str:
    return fit_articles(f"a {noun}")


def _who(wishes: Wishes) -> str | None:
    if wishes.kind:
        described = _article(f"{wishes.trait} {wishes.kind}" if wishes.trait else wishes.kind)
        return f"{described} named {wishes.name}" if wishes.name else described
    if wishes.name:
        return f"{wishes.trait} {wishes.name}" if wishes.trait else wishes.name
    return f"somebody {wishes.trait}" if wishes.trait else None


def _pieces(wishes: Wishes, rng: Random | None) -> Pieces:
    who, thing = _who(wishes), _article(wishes.thing) if wishes.thing else None
    at = f"{PLACE_AT[wishes.place]} the {wishes.place}" if wishes.place else None
    fields = [(LABELS[field], value) for field, value in wishes.given().items() if field in LABELS]
    fields += [("place", at)] if at else []
    answers = (("who", who), ("what", thing), ("where", at), ("ending", wishes.ending))
    lines = [(question, answer) for question, answer in answers if answer]
    if rng:
        rng.shuffle(fields)
        rng.shuffle(lines)
    return Pieces(who=who, thing=thing, at=at, ending=wishes.ending, fields=fields, lines=lines)


def _when(value: str | None, text: str) -> str:
    """The text with its {} filled, or nothing where nothing is wished."""
    return text.format(value) if value else ""


def _plainly(p: Pieces) -> str:
    return (
        "Write a story" + _when(p.who, " about {}") + "." + _when(p.thing, " There is {} in it.")
        + _when(p.at, " It happens {}.") + _when(p.ending, " The ending is {}.")
    )  # fmt: skip


def _tell(p: Pieces) -> str:
    return (
        f"Please tell me a story with {p.cast()}" + _when(p.at, " {}") + "."
        + _when(p.ending, " It should have a {} ending.")
    )  # fmt: skip


def _list(p: Pieces) -> str:
    return "My wishes for a story: " + ", ".join(f"{field} {value}" for field, value in p.fields) + "."


def _can_you(p: Pieces) -> str:
    return f"Can you write a {p.ending + ' ' if p.ending else ''}story about {p.cast()}" + _when(p.at, " {}") + "?"


def _hero(p: Pieces) -> str:
    return (
        "I would like a story." + _when(p.at, " It takes place {}.") + _when(p.who, " The hero is {}.")
        + _when(p.ending, " Let the end be {}.") + _when(p.thing, " Do not forget {}.")
    )  # fmt: skip


def _bedtime(p: Pieces) -> str:
    start = f"Set {p.at}: a" if p.at else "A"
    return f"{start} bedtime story about {p.cast()}, please." + _when(p.ending, " With a {} ending.")


def _form(p: Pieces) -> str:
    return "Write the story.\n" + "\n".join(f"{question}: {answer}" for question, answer in p.lines)


def _think(p: Pieces) -> str:
    return f"Think of {p.cast()}" + _when(p.at, " {}") + " and tell what happens." + _when(p.ending, " Make it {}.")


def _child(p: Pieces) -> str:
    return (
        f"My child loves stories about {p.cast()}" + _when(p.at, " {}") + ". Make one up"
        + _when(p.ending, " with a {} ending") + "."
    )  # fmt: skip


def _thing_first(p: Pieces) -> str:
    return (
        "A story, please" + _when(p.thing, ", with {}") + _when(p.at, ", {}") + _when(p.who, ", about {}")
        + _when(p.ending, ", and a {} end") + "."
    )  # fmt: skip


PHRASINGS: tuple[Callable[[Pieces], str], ...] = (
    _plainly, _tell, _list, _can_you, _hero, _bedtime, _form, _think, _child, _thing_first,
)  # fmt: skip


def ask(rng: Random, wishes: Wishes, phrasing: int | None = None) -> str:
    """The user's message: the wishes in one of the phrasings (drawn where none is named), 45 words at most."""
    if phrasing is None:
        phrasing = int(rng.random() * len(PHRASINGS))
    return PHRASINGS[phrasing](_pieces(wishes, rng))


def plain(wishes: Wishes) -> str:
    """The wishes in phrasing 0, which draws nothing: the plain text that a base model is prompted with."""
    return PHRASINGS[0](_pieces(wishes, None))


# Questions about a story and their answers; {at} and {how} are the place and the ending in words.
QUESTIONS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "name": (
        ("Who is the story about?", "What is the name of the {kind}?", "Who is the hero of the story?"),
        ("The story is about {name}.", "It is {name}."),
    ),
    "kind": (
        ("What kind of animal or person is {name}?", "Who or what is {name}?", "What is {name}?"),
        ("{name} is {a_kind}.",),
    ),
    "trait": (("What is {name} like?", "How is {name} described?"), ("{name} is {trait}.",)),
    "thing": (
        ("Which thing matters in the story?", "What thing is the story about?", "Which thing do they talk about?"),
        ("It is about {a_thing}.", "The thing is {a_thing}."),
    ),
    "place": (
        ("Where does the story happen?", "At which place are they?", "Where are they?"),
        ("It happens {at}.", "They are {at}."),
    ),
    "ending": (
        ("How does the story end?", "Is the ending happy or sad?", "What is the ending like?"),
        ("It has a {ending} ending.", "The ending is {ending}."),
    ),
}  # fmt: skip
GO_ON: tuple[str, ...] = (
    "Go on with this story:\n\n{}", "{}\n\nHow does the story go on?", "{}\n\nPlease write the end of the story.",
    "Here is the start of a story. Finish it.\n\n{}", "{}\n\nAnd then?", "Tell the rest of this story:\n\n{}",
    "{}\n\nWhat happens next?", "I only have half of this story. Write the other half.\n\n{}",
)  # fmt: skip


def question(rng: Random, story: Story, field: str | None = None) -> tuple[str, str]:
    """A question about a fact of the story, with the story in the message, and its answer of one sentence."""
    facts = story.wishes
    field = field or rng.choice(sorted(QUESTIONS))
    words = {
        **facts.given(),
        "a_kind": _article(facts.kind or ""),
        "a_thing": _article(facts.thing or ""),
        "at": f"{PLACE_AT[facts.place or '']} the {facts.place}",
    }
    asked, answers = QUESTIONS[field]
    text = rng.choice(asked).format(**words)
    message = f"{story.text}\n\n{text}" if rng.random() < 0.7 else f"{text}\n\n{story.text}"
    return message, rng.choice(answers).format(**words)


def continuation(rng: Random, story: Story) -> tuple[str, str]:
    """The first half of a story, to be gone on with, and its second half."""
    paragraphs = story.text.split("\n\n")
    half = len(paragraphs) // 2
    return rng.choice(GO_ON).format("\n\n".join(paragraphs[:half])), "\n\n".join(paragraphs[half:])


def draw_wishes_of(rng: Random, split: str) -> Wishes:
    """Wishes whose combination belongs to the split."""
    if split not in SPLITS:
        raise ValueError(f"split {split!r}: there are {', '.join(SPLITS)}")
    while True:
        wishes = draw_wishes(rng)
        if split_of(wishes) == split:
            return wishes


def draw_story(rng: Random, wishes: Wishes | None) -> Story:
    """A story that meets the wishes and whose own full combination of facts may be trained on."""
    while True:
        story = write(rng, wishes)
        if split_of(story.wishes) == "train":
            return story


def conversations(rng: Random, count: int) -> list[dict[str, Any]]:
    """Training dialogues, {"kind", "messages", "wishes"}: about 75 % wishes, 12 % questions, 13 % continuations.

    "wishes" is what was wished (write) or what is true of the story (question, continue).
    """
    kinds = rng.choices([kind for kind, _ in KIND_SHARES], weights=[share for _, share in KIND_SHARES], k=count)
    return [_conversation(rng, kind) for kind in kinds]


def _conversation(rng: Random, kind: str) -> dict[str, Any]:
    if kind == "write":
        wishes = draw_wishes_of(rng, "train")
        asked, answered = ask(rng, wishes), draw_story(rng, wishes).text
    else:
        story = draw_story(rng, None)
        wishes = story.wishes
        asked, answered = question(rng, story) if kind == "question" else continuation(rng, story)
    messages = [{"role": "user", "content": asked}, {"role": "assistant", "content": answered}]
    return {"kind": kind, "messages": messages, "wishes": wishes.to_dict()}


def prompts(rng: Random, count: int, split: str) -> list[dict[str, Any]]:
    """Distinct wishes of one split, {"prompt", "wishes", "plain"}, for a model to answer."""
    seen: dict[Wishes, None] = {}
    while len(seen) < count:
        seen.setdefault(draw_wishes_of(rng, split))
    return [
        {"prompt": [{"role": "user", "content": ask(rng, wishes)}], "wishes": wishes.to_dict(), "plain": plain(wishes)}
        for wishes in seen
    ]
