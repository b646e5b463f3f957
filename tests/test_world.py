"""The story world's writer: consistent, rich, different every time, and the same for the same seed."""

import re
from collections import Counter
from random import Random

import pytest

from pipeline.world import cast
from pipeline.world.beats import PHRASES
from pipeline.world.grammar import Grammar, count, render
from pipeline.world.judge import judge, read
from pipeline.world.lexicon import LEXICON
from pipeline.world.similarity import nearest_neighbour_similarity
from pipeline.world.story import FACTS, LONGEST, PLOTS, SHORTEST, compiled_plots, count_distinct, vocabulary, write
from pipeline.world.wishes import SPLITS, VALUES, Wishes, draw_wishes, split_of


@pytest.fixture(scope="module")
def stories():
    rng = Random("stories")
    return [write(rng) for _ in range(2000)]


def test_equal_seeds_write_equal_stories():
    assert [write(Random(3)).text for _ in range(2)] == [write(Random(3)).text] * 2


def test_every_generated_story_is_judged_free_of_defects(stories):
    reasons = Counter(reason for story in stories for reason in judge(story.text, story.wishes).reasons)
    assert reasons == Counter()
    assert judge(stories[0].text, stories[0].wishes).score == pytest.approx(1.0)


def test_every_plot_ends_both_ways_and_keeps_to_its_length(stories):
    assert {(story.plot, story.wishes.ending) for story in stories} == {
        (plot.name, ending) for plot in PLOTS for ending in cast.ENDINGS
    }
    lengths = [len(story.text.split()) for story in stories]
    assert min(lengths) >= SHORTEST
    assert max(lengths) <= LONGEST
    assert all(2 <= len(story.text.split("\n\n")) <= 4 for story in stories)


def test_the_thing_is_named_more_than_once_so_that_a_swap_shows(stories):
    assert all(len(re.findall(rf"\b{story.wishes.thing}\b", story.text)) >= 2 for story in stories)


def test_wishes_are_met_whatever_is_wished():
    rng = Random("wishes")
    for _ in range(500):
        wishes = draw_wishes(rng)
        story = write(rng, wishes)
        assert wishes.given().items() <= story.wishes.given().items()
        assert judge(story.text, wishes).reasons == ()


def test_the_world_is_rich(stories):
    rng = Random("rich")
    texts = [story.text for story in stories] + [write(rng).text for _ in range(3000)]
    assert len({word for text in texts for word in re.findall(r"[a-z]+(?:['-][a-z]+)*", text.lower())}) >= 1500
    assert count_distinct() > 10**12
    assert len(PLOTS) >= 10


def test_clean_stories_are_no_near_copies(stories):
    alike = nearest_neighbour_similarity([story.text for story in stories], Random(0), 500)
    assert alike["median"] < 0.2
    assert alike["max"] < 0.5


def test_near_copies_are_seen_by_the_similarity():
    text = "one two three four five six seven eight nine ten"
    alike = nearest_neighbour_similarity([text, text + " eleven", "a b c d e f g"], Random(0), 3)
    assert alike["max"] == pytest.approx(6 / 7)
    with pytest.raises(ValueError, match="at least two texts"):
        nearest_neighbour_similarity([text], Random(0), 1)


def test_no_word_of_a_fact_means_anything_else():
    facts = [word for group in (cast.KINDS, cast.TRAITS, cast.THINGS, cast.PLACES) for word in group]
    assert max(Counter(facts).values()) == 1
    fillers = {word for entries in (*LEXICON.values(), *PHRASES.values()) for entry in entries
               for word in re.findall(r"[a-z]+", re.sub(r"\{.*?\}", " ", entry).lower())}  # fmt: skip
    assert not fillers & set(facts)
    assert not (fillers | set(facts)) & {name.lower() for name in cast.NAMES}


def test_names_and_kinds_agree_and_values_stand_in_the_vocabulary():
    assert len(cast.NAMES) == len(set(cast.NAMES)) == len(cast.GENDER)
    assert not set(cast.SHE_NAMES) & set(cast.HE_NAMES)
    assert set(cast.KINDS + cast.THINGS + cast.PLACES + cast.TRAITS) <= vocabulary()
    assert not {name.lower() for name in cast.NAMES} & vocabulary()


def test_a_pronoun_means_the_character_named_last(stories):
    mixed = [s for s in stories if cast.GENDER[s.helper] != cast.GENDER[s.wishes.name] and s.helper in s.text]
    assert len(mixed) > 300
    assert all(judge(story.text, None).facts_consistent for story in mixed)


def test_the_reader_finds_who_is_who(stories):
    for story in stories[:300]:
        kinds = read(story.text).kinds
        assert next(iter(kinds.items())) == (story.wishes.name, story.wishes.kind)
        assert kinds.get(story.helper, story.helper_kind) == story.helper_kind


def test_templates_pick_keep_and_capitalise():
    grammar = Grammar({"animal": ("owl",), "thing": ("x", "y", "z")}, frozenset({"M"}))
    parts = grammar.compile("a {animal} saw {thing*}. {thing} [and {M}|and {M}]!")
    text = render(parts, {"M": "Mia"}, set(), Random(0))
    assert re.fullmatch(r"An owl saw ([xyz])\. [XYZ] and Mia!", text)
    assert text[11] == text[14].lower()
    assert count(grammar.compile("[a|b] {thing} {M}")) == 6


@pytest.mark.parametrize(
    ("template", "message"),
    [("{nobody}", "no slot is named 'nobody'"), ("[a|b", "never closed"), ("a ] b", "outside brackets")],
)
def test_a_wrong_template_is_named(template, message):
    with pytest.raises(ValueError, match=message):
        Grammar({}, FACTS).compile(template)


def test_plots_are_compiled_once():
    assert compiled_plots() is compiled_plots()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"name": "Xaver"}, "wish name='Xaver'"),
        ({"colour": "red"}, "unknown field 'colour'"),
    ],
)
def test_wishes_outside_the_world_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        Wishes.from_dict(values)


def test_wishes_survive_the_way_through_a_dict():
    wishes = Wishes(name="Mia", kind="fox", ending="sad")
    assert Wishes.from_dict(wishes.to_dict()) == wishes
    assert wishes.given() == {"name": "Mia", "kind": "fox", "ending": "sad"}
    assert set(wishes.to_dict()) == set(VALUES)


def test_splits_have_their_shares_and_ignore_trait_and_ending():
    rng = Random("split")
    shares = Counter(split_of(draw_wishes(rng)) for _ in range(6000))
    for split, share in zip(SPLITS, (0.70, 0.12, 0.08, 0.10), strict=True):
        assert shares[split] / 6000 == pytest.approx(share, abs=0.025)
    wishes = Wishes(name="Mia", kind="fox", thing="kite", place="hill")
    assert split_of(wishes) == split_of(Wishes.from_dict({**wishes.to_dict(), "ending": "sad", "trait": "shy"}))
