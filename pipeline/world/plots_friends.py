"""Plots about two friends: a quarrel, sharing, a surprise party, a helping hand, a borrowed thing."""
# ruff: noqa: E501 (a template stays on one line, so that it can be read and searched as the sentence it writes)

from pipeline.world.beats import HELLO, MEET, SCENE
from pipeline.world.plot import Plot

FRIEND: tuple[str, ...] = (
    "[The best friend of {M} was|{M} had a good friend,] {H}, a {hadj} {hkind} who loved {food}.",
    "{M} had a friend [named|called] {H}, a {hadj} {hkind} from the {houseadj} {house} [next door|down the road|with the {flowers}].",
    "Next door lived {H}, a {hadj} {hkind}, and the two were friends and shared {food}.",
    "{M} and {H}, a {hadj} {hkind}, met every {weekday} to play {game}.",
    "{M} often went {hobby} with {H}, a {hadj} {hkind} who knew {song}.",
    "Nobody was a better friend than {H}, a {hadj} {hkind} with a love of {hobby}.",
)

SORRY: tuple[str, ...] = (
    '"I [am|was] sorry," {said} {H}, and laid down {trinket}.',
    '"I should not have been so {crossf}," {said} {M} {warmly}.',
    "{M} {warmly} said sorry and offered {food}.",
    "{H} {warmly} brought {food} and {drink} and said sorry.",
    '"What is a {T} without a friend?" {asked} {M} {warmly}.',
)

QUARREL = Plot(
    name="quarrel",
    start=(
        FRIEND,
        (
            "{when}, they found a {look} {col} {T} {at}.",
            "{when}, they saw a {look} {col} {T} lying {at}, behind {hide}.",
            "{when}, {giver2} gave the two friends a {look} {col} {T}, and they took it {to}.",
            "{when}, they were {hobby} {at} and stumbled over a {look} {col} {T}.",
        ),
    ),
    trouble=(
        (
            '"The {T} is mine," {said} {M}. "No, I saw it first," {said} {H}.',
            '"Give me the {T}!" {said} {M} and {H} both at once.',
            "Both of them wanted the {T}, and both of them pulled {quickly}.",
            '"I need the {T} for {hobby}," {said} {H}. "And I need it for {hobby}," {said} {M}.',
            '"You always get everything," {said} {H}, and took the {T}.',
        ),
        (
            "",
            "{M} was {crossf}, {H} was {crossf}, and nobody wanted to play {game}.",
            "They threw {food} at each other and became {crossf} and {crossf}.",
            '"I will never share {food} with you again," {said} {M}, quite {crossf}.',
            "They shouted until the {birds} flew away, {crossf} and {crossf}.",
            "{M} {went} behind {hide}, and {H} {went} behind {hide}, both {crossf}.",
        ),
        (*SCENE, "", ""),
    ),
    turn=(
        (
            "",
            "{span} went by, and {game} alone was no fun.",
            "{soon}, {aperson} came along and asked why two friends were so {crossf}.",
            "{soon}, it began to rain, and both hid behind {hide}.",
            "That {tod}, {M} ate {food} alone, and it tasted of nothing.",
            "All through {weekday}, {M} felt {sadf} and could think of nothing but {H}.",
        ),
        HELLO,
        (*SORRY, ""),
    ),
    happy=(
        (
            "They hugged, and from {weekday} to {weekday} the {T} belonged to both friends.",
            '"You may have the {T} on {weekday}, and I take it on {weekday}," laughed {H}.',
            "So they made peace, [shook hands|hugged] {warmly} and shared the {T} and the {food}.",
            "They laughed at the quarrel and took turns with the {T}.",
        ),
        (
            "",
            "Then they played {game} with {number} {birds}.",
            '"{hooray}!" {said} {M}, and they ate {food}.',
            "{H} hummed {song}, and {M} danced.",
        ),
    ),
    sad=(
        (
            "But {H} took the {T} and moved far away, and the friendship was gone.",
            "But they pulled once more, and the {T} {broke} for ever.",
            "But the two never spoke again, and the {T} lay forgotten behind {hide}.",
            "But {H} did not listen, and took the {T} home alone.",
        ),
        (
            "",
            "{M} had tears in both eyes.",
            "Nobody was left for {game}, and {M} sighed.",
            "Even the {food} was gone.",
        ),
    ),
)

SHARE = Plot(
    name="share",
    start=(
        (
            "{M} had a {look} {col} {T}, the only one {at}.",
            "{when}, {giver} gave {M} a {look} {col} {T}, and {he} took it {to}.",
            "{M} [guarded|treasured|polished] a {look} {col} {T} and showed it to nobody {at}.",
            "{when}, {M} sat {at} with a {look} {col} {T} and [a heap of|a big plate of|some] {food}.",
        ),
        (*SCENE, ""),
    ),
    trouble=(
        MEET,
        HELLO,
        (
            '"May I [borrow|try|use|hold] the {T}?" {asked} {H} {warmly}.',
            '"Oh, what a {look} {T}!" {said} {H} {warmly}. "May I have a turn?"',
            '"I never had a {T}," {said} {H} {warmly}, "not even at {season} time."',
            '"Would you share the {T} with me?" {asked} {H}, and held out some {food}.',
        ),
        (
            '"No, it is mine," {said} {M}, and {went} away {quickly}.',
            '"Go away," {said} {M}, {crossf} and {crossf}.',
            '"Only for {number} {trinket}," {said} {M}, but {H} had none.',
            "{M} hid the {T} behind {hide} and said nothing.",
            '"You would only [drop|spoil|ruin] it," {said} {M}, a little {crossf}.',
        ),
    ),
    turn=(
        (
            "",
            "{H} {went} away {slowly} and felt {sadf}.",
            "{H} sat down behind {hide}, {sadf} and {sadf}.",
            "{H} only nodded and went back to {hobby}, rather {sadf}.",
            '"Then I will play {game} alone," {said} {H}, quite {sadf}.',
        ),
        (
            "",
            "{soon}, {M} noticed that a {T} is no fun alone.",
            "{soon}, {M} thought of {H} and felt {sadf}.",
            "All the while, {M} looked at the {T} and at the empty road.",
            "{span} passed, and the {T} seemed less {look} to {M}.",
        ),
    ),
    happy=(
        (
            '"Come back, {H}! We can share," called {M}, and held out the {T} with a smile.',
            "So {M} ran to {H}, made peace and shared the {T} and {food}.",
            '"You first," {said} {M} {warmly}, and gave {H} the {T}.',
            "{M} brought {H} the {T}, and together they laughed and sang {song}.",
        ),
        (
            "",
            "The two took turns until the {birds} went to sleep.",
            '"{hooray}!" laughed {H}.',
            "They ate {food} under a {tree} tree and smiled.",
        ),
    ),
    sad=(
        (
            "But {H} was gone, and nobody else wanted to see the {T}.",
            "{M} ran after {H}, but it was too late, and the road was empty.",
            "Then the {T} {broke}, and nobody was there to help.",
            "But {M} could not let go of the {T} and sat there alone.",
        ),
        (
            "",
            "{M} looked at the {T} with tears.",
            "The {T} was no fun any more, and {M} sighed.",
            "The {food} went bad, and the {birds} were gone.",
        ),
    ),
)

PARTY = Plot(
    name="party",
    start=(
        FRIEND,
        (
            "{when}, {H} had a birthday, and {M} planned a surprise party {at}.",
            "{M} wanted to surprise {H} with a secret party {at} in {month}.",
            "{H} was going to be {few} on {weekday}, and {M} planned a secret party {at}.",
            "{H} had been {sadf} for {span}, so {M} planned a surprise party {at}.",
        ),
    ),
    trouble=(
        (
            '"The best present is a {look} {col} {T}," {said} {M}, and bought one from {aperson}.',
            "For a present, {M} chose a {look} {col} {T} and hid it behind {hide}.",
            "{M} worked for {span} to make a {look} {col} {T} as a present.",
            "{aperson} sold {M} a {look} {col} {T} for {number} {trinket}, just right for a present.",
        ),
        (
            "",
            "{M} hung up {deco*} and {flowers} and baked {food}.",
            "{aperson} brought {food}, and {aperson} brought {deco*}.",
            "{quickly}, {M} put out {food}, {drink} and {deco*}.",
            "{number} guests came with {deco*}, {food} and {drink}.",
            "There were {deco*} in every {tree} tree, and it smelled of {smell}.",
        ),
    ),
    turn=(
        (
            "",
            "[Everybody|All the guests] hid behind {hide} and waited {slowly} for {H}.",
            '"Hush, not a word!" {said} {M}, and everybody hid behind {hide}.',
            "Then the guests hid among the {flowers} and held their breath.",
            "For {span} nothing was heard but {insects}.",
        ),
        (
            "{soon}, {H} came along, {doing}.",
            "{soon}, {H} {went} around the corner, {doing}.",
            "At last {H} came back from {hobby}.",
            "But {H} did not come, not even after {span}.",
        ),
    ),
    happy=(
        (
            '"Surprise!" called {M}, and gave {H} the {T} with a hug.',
            "When {H} saw the {deco*} and the {T}, everybody laughed and cheered.",
            '"Is that {T} for me?" laughed {H} {warmly}.',
            "{H} unwrapped the {T}, hugged {M} and danced for joy.",
        ),
        (
            "Then they played {game} and {game}.",
            "",
            "{aperson} played {song}, and they ate {food}.",
            '"{hooray}!" {said} {aperson}, and everybody had {drink}.',
        ),
    ),
    sad=(
        (
            "But {H} was ill and had to stay in bed, and the {T} lay there alone.",
            "But {H} had moved away in {month}, and the {T} stayed in its paper, forgotten.",
            "But the {T} was gone: somebody had stolen it, and the party was over.",
            "But rain fell on the {deco*}, and the {T} {broke}.",
        ),
        (
            "",
            "One by one the guests went home, sorry and wet.",
            "The {food} got cold, and {M} sighed.",
            "{M} took down the {deco*} with tears.",
        ),
    ),
)

HELP = Plot(
    name="help",
    start=(
        (
            "{when}, {M} was {hobby} {at} and saw {H}, a {hadj} {hkind}.",
            "{when}, {M} heard somebody cry {at}. It was {H}, a {hadj} {hkind}.",
            "{when}, {H}, a {hadj} {hkind}, sat {at}, {sadf} and {sadf}.",
            "{when}, there was a {sound} {at}, and then {M} saw {H}, a {hadj} {hkind}.",
        ),
        (*SCENE, ""),
    ),
    trouble=(
        (
            "",
            '"What is wrong?" {asked} {M} {warmly}.',
            "{M} {went} over and offered some {food}.",
            '"You look {sadf}," {said} {M} {warmly}. "Can I help?"',
            '"Hello there, do you need help?" {asked} {M} {warmly}.',
        ),
        (
            '"My {look} {col} {T} is stuck behind {hide}," {said} {H}.',
            '"I need a {T} for {hobby}, and I have none," {said} {H}.',
            '"My {col} {T} fell into a deep hole," {said} {H}, and looked {sadf}.',
            '"I must carry this {col} {T} home, and it is too heavy," {said} {H}.',
            '"The wind blew my {look} {T} into a {tree} tree," {said} {H}.',
        ),
    ),
    turn=(
        (
            '"I will help you," {said} {M} {warmly}, and thought for {span}.',
            '"Do not worry about the {T}," {said} {M}. "I have an idea."',
            "{M} put down the {food} and set to work {quickly}.",
            '"Two can do what one cannot," {said} {M} {warmly}.',
        ),
        (
            "",
            "{quickly}, {M} fetched {tool} and {tool} from {aperson}.",
            "{M} asked {aperson} for help, and {number} {birds} came too.",
            "They pushed and pulled {slowly}, with {tool} and a {sound}.",
            "{M} climbed onto {hide}, {slowly} and with a {sound}.",
            "First they tried {tool}, then {tool}, and {M} felt {scaredf}.",
        ),
    ),
    happy=(
        (
            '"Here is your {T}," laughed {M}, and {H} hugged {M}.',
            "It worked! {H} had a {T} again and danced for joy.",
            "Soon {H} held the {T}, with a smile as wide as {food}.",
            "At last the {T} was where it belonged, and both of them cheered.",
        ),
        (
            "",
            '"Thank you, {M}," {said} {H}. "Please take these {trinket}."',
            "They shared {food} and {drink}.",
            '"{hooray}!" {said} {H}, and sang {song}.',
        ),
    ),
    sad=(
        (
            "But the {T} {broke} with a {sound}, and all the work was in vain.",
            "But it did not work, and {H} went away with tears and no {T}.",
            "But the {T} was gone for ever, and {M} could only say sorry.",
            "But it grew dark, and they had to leave the {T} behind, lost for ever.",
        ),
        (
            "",
            '"You tried," {said} {H}, and wept.',
            "{H} went home {slowly} and alone.",
            "{M} sighed and looked at {hide}.",
        ),
    ),
)

PLOTS: tuple[Plot, ...] = (QUARREL, SHARE, PARTY, HELP)
