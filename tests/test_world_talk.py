"""Dialogues about stories: wishes in many phrasings, questions, continuations, splits kept apart."""

from collections import Counter
from random import Random

import pytest

from pipeline.world.judge import judge
from pipeline.world.story import write
from pipeline.world.talk import (
    PHRASINGS,
    QUESTIONS,
    ask,
    continuation,
    conversations,
    draw_wishes_of,
    plain,
    prompts,
    question,
)  # fmt: skip
from pipeline.world.wishes import SPLITS, Wishes, draw_wishes, split_of


def test_every_phrasing_names_every_wish_in_few_words():
    rng = Random("ask")
    for _ in range(300):
        wishes = draw_wishes(rng)
        for phrasing in range(len(PHRASINGS)):
            text = ask(rng, wishes, phrasing)
            assert all(value in text for value in wishes.given().values()), (phrasing, text)
            assert len(text.split()) <= 45
            assert "  " not in text
    assert len(PHRASINGS) >= 8


def test_plain_is_the_first_phrasing_and_draws_nothing():
    wishes = Wishes(name="Mia", kind="owl", trait="honest", thing="umbrella", place="hill", ending="sad")
    expected = (
        "Write a story about an honest owl named Mia. There is an umbrella in it. It happens on the hill. "
        "The ending is sad."
    )
    assert plain(wishes) == ask(Random(1), wishes, 0) == expected
    assert plain(Wishes(thing="kite", place="park", ending="happy")).startswith(
        "Write a story. There is a kite in it."
    )


def test_conversations_keep_their_mixture_and_their_split():
    found = conversations(Random("talk"), 1000)
    shares = Counter(conversation["kind"] for conversation in found)
    for kind, share in (("write", 0.75), ("question", 0.12), ("continue", 0.13)):
        assert shares[kind] / 1000 == pytest.approx(share, abs=0.04)
    for conversation in found:
        assert [message["role"] for message in conversation["messages"]] == ["user", "assistant"]
        wishes = Wishes.from_dict(conversation["wishes"])
        assert split_of(wishes) == "train"
        if conversation["kind"] == "write":
            assert judge(conversation["messages"][1]["content"], wishes).reasons == ()
    assert conversations(Random("talk"), 50) == conversations(Random("talk"), 50)


def test_prompts_of_the_splits_are_distinct_and_disjoint():
    combinations = {}
    for split in SPLITS:
        found = prompts(Random(split), 300, split)
        wishes = [Wishes.from_dict(item["wishes"]) for item in found]
        assert len(set(wishes)) == 300
        assert all(split_of(wish) == split for wish in wishes)
        assert all(item["plain"] == plain(wish) for item, wish in zip(found, wishes, strict=True))
        assert all(item["prompt"][0]["role"] == "user" for item in found)
        combinations[split] = {(wish.name, wish.kind, wish.thing, wish.place) for wish in wishes}
    assert len(set.union(*combinations.values())) == sum(len(found) for found in combinations.values())


def test_an_unknown_split_is_refused():
    with pytest.raises(ValueError, match="split 'test': there are train, preferences, rl, evaluate"):
        draw_wishes_of(Random(0), "test")


@pytest.mark.parametrize("field", QUESTIONS)
def test_answers_state_the_fact_that_was_asked_for(field):
    rng = Random(field)
    for _ in range(50):
        story = write(rng)
        message, answer = question(rng, story, field)
        assert story.text in message
        assert "?" in message.replace(story.text, "")
        assert story.wishes.given()[field] in answer
        assert answer.endswith(".")
        assert len(answer.split()) <= 10


def test_a_continuation_completes_the_story():
    rng = Random("go on")
    for _ in range(100):
        story = write(rng)
        message, rest = continuation(rng, story)
        assert story.text.endswith(rest)
        assert story.text.removesuffix(rest).strip() in message
        assert rest not in message
