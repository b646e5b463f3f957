"""Plots about a race for a prize, a borrowed thing and a strange visitor."""

from pipeline.world.beats import GREET, HELLO, MEET, SAD_FEELING, SCENE
from pipeline.world.plot import Plot
from pipeline.world.plots_friends import FRIEND

RACE = Plot(
    name="race",
    start=(
        (
            "{when}, there was a great race {at}, and the prize was a {look} {col} {T}.",
            "{when}, the {who*} held a game of {game} {at}, with a {look} {col} {T} as the prize.",
            "{when}, a notice hung {at}: whoever is best at {hobby} wins a {look} {col} {T}.",
            "{when}, everybody met {at} for a contest in {hobby}, to win a {look} {col} {T}.",
        ),
        (
            "",
            "{M} wanted the {T} and trained for {span}.",
            '"I want that {T}," {said} {M}, and ate {food} to grow strong.',
            "{M} practised {quickly} and ate nothing but {food}.",
            "{M} put on {clothes*} and felt {scaredf}.",
        ),
    ),
    trouble=(
        MEET,
        HELLO,
        (
            "",
            '"I am going to win the {T}," {said} {H} {warmly}.',
            '"Good luck," {said} {H} {warmly}, and shared {food}.',
            '"I want the {T} for my {relative}," {said} {H} {warmly}.',
            '"You are too slow," {said} {H}, a little {crossf}.',
        ),
    ),
    turn=(
        (
            "",
            "{sound}! It began, and {M} {went} off {quickly}, past {hide}.",
            "It began with a {sound}, and {number} {birds} watched from the {tree} trees.",
            "the {who*} counted to {number}, and off they went, {quickly} and {quickly}.",
            "the {who*} sang {song}, and then it began.",
        ),
        (
            "",
            "Halfway, {M} slipped on {food} and fell over {hide}.",
            "Suddenly {H} fell over {hide} with a {sound}.",
            "In the middle of it all, {M} lost one of the {clothes*}.",
            "Near the end, {number} {insects} flew around the ears of {M}.",
        ),
        (
            "",
            "{H} stopped and helped {warmly}.",
            "{M} did not give up, and went on {quickly}.",
            '"Up you get," {said} the {who*}, and it went on {quickly}.',
            "{slowly} {M} went on, and felt {scaredf}.",
        ),
    ),
    happy=(
        (
            "{M} won after all, and the {who*} handed over the {T} with a smile.",
            "In the last moment {M} won the {T}, and everybody cheered.",
            "They came in together and hugged, and so the {T} belonged to both.",
            "{H} won, but gave {M} the {T} with a smile.",
        ),
        (
            "",
            '"{hooray}!" {said} the {who*}.',
            "They had {food} for everybody, and they danced.",
            "{H} and {M} laughed and ate {food}.",
        ),
    ),
    sad=(
        (
            "But {H} was faster, and the {T} was gone.",
            "But {aperson} won the {T}, and {M} came in last.",
            "{M} won, but the {T} {broke} on the way home.",
            "{M} came too late, and the {T} went to {aperson}.",
        ),
        ("", "{M} had tears in both eyes.", '"I am sorry," {said} {H} {warmly}.', "Nobody clapped, and {M} sighed."),
    ),
)

BORROW = Plot(
    name="borrow",
    start=(
        FRIEND,
        (
            "{when}, {M} borrowed a {look} {col} {T} from {H} and took it {to}.",
            "{when}, {H} lent {M} a {look} {col} {T}, for use {at}.",
            '"May I borrow your {col} {T}?" {asked} {M} {when2}, and took it {to}.',
            "{when}, {H} gave {M} a {look} {col} {T} to look after, and {M} carried it {to}.",
        ),
    ),
    trouble=(
        (
            "",
            '"Bring it back on {weekday}," {said} {H} {warmly}.',
            '"Take good care of it," {said} {H}, {doing}.',
            "{M} promised {warmly} to bring it back on {weekday}.",
            "",
        ),
        (
            "But {M} went {hobby} and forgot the {T} behind {hide}.",
            "But {M} played {game} until the {T} was full of mud and {food}.",
            "But {span} later {M} could not remember where the {T} was.",
            "But {M} spilled {drink} on the {T}, and it smelled of {smell}.",
        ),
        (*SAD_FEELING, ""),
    ),
    turn=(
        (
            "On {weekday}, {H} asked for the {T}, and {M} felt {scaredf}.",
            '"Where is my {T}?" {asked} {H} on {weekday}.',
            "Then {H} came along, {doing}, and wanted the {T} back.",
            "{M} {went} to the {house} of {H} {slowly}, {scaredf} and {scaredf}.",
        ),
        (
            "",
            '"I was careless," {said} {M} {warmly}. "I am sorry."',
            "{M} {warmly} told {H} the truth.",
            "{M} wanted to tell a lie about {aperson}, but then told the truth.",
            '"Please forgive me," {said} {M}, and offered {food}.',
        ),
        (
            "Together they {peered} behind {hide} and washed things with {tool}.",
            "{quickly}, they {went} back and {peered} behind {hide}.",
            '"Let us see what we can do," {said} {H}, and fetched {tool}.',
            "",
        ),
    ),
    happy=(
        (
            "Soon the {T} was found and clean again, and {H} smiled.",
            "The {T} was as {look} as before, and {M} hugged {H}.",
            '"Thank you for telling me," laughed {H}. "You may keep the {T}."',
            "When the {T} shone again, both of them cheered.",
        ),
        (
            "",
            "{H} poured {drink}, and they ate {food}.",
            '"{hooray}!" {said} {M}.',
            "Then they went {hobby} together.",
        ),
    ),
    sad=(
        (
            "But the {T} was gone for ever, and {H} went away without a word.",
            "But the {T} was spoiled, and {H} never lent {M} anything again.",
            '"I do not want to see you any more," {said} {H}, and took the {T}, all {broken}.',
            "But {H} only wept over the {T}, and the friendship was gone.",
        ),
        (
            "",
            "{M} had tears in both eyes.",
            "Nobody came to play {game} any more.",
            "{M} left {food} at the door, but it was too late.",
        ),
    ),
)

VISITOR = Plot(
    name="visitor",
    start=(
        (
            "{when}, there was a strange {sound} {at}, and {M} {went} there to look.",
            "{when}, {M} found footprints {at}, as big as {food}.",
            "{when}, {M} heard a {sound} and a {sound} {at}.",
            "{when}, somebody left {trinket} {at}, and {M} wondered who.",
        ),
        (
            "Next to {hide} lay a {look} {col} {T}.",
            "There, behind {hide}, was a {look} {col} {T} and nobody near.",
            "And there stood a {look} {col} {T} that smelled of {smell}.",
            "Between {trinket} and {flowers} lay a {look} {col} {T}.",
        ),
    ),
    trouble=(
        (
            "",
            '"Whose {T} is this?" {asked} {M}, {scaredf} and {scaredf}.',
            "{He} took the {T} to {aperson}, but nobody knew it.",
            "{He} {peered} {slowly} behind {hide} and felt {scaredf}.",
            "{He} asked {number} {birds} about the {T}, but they flew away.",
            "{He} wanted to keep the {T}, but that would not be right.",
        ),
        (*SCENE, ""),
    ),
    turn=(
        MEET,
        HELLO,
        (
            '"I come from far away, from {dream}," {said} {H} {warmly}.',
            '"I have no home any more," {said} {H}, {sadf} and {sadf}.',
            '"That {T} is all I have," {said} {H} {warmly}.',
            '"Please do not be {scaredf}," {said} {H} {warmly}.',
            *GREET,
        ),
        (
            "",
            '"Is this {T} yours?" {asked} {M} {warmly}.',
            "{M} {warmly} gave back the {T} and some {food}.",
            '"Stay in my {house}," {said} {M}, "and bring the {T}."',
            "{M} wondered about the {T}, and offered {food} and {drink}.",
        ),
    ),
    happy=(
        (
            "So {H} stayed, and the two played with the {T} and laughed.",
            '"Now I have a friend and a {T}," laughed {H}.',
            "{H} smiled and {warmly} gave {M} the {T}.",
            "They hugged and took the {T} home to the {houseadj} {house}.",
        ),
        (
            "",
            "They went {hobby} together and ate {food}.",
            '"{hooray}!" {said} {M}.',
            "{aperson} brought {food} and {drink}.",
        ),
    ),
    sad=(
        (
            "But on {weekday} {H} had to go, took the {T} and never came back.",
            "But in the {tod} both {H} and the {T} were gone.",
            "{H} took the {T}, sighed and went on alone.",
            "But {H} had lost the way home for ever, and even the {T} did not help.",
        ),
        ("", "{M} waved with tears.", "Only {trinket} lay there, and {M} wept.", "{M} called, but it was too late."),
    ),
)

PLOTS: tuple[Plot, ...] = (RACE, BORROW, VISITOR)
