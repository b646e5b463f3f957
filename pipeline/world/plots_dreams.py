"""Plots about wanting and daring: a wish, a brave deed, a journey, a thing made by hand, a race, a thing borrowed."""
# ruff: noqa: E501 (a template stays on one line, so that it can be read and searched as the sentence it writes)

from pipeline.world.beats import GREET, HELLO, MEET, SAD_FEELING, SCENE
from pipeline.world.plot import Plot

WISH = Plot(
    name="wish",
    start=(
        (
            "More than anything, {M} wished for a {look} {col} {T}.",
            "{M} wished for a {look} {col} {T}, more than for {food} or {trinket}.",
            "Every {tod}, {M} dreamed of having a {look} {col} {T}.",
            "{when}, {M} saw a {look} {col} {T} in a window and wanted it at once.",
            '"I wish I had a {look} {col} {T}," {said} {M} [every {tod}|every {weekday}|in {month}].',
        ),
        (
            "",
            "But a {T} cost {number} coins, and {he} had only {trinket}.",
            "But there was no {T} like it [anywhere|for sale|in any shop], only {trinket} and {clothes}.",
            "But {giver} only ever gave {him} {clothes} and {food}.",
            "So {he} asked {giver}, but got only {clothes}.",
            "So {he} [sold|carried] {food} for {aperson} and saved {number} coins.",
        ),
    ),
    trouble=(
        (
            "{when}, {M} went {hobby} {at} and thought of the {T}.",
            "{when}, {M} {went} {to}, where wishes come true, people said.",
            "{when}, {M} threw {trinket} in the air {at} and made a wish.",
            "{when}, {M} sat {at} and looked at the {sky}.",
        ),
        (*SCENE, *SAD_FEELING, ""),
    ),
    turn=(
        MEET,
        HELLO,
        (*GREET, ""),
        (
            "",
            '"I wish for a {T}," {said} {M} {warmly}.',
            '"If only I had a {T}," {said} {M}. "I would [share it|polish it|take care of it] every {weekday}."',
            "{M} {warmly} told {H} about the {T}.",
        ),
        (
            "",
            '"Close your eyes and count to {number}," {said} {H} {warmly}.',
            '"Help me with my {food} first," {said} {H}, and they worked for {span}.',
            '"Wishes need patience," {said} {H}, {doing}.',
            '"Bring me {trinket} and {trinket}," {said} {H}, "and we shall see."',
            '"I know {aperson} who has many things," {said} {H} {warmly}.',
        ),
    ),
    happy=(
        (
            "And there it was, the {T}, and {M} laughed out loud.",
            "{H} went in and came back with the {T}, and {M} hugged {H}.",
            "In the {tod}, the {T} lay behind {hide} with a note: for {M}, with joy.",
            "With a {sound} the {T} stood there, and {M} cheered.",
            '"This {T} is for you," {said} {H} with a smile.',
        ),
        ("", '"{hooray}!" laughed {M}.', "{M} shared {food} with everybody.", "{number} {birds} sang {song}."),
    ),
    sad=(
        (
            "But when {M} looked again, there was no {T}, and {H} was gone.",
            "But {aperson} had already sold the {T}, and it was too late.",
            "But the wish never came true, and the {T} stayed a dream.",
            "The {T} came, but it {broke} the same day and was gone.",
        ),
        (
            "",
            '"I am sorry," {said} {H} {warmly}.',
            "{M} wept into the {food}.",
            '"Not all wishes come true," sighed {H}.',
        ),
    ),
)

BRAVE = Plot(
    name="dare",
    start=(
        (
            "{M} was [afraid|scared|frightened] of the dark and of {insects}.",
            "{M} was [afraid|scared|frightened] of [heights|thunder|deep water] and never went out in {weather} weather.",
            "{M} did not dare to go far, and stayed at home with {food} and {drink}.",
            "Nobody thought that {M} could be a hero, for {he} was {scaredf} of {insects}.",
        ),
        (
            "{when}, the {who*} left a {look} {col} {T} {at}.",
            "{when}, {number} {birds} dropped a {look} {col} {T} {at}, high up behind {hide}.",
            "{when}, a {look} {col} {T} was left behind {at}.",
            "{when}, the {look} {col} {T} of the {who*} fell behind {hide} {at}.",
        ),
    ),
    trouble=(
        (
            "",
            '"Who will fetch the {T}?" {asked} the {who*}, but nobody answered.',
            '"It is too [dark|high|deep|far] there," {said} the {who*}, and everybody looked {scaredf}.',
            "Nobody wanted to get the {T}, for there was a strange {sound}.",
            "{span} passed, and nobody went there, for they were {scaredf}.",
        ),
        (
            "",
            '"I will do it," {said} {M} at last, quite {scaredf}.',
            "{M} was {scaredf} and {scaredf}, but took a deep breath.",
            "{M} ate some {food}, hummed {song} and felt less {scaredf}.",
            "{M} put on {clothes} and tried not to be {scaredf}.",
        ),
    ),
    turn=(
        MEET,
        HELLO,
        (
            "",
            '"Hold on to me," {said} {H} {warmly}. "I am {scaredf} too."',
            '"You can do it," {said} {H} {warmly}. "Think of {food}."',
            '"Sing {song} when you are {scaredf}," {said} {H}.',
            '"Being {scaredf} is not so bad," {said} {H}, and offered {food}.',
        ),
        (
            "",
            "{M} {went} {slowly} past {hide}, and there was a {sound}.",
            "{slowly}, {M} crept under {hide}, with a {sound} and a {sound} all around.",
            "{M} climbed over {hide} and counted to {number}.",
            "{M} shut both eyes, thought of {dream} and jumped over {hide}.",
        ),
    ),
    happy=(
        (
            "It was only {insects}! {M} laughed and took the {T}.",
            "And then {M} held the {T} high, and everybody cheered.",
            '"I did it!" called {M}, and held up the {T} with a smile.',
            "{M} brought back the {T}, and {H} hugged {M}.",
        ),
        (
            "",
            '"{hooray} for {M}!" {said} the {who*}.',
            "{aperson} gave {M} {food} and {trinket}.",
            '"What a hero!" laughed {H}.',
        ),
    ),
    sad=(
        (
            "But {M} slipped, and the {T} fell into a deep hole and was gone.",
            "But then {M} ran away, and the {T} was lost for ever.",
            "{M} nearly had the {T}, but it {broke} with a {sound}.",
            "But the {T} was gone, and nobody had seen how far {M} went.",
        ),
        ("", '"It is too late," sighed {H}.', "{M} had tears in both eyes.", '"I am sorry," {said} {M}, and wept.'),
    ),
)

JOURNEY = Plot(
    name="journey",
    start=(
        (
            "{when}, {giver} asked {M} to carry a {look} {col} {T} to the {who*} {at}.",
            "{when}, {M} set out {to} with a {look} {col} {T} for the {who*}.",
            '"Take this {look} {col} {T} to the {who*} {at}," {said} {giver2} {when2}, and {M} set off.',
            "{when}, a letter came: the {who*} {at} needed a {look} {col} {T}, and {M} had one.",
        ),
        (
            "{He} packed {food} and {drink} and {went} off in {clothes*}.",
            "The way was long, and {he} sang {song}.",
            "With {clothes*}, {food} and {drink}, {he} {went} along the road.",
            "",
        ),
    ),
    trouble=(
        (
            "",
            "On the first day, {M} {went} past {hide} and {number} {birds}.",
            "{M} {went} for {span}, past {flowers} and {tree} trees.",
            "First {M} {went} through mud, then through {flowers}, then through {weather} air.",
            "The road went up and down, and {M} rested behind {hide} and ate {food}.",
        ),
        (
            "",
            "Then the road forked behind {hide}, and {M} felt {sadf}.",
            "Then fog came down, and {M} could not see the {T} in front of {his} nose.",
            "Soon the {drink} was gone, and {M} felt {sadf} and {sadf}.",
            "Then {M} lost one of the {clothes*} and felt {sadf}.",
        ),
    ),
    turn=(
        MEET,
        HELLO,
        (
            "",
            '"Which way must I take the {T}?" {asked} {M} {warmly}.',
            '"I must bring this {T} to the {who*}," {said} {M} {warmly}.',
            '"Where are you going with that {T}?" {asked} {H} {warmly}.',
        ),
        (
            '"Turn left at {hide}," {said} {H}, "and then follow the {birds}."',
            '"I will come with you," {said} {H} {warmly}, and shared {food}.',
            '"Sleep in my {house} first," {said} {H}, and gave {M} {drink}.',
            '"Follow the smell of {smell}," {said} {H} {warmly}.',
        ),
        (
            "So they {went} on, {slowly} and then {quickly}, for {span}.",
            "The {birds} showed the way, past {hide} and past {hide}.",
            "Together they sang {song} and {went} on.",
            "",
        ),
    ),
    happy=(
        (
            "At last {M} was there, and the {who*} took the {T} with a smile.",
            "the {who*} laughed for joy at the {T} and gave them {food}.",
            "When {M} arrived with the {T}, everybody cheered and hugged.",
            '"{hooray}, the {T} is here!" {said} the {who*} with a smile.',
        ),
        (
            "",
            "There was {song}, and there were {food}.",
            "{M} was given {trinket} and {food}.",
            "{H} danced with the {who*}.",
        ),
    ),
    sad=(
        (
            "But when they arrived, the {who*} was gone, and the {T} had come too late.",
            "But the house there was empty, and nobody wanted the {T}.",
            "But on the last day the {T} fell in deep water and was gone.",
            "But they arrived too late, and the {T} was never used.",
        ),
        (
            "",
            "{M} sat down with tears.",
            '"All that way for nothing," sighed {H}.',
            '"I am sorry," {said} {H} {warmly}.',
        ),
    ),
)

MAKE = Plot(
    name="make",
    start=(
        (
            "{when}, there was a contest {at} for the best homemade {T}.",
            "{when}, the {who*} {at} offered a prize for the most {look} {T}.",
            "{when}, {M} decided to make a {T} to show {at}.",
            "{when}, the {who*} asked {M} to make a {T} for the fair {at}.",
        ),
        (
            "",
            "{M} wanted to make a {look} {col} {T} out of {trinket*}.",
            '"Mine will be {look} and {col}," {said} {M}, and fetched {trinket*}.',
            '"I need {tool} and {trinket*}," {said} {M}.',
            "{M} drew a plan on the back of a postcard with {food} on it.",
        ),
    ),
    trouble=(
        (
            "",
            "{He} worked for {span} with {tool} and {tool}.",
            "{quickly}, {he} took {tool} and {tool} and set to work.",
            "{He} used {tool}, {tool} and even {clothes}.",
            "{slowly}, {he} put {trinket*} on it with {tool}.",
        ),
        (
            "Then there was a {sound}, and the {T} fell apart.",
            "But the {T} looked like {food}, and {he} felt {sadf}.",
            "But then there was no more {stuff*}, and {he} felt {sadf}.",
            "But {number} {birds} flew off with the {trinket*}.",
        ),
    ),
    turn=(
        MEET,
        HELLO,
        (
            "",
            '"Is that a {T} or {food}?" {asked} {H} {warmly}.',
            '"My {T} is a mess," {said} {M}, and looked {sadf}.',
            '"It needs {tool}," {said} {H} {warmly}.',
            '"I made a {T} once," {said} {H}, {doing}.',
        ),
        (
            "",
            "{H} brought {tool}, and together they tried again {slowly}.",
            "{H} held it, and {M} worked {quickly} with {tool}.",
            "They worked on it with {tool}, and ate {food} in between.",
            '"We can do it with {tool}," {said} {H}, and {quickly} they began again.',
        ),
    ),
    happy=(
        (
            "The {T} was finished just in time, and it won a prize of {trinket*}. Everybody cheered.",
            '"What a {look} {T}!" {said} the {who*} with a smile.',
            "the {who*} liked the {T} best of all, and {M} hugged {H}.",
            "{M} held up the {T}, and everybody laughed and clapped.",
        ),
        (
            "",
            '"{hooray}!" laughed {H}.',
            "The prize was {food} and {drink}.",
            "The two shared the prize, {food} and {trinket*}.",
        ),
    ),
    sad=(
        (
            "But the {T} came too late, and the fair was over.",
            "But {aperson} won the prize, and nobody looked at the {T}.",
            "But on the way the {T} {broke}, and all the work was lost.",
            "But it rained that day, and the {T} was spoiled for ever.",
        ),
        (
            "",
            '"I am sorry," {said} {H} {warmly}.',
            "{M} wept behind {hide}.",
            "{M} gave away the {stuff*} and sighed.",
        ),
    ),
)

PLOTS: tuple[Plot, ...] = (WISH, BRAVE, JOURNEY, MAKE)
