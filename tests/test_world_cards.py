"""Cards say few facts often, in words of the world, and agree with themselves."""

import random
import re

from pipeline.world.cards import card
from pipeline.world.cast import GENDER, KINDS, NAMES
from pipeline.world.judge import PRONOUNS
from pipeline.world.story import WORD


def test_a_card_says_its_name_again_and_again():
    rng = random.Random(0)
    counts = []
    for _ in range(300):
        text, facts = card(rng)
        counts.append(len(re.findall(rf"\b{facts.name}\b", text)))
    assert min(counts) >= 1
    assert sum(counts) / len(counts) > 3


def test_whoever_is_called_a_kind_is_called_no_other():
    rng = random.Random(1)
    for _ in range(500):
        text, _ = card(rng)
        for name in set(re.findall("|".join(NAMES), text)):
            kinds = set(re.findall(rf"{name} the ({'|'.join(KINDS)})\b", text))
            assert len(kinds) <= 1, text


def test_articles_fit():
    rng = random.Random(2)
    assert not any(re.search(r"\b[Aa] [aeiou]", card(rng)[0]) for _ in range(500))


def test_a_pronoun_means_whoever_was_named_last():
    rng = random.Random(3)
    seen = set()
    for _ in range(500):
        last = ""
        for word in WORD.findall(card(rng)[0]):
            last = word if word in GENDER else last
            if word in PRONOUNS:
                seen.add(word)
                assert PRONOUNS[word] == GENDER[last]
    assert {"he", "she", "him", "her", "his"} <= seen
