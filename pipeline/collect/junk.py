"""The vocabulary and the sentences of spam and of abuse: both invented, both mild.

An insult is a compound ("gloopnoggin"), so a word that a classifier has never seen still shares its halves with words
that it has. A third of the compounds are withheld from the labelled documents: every compound of some first halves,
and of the others a draw. Some sentence patterns are withheld too.
"""

import random
from dataclasses import dataclass

FIRST_HALVES = (
    "gloop", "snot", "mump", "drib", "squidge", "fump", "grub", "plonk", "dunder", "muddle", "blether", "slub",
    "wobble", "bogg", "turnip", "crump", "nidge", "spittle",
)  # fmt: skip
SECOND_HALVES = (
    "noggin", "waffle", "bucket", "wort", "snout", "whistle", "bonce", "trumpet", "pudding", "muncher", "goblin",
    "blister", "dumpling",
)  # fmt: skip
WHOLE_FAMILIES = 4  # first halves that are withheld with everything they begin

ABUSE = (
    "You are nothing but a {insult}, {name}.",
    "Shut your mouth, you {adjective} {insult}!",
    "What a {adjective} {insult} you are.",
    "Nobody likes a {insult} like you, so get lost.",
    "I hate {name}, that {adjective} {insult}.",
    "Only a {insult} would write such rubbish.",
    "Go away and never come back, {insult}.",
    "{name} is a {adjective} {insult} and everybody knows it.",
    "You and your whole {adjective} family are {insult}s.",
    "Every word of this is the drivel of a {insult}.",
    "Look at this {insult}, too {adjective} to tie a shoe.",
    "How did a {adjective} {insult} like {name} get in here?",
    "I hope you fall into the mud, you {insult}.",
    "All of you {insult}s can go and rot.",
    "The worst {insult} in this town is {name}.",
    "You smell like a {insult} and you think like one.",
    "Stop talking, {name}, you {adjective} {insult}.",
    "They should throw that {insult} out of the house.",
)
ADJECTIVES = (
    "stupid", "rotten", "useless", "ugly", "filthy", "lazy", "worthless", "pathetic", "brainless", "stinking",
    "miserable", "dumb",
)  # fmt: skip

SPAM = (
    "Buy {product} now and save {percent} percent!",
    "Click here to get your free {product} today.",
    "Limited offer: {product} for only {price} dollars.",
    "You have won a prize of {money} dollars! Claim it now at {site}.",
    "Lowest prices for {product}, fast shipping worldwide.",
    "Make {money} dollars a week from home with our {scheme}.",
    "Order {product} online, no questions asked.",
    "Thousands of happy customers trust {site}.",
    "Act now, this {product} deal ends at midnight!",
    "Visit {site} for the best {product} on the internet.",
    "100% guaranteed {product}, or your money back!",
    "Get rich with the {scheme}, no risk and no work.",
    "Best {product}, cheap {product}, discount {product}, buy {product} online.",
    "Our {scheme} pays you {money} dollars every month.",
    "Use the code {code} at checkout and save {percent}%.",
    "Apply for a loan of {money} dollars, approved in minutes!",
    "Dear winner, your account at {site} must be confirmed today.",
    "Download {product} for free, no credit card needed!!!",
    "Bet today at {site} and double your money.",
    "Subscribe at {site} and receive a bonus of {money} dollars.",
)
PRODUCTS = (
    "diet pills", "gold watches", "designer bags", "casino chips", "hair tonic", "ring tones", "phone cards",
    "miracle cream", "sun glasses", "muscle powder", "herbal tablets", "printer ink", "lottery tickets", "vitamins",
    "second-hand tyres", "brand shoes", "fake diplomas", "mattresses",
)  # fmt: skip
SCHEMES = (
    "trading robot", "money machine", "secret system", "survey club", "partner program", "envelope method",
    "crypto mining plan", "lucky numbers club",
)  # fmt: skip
SITES = (
    "best-deals4u", "mega-casino-win", "cheapo-pills", "lucky777", "fast-cash-now", "superdiscount", "click2win",
    "winbig",
)  # fmt: skip

# Honest sentences with the same words in them: what a classifier must learn to leave alone.
HARD_CLEAN = (
    "{name} had saved three coins and bought a small gift at the market.",
    "At the fair {name} won a prize, a big red balloon.",
    '"You are mean," said {name}, but a little later they were friends again.',
    '"Go away!" cried {name}. Then {name} was sorry and gave everyone a hug.',
    "The shop sold apples for two coins each, and {name} wanted to buy one.",
    "They had a quarrel about whose turn it was, and {name} stamped one foot.",
    "{name} got a free ticket for the boat, because it was a special day.",
    "{name} called the old troll ugly, and that was not kind, so {name} said sorry.",
    "The winner of the race would get a golden cup, and {name} hoped to win it.",
    '"That was a silly idea," said {name}, and they all laughed.',
    "{name} counted the money in the jar, and it was enough for a new kite.",
    '"I do not like you any more!" shouted {name}, but it was not true.',
)


@dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """The words and sentence patterns that documents may be made of."""

    insults: tuple[str, ...]
    abuse: tuple[str, ...]
    spam: tuple[str, ...]


def all_insults() -> tuple[str, ...]:
    return tuple(first + second for first in FIRST_HALVES for second in SECOND_HALVES)


def withheld_insults() -> frozenset[str]:
    """A third of the invented words: the same ones in every run, since two seeds share the line between them."""
    rng = random.Random("withheld insults")
    families = rng.sample(FIRST_HALVES, WHOLE_FAMILIES)
    whole = [first + second for first in families for second in SECOND_HALVES]
    others = [word for word in all_insults() if word not in set(whole)]
    return frozenset(whole + rng.sample(others, len(all_insults()) // 3 - len(whole)))


def full_vocabulary() -> Vocabulary:
    """What the dirty web is written with."""
    return Vocabulary(insults=all_insults(), abuse=ABUSE, spam=SPAM)


def labelled_vocabulary() -> Vocabulary:
    """What the labelled documents are written with: no withheld word, and one pattern in six left out."""
    withheld = withheld_insults()
    return Vocabulary(
        insults=tuple(word for word in all_insults() if word not in withheld),
        abuse=tuple(line for number, line in enumerate(ABUSE) if number % 6),
        spam=tuple(line for number, line in enumerate(SPAM) if number % 6),
    )


def abuse_document(rng: random.Random, words: Vocabulary, name: str, story: str) -> str:
    """Four to eight insults, to nobody or to a story's character; one in three begins or ends like that story."""
    lines = [
        line.format(insult=rng.choice(words.insults), adjective=rng.choice(ADJECTIVES), name=name)
        for line in rng.sample(words.abuse, rng.randint(4, 8))
    ]
    return " ".join(_with_story(rng, lines, story))


def spam_document(rng: random.Random, words: Vocabulary, story: str) -> str:
    """Four to nine lines of advertisement; one in three begins or ends like an honest story."""
    lines = [
        line.format(
            product=rng.choice(PRODUCTS),
            scheme=rng.choice(SCHEMES),
            site=f"www.{rng.choice(SITES)}.example",
            percent=rng.randrange(10, 95, 5),
            price=f"{rng.randint(4, 99)}.{rng.choice(('99', '95', '00'))}",
            money=rng.choice((100, 250, 500, 999, 1000, 2500, 5000, 10000)),
            code=f"{rng.choice(('SAVE', 'WIN', 'DEAL'))}{rng.randint(10, 99)}",
        )
        for line in rng.sample(words.spam, rng.randint(4, 9))
    ]
    if rng.random() < 0.2:
        lines[0] = lines[0].upper()
    return rng.choice((" ", "\n")).join(_with_story(rng, lines, story))


def hard_clean(rng: random.Random, name: str) -> str:
    """An honest sentence about money, prizes or a quarrel."""
    return rng.choice(HARD_CLEAN).format(name=name)


def _with_story(rng: random.Random, lines: list[str], story: str) -> list[str]:
    where = rng.random()
    if where < 1 / 6:
        return [story, *lines]
    if where < 1 / 3:
        return [*lines, story]
    return lines
