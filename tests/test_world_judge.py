"""The gold judge: every kind of damage is seen and named, whatever the story."""

import re
from random import Random

import pytest

from pipeline.world import cast
from pipeline.world.judge import PRONOUNS, SENTENCE_END, WEIGHTS, judge
from pipeline.world.story import Story, write
from pipeline.world.wishes import Wishes

STORY = """There was once a shy little fox named Mia. She loved painting and eating plums. On a sunny Sunday, Mia \
took a shiny red kite to the meadow and slipped on beans. Bang! The kite broke.

Soon, Mia met Tom, a plump bear, eating figs. "My kite is broken," said Mia. Tom went off and came back with glue.

Together they mended the kite, and Mia cheered. That night, Mia smiled at the stars and thought of coral reefs."""
WISHES = Wishes(name="Mia", kind="fox", trait="shy", thing="kite", place="meadow", ending="happy")


def swap(old: str, new: str, count: int = 1):
    assert old in STORY
    return STORY.replace(old, new, count)


CASES = {
    "pronoun": (swap("She loved", "He loved"), "pronoun 'He' after Mia"),
    "pronoun of nobody": ("She was glad. " + STORY, "pronoun 'She' after nobody"),
    "second kind": (swap("Soon, Mia met", "Mia was a brown owl. Soon, Mia met"), "Mia has two kinds"),
    "strange kind": (swap("That night,", "That night, the owl came, and"), "there is no owl"),
    "stranger": (swap("Together they", "Together Otto and Mia"), "Otto was never introduced"),
    "too early": (swap("Bang!", "Tom laughed."), "Tom acts before being introduced"),
    "second thing": (swap("mended the kite", "mended the drum"), "thing changes: kite, drum"),
    "no thing": (STORY.replace("kite", "clay"), "no thing is named"),
    "second place": (swap("Soon,", "Soon, in the forest,"), "place changes: meadow, forest"),
    "no place": (swap(" to the meadow", ""), "no place is named"),
    "second trait": (swap("a plump bear", "a lazy bear"), "trait changes: shy, lazy"),
    "second colour": (swap("mended the kite", "mended the blue kite"), "colour changes: blue, red"),
    "unknown word": (swap("beans", "zorbles"), "unknown word 'zorbles'"),
    "small name": (swap(" Mia met", " mia met").replace("Mia", "Ida"), "unknown word 'mia'"),
    "strange character": (swap("beans", "<|im_end|>"), "strange character '<'"),
    "no opening": (STORY[STORY.index("She loved") :], "the first sentence introduces nobody"),
    "cut in a word": (STORY[:-8], "the text breaks off"),
    "cut at a sentence": (STORY[: STORY.index(" That night")], "no closing sentence"),
    "odd quotes": (swap('broken,"', "broken,"), "a quotation mark has no partner"),
    "cut paragraph": (swap("with glue.", "with glue"), "a paragraph breaks off"),
    "small letter": (swap("Tom went", "tom went").replace("tom", "he"), "begins with a small letter"),
    "punctuation": (swap("Soon,", "Soon , "), "punctuation goes wrong"),
    "clashing moods": (swap("and Mia cheered", "and Mia cried"), "does not fit a happy ending"),
    "broken promise": (swap("She loved", "This is a sad story. She loved"), "not the happy ending that was promised"),
    "two-faced ending": (swap("That night, Mia smiled", "In the happy end, Mia cried"), "no closing sentence"),
    "article": (swap("the meadow", "a the meadow"), "'a the'"),
    "an": (swap("a plump", "an plump"), "'an plump'"),
    "repeated sentence": (swap("Together", "Tom went off and came back with glue. Together"), "comes 2 times"),
    "doubled words": (swap("came back", "came back came back"), "'came back' twice in a row"),
    "run of words": (
        swap("Together", "Off and came back with glue, and Tom off and came back with glue. Together"),
        "comes 3 times",
    ),
    "too long": (swap("Bang!", " ".join(f"Tom saw {n}." for n in ["figs"] * 60)), "length:"),
    "too short": (STORY[: STORY.index(" On a sunny")], "length:"),
    "wrong ending": (
        STORY[: STORY.index(" That night")] + " That night, Mia cried and could not sleep.",
        "ending should be happy, the story has sad",
    ),
    "other place": (swap("meadow", "forest"), "place should be meadow, the story has forest"),
    "other thing": (STORY.replace("kite", "drum"), "thing should be kite, the story has drum"),
    "other name": (STORY.replace("Mia", "Ida"), "name should be Mia, the story has Ida"),
    "other kind": (swap("fox", "frog"), "kind should be fox, the story has frog"),
    "other trait": (swap("shy", "lazy"), "trait should be shy, the story has lazy"),
    "no trait": (swap("shy ", ""), "trait should be shy, the story has none"),
    "nothing": ("", "no thing is named"),
}  # fmt: skip


def test_the_undamaged_story_is_free_of_defects():
    assert judge(STORY, WISHES).reasons == ()
    assert judge(STORY, None).defect_free


@pytest.mark.parametrize("case", CASES)
def test_damage_is_named(case):
    text, reason = CASES[case]
    judgement = judge(text, WISHES)
    assert any(reason in found for found in judgement.reasons), judgement.reasons
    assert not judgement.defect_free
    assert 0.0 <= judgement.score < 1.0


def test_each_unmet_wish_costs_its_share_of_the_wishes_weight():
    judgement = judge(STORY.replace("kite", "drum"), WISHES)
    assert (judgement.wishes_met, judgement.facts_consistent, judgement.well_formed) == (False, True, True)
    assert judgement.score == pytest.approx(1 - WEIGHTS["wishes"] / 6)
    assert sum(WEIGHTS.values()) == pytest.approx(1.0)


def _pronoun(story: Story, rng: Random) -> str | None:
    found = [match for match in re.finditer(r"\b[A-Za-z]+\b", story.text) if match[0] in PRONOUNS]
    if not found:
        return None
    hit = rng.choice(found)
    other = {"she": "he", "her": "his", "he": "she", "his": "her", "him": "her"}[hit[0].lower()]
    return story.text[: hit.start()] + (other.capitalize() if hit[0][0].isupper() else other) + story.text[hit.end() :]


def _mention(word: str, values: tuple[str, ...], story: Story, rng: Random) -> str:
    """One mention of the word is turned into another value."""
    hit = rng.choice(list(re.finditer(rf"\b{word}\b", story.text)))
    other = rng.choice([value for value in values if value != word])
    return story.text[: hit.start()] + other + story.text[hit.end() :]


def _sentences(story: Story) -> list[str]:
    return SENTENCE_END.split(story.text)


def _repeat(story: Story, rng: Random) -> str:
    sentence = rng.choice([s for s in _sentences(story) if s.count(" ") >= 3])
    return story.text.replace(sentence, f"{sentence} {sentence}", 1)


def _noise(story: Story, rng: Random) -> str:
    words = story.text.split(" ")
    words[rng.randrange(len(words))] = "".join(rng.choices("bdklmnprst", k=5))
    return " ".join(words)


def _cut(story: Story, rng: Random) -> str:
    return story.text[: rng.randrange(len(story.text) // 3, len(story.text) - 2)]


def _doubled(story: Story, rng: Random) -> str:
    words = story.text.split(" ")
    at = rng.choice([at for at, word in enumerate(words) if word.isalpha()])
    return " ".join([*words[: at + 1], *words[at:]])


def _ending(story: Story, rng: Random) -> str:
    other = write(rng, Wishes(name=story.wishes.name, ending="sad" if story.wishes.ending == "happy" else "happy"))
    return story.text[: story.text.rindex(_sentences(story)[-1])] + _sentences(other)[-1]


CORRUPTIONS = {
    "swapped pronoun": _pronoun,
    "swapped thing": lambda story, rng: _mention(story.wishes.thing, cast.THINGS, story, rng),
    "swapped place": lambda story, rng: _mention(story.wishes.place, cast.PLACES, story, rng),
    "swapped name": lambda story, rng: _mention(story.wishes.name, cast.NAMES, story, rng),
    "swapped kind": lambda story, rng: _mention(story.wishes.kind, cast.KINDS, story, rng),
    "swapped trait": lambda story, rng: _mention(story.wishes.trait, cast.TRAITS, story, rng),
    "cut": _cut,
    "repeated sentence": _repeat,
    "doubled word": _doubled,
    "noise word": _noise,
    "wrong ending": _ending,
}


@pytest.mark.parametrize("corruption", CORRUPTIONS)
def test_random_damage_is_seen_in_nine_of_ten_stories(corruption):
    rng = Random(corruption)
    caught = total = 0
    while total < 200:
        story = write(rng)
        text = CORRUPTIONS[corruption](story, rng)
        if text is not None and text != story.text:
            total += 1
            caught += not judge(text, story.wishes).defect_free
    assert caught / total >= 0.9
