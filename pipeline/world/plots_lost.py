"""Plots about things that get lost, broken, blown away or hidden. The slots are explained in beats.py."""
# ruff: noqa: E501 (a template stays on one line, so that it can be read and searched as the sentence it writes)

from pipeline.world.beats import GREET, HELLO, MEET, SAD_FEELING
from pipeline.world.plot import Plot

HAVE: tuple[str, ...] = (
    "{M} [had|owned|treasured] a {look} {col} {T}, a [gift|present|keepsake] from {giver}.",
    "Best of all, {M} loved a {look} {col} {T} that {giver} had [bought|made|carved|painted].",
    "[On a {weekday} in {month}|For a birthday|Last {season}], {giver} had given {M} a {look} {col} {T}.",
    "{M} never went anywhere without a {look} {col} {T} [from {giver}|that smelled of {smell}|found among {trinket}].",
    "The [dearest|best|finest] treasure of {M} was a {look} {col} {T}, [older|better|dearer] than all the {trinket}.",
    "{M} had saved {number} coins to buy a {look} {col} {T} from a {person}.",
    "A {look} {col} {T} lay beside {M} every night and smelled of {smell}.",
)

LOST = Plot(
    name="lost",
    start=(
        HAVE,
        (
            "{when}, {M} went {hobby} {at}, and suddenly the {T} was gone.",
            "{when}, {M} came home from {hobby} {at} without the {T}.",
            "{when}, {M} played {game} {at} and forgot the {T} [behind|beside|near] {hide}.",
            "{when}, {M} looked up from a game of {game} {at}, and the {T} was [missing|gone|not there].",
            "{when}, {M} [ate|shared] {food} {at}, and when the last bite was gone, the {T} was gone too.",
            "{when}, somewhere {at}, the {T} slipped [away|out of sight|down] while {M} was {hobby}.",
        ),
    ),
    trouble=(
        (*SAD_FEELING, ""),
        (
            "",
            "{He} {peered} {slowly} behind {hide}, but found only {trinket}.",
            "{He} {peered} under {hide} and behind {hide}, but there was nothing except {insects}.",
            "{He} {went} back and {peered} behind {hide}, where {insects} were crawling.",
            "{He} asked a {person}, {number} {birds} and a {person}, but nobody had seen it.",
            "{He} turned over {food}, {trinket} and even {clothes}, but it was not there.",
            "{quickly}, {he} {peered} behind {hide}, and {slowly} behind {hide}, and found {trinket}.",
        ),
    ),
    turn=(
        MEET,
        HELLO,
        (*GREET, ""),
        (
            "",
            '"I [have lost|cannot find|miss] my {T}," {said} {M} {warmly}.',
            '"My {col} {T} is lost," {said} {M}. "I had it [last {weekday}|before the {food}|{span} ago]."',
            "{M} {warmly} told {H} about the lost {T}.",
            '"Have you seen a {look} {T}?" {asked} {M} {warmly}.',
            '"Somewhere {at} lies my {T}," {said} {M}, "and I do not know where."',
        ),
        (
            "",
            '"[Then let us|Come on, let us|We will] look together," {said} {H}, and they {peered} [until {tod}|behind {hide}|by lamplight].',
            '"{birds} like {look} things," {said} {H} {warmly}, and together they {peered} behind {hide}.',
            "{H} {warmly} promised to help, and they {went} from {hide} to {hide}.",
            "{H} put on {clothes}, and together they {peered} for {span}.",
            '"Two pairs of eyes see more than one," {said} {H}, and they {went} {slowly} past {hide}.',
        ),
    ),
    happy=(
        (
            "There, behind {hide}, they found the {T}, and {M} [laughed|cheered|grinned] out loud.",
            '"[Here it is|I see it|There]!" called {H}, and held up the {T} with a smile.',
            "The {T} was found at last: {number} {birds} had [slept on it|hidden it|guarded it] behind {hide}.",
            "At last {H} found the {T} [inside|under|behind] {hide}, wet but [whole|unharmed|safe].",
            "A {person} had found the {T} and [brought it back|kept it safe] [under|behind] {hide}.",
        ),
        (
            "{M} hugged {H} and shared {food} [with {drink}|and {food}].",
            '"{hooray}!" laughed {M}. "Thank you, {H}."',
            "",
            "To say thank you, {M} gave {H} {food} and {trinket}.",
        ),
    ),
    sad=(
        (
            "They looked until the stars came out, but the {T} was gone for ever.",
            "But the {T} was never seen again, and {M} [cried|wept].",
            "All they saw was {trinket}, and the {T} stayed lost.",
            "At last they saw it: the {T} had sunk in deep mud, lost for ever.",
            "A {person} had taken the {T} far away, and it never came back.",
        ),
        (
            '"I am sorry," {said} {H}, and gave {M} some {food}.',
            "",
            '"Some things are lost for ever," {said} {H} {warmly}.',
            "{H} was sorry and went home {slowly}.",
        ),
    ),
)

BROKEN = Plot(
    name="broken",
    start=(
        HAVE,
        (
            "{when}, {M} took the {T} {to} and slipped on {food}. {sound}! The {T} {broke}.",
            "{when}, {M} was {hobby} {at} and fell over {hide}, and the {T} {broke}.",
            "{when}, there was a {sound} {at}, and the {T} {broke} in {number} places.",
            "{when}, a {person} {at} stepped on the {T} by mistake, and it {broke}.",
            "{when}, {M} {went} too fast {to}, and with a {sound} the {T} {broke}.",
            "{when}, {M} used the {T} {at} to play {game}, and it {broke}.",
        ),
    ),
    trouble=(
        (*SAD_FEELING, ""),
        (
            "",
            "{He} tried {tool}, but it did not [hold|help|work].",
            "{slowly}, {he} gathered the pieces among the {flowers}.",
            "With {tool} and {tool}, {he} tried to mend it, but it only got worse.",
            "{He} hid the {broken} {T} behind {hide} and told nobody.",
            "{He} took it to a {person}, who only [shrugged|yawned|ate {food}].",
            "{He} wrapped the pieces in {clothes} and {went} home.",
        ),
    ),
    turn=(
        MEET,
        HELLO,
        (*GREET, ""),
        (
            "",
            '"My {T} is {broken}," {said} {M} {warmly}.',
            "{M} {warmly} showed {H} the {broken} {T}.",
            '"Look, the {T} is {broken}," {said} {M}. "It was from {aperson}."',
            '"I {broke} my {T}," {said} {M}, "and I do not know how to mend it."',
        ),
        (
            "",
            '"I have {tool} at home," {said} {H}, and they {went} there {quickly}.',
            "{H} {went} off and came back with {tool} and {tool}.",
            '"First {tool}, then {tool}," {said} {H}, {doing}.',
            "{H} put on {clothes}, took {tool} and set to work {quickly}.",
            "{quickly}, they [looked for|fetched|borrowed] {tool} and {tool} from a {person}.",
        ),
    ),
    happy=(
        (
            "After {span}, the {T} was {mended} and [better than before|as good as new].",
            "{slowly} they {mended} the {T}, and it [looked|was] more {look} than before.",
            "Together they {mended} the {T}, and {M} [laughed|cheered|clapped].",
            "With {tool} the {T} was {mended}, and only a {look} mark was left.",
        ),
        (
            "{M} hugged {H} {warmly}.",
            '"{hooray}!" laughed {M}. "You are a real {person}."',
            "",
            '"{hooray}!" {said} {H}, and they celebrated with {food}.',
        ),
    ),
    sad=(
        (
            "But nothing helped, and the {T} stayed {broken} for ever.",
            "They worked for {span}, but the {T} {broke} again, and {M} [cried|wept].",
            "But too many pieces were lost, and the {T} was never whole again.",
            "In the end the {T} had to be thrown away, and it was gone.",
        ),
        (
            "",
            '"I am so sorry," {said} {H} {warmly}.',
            "{M} buried the pieces under a {tree} tree with tears.",
            '"It was too badly {broken}," sighed {H}.',
        ),
    ),
)

STORM = Plot(
    name="storm",
    start=(
        (
            "{when}, {M} took a {look} {col} {T} {to}.",
            "{when}, {M} was {hobby} {at} with a {look} {col} {T}.",
            "{when}, {M} sat {at} with {food}, {drink} and a {look} {col} {T}.",
            "{M} had a {look} {col} {T}, and {when} {he} carried it {to}.",
        ),
        (
            "",
            "Dark clouds came up behind the {tree} trees, and {birds} flew away.",
            "Suddenly the sky grew dark, and a [fierce|terrible|howling|wild] wind blew from the {season} hills.",
            "Then there was a {sound}, and [thunder|hail|rain] came down on the {flowers}.",
            "A storm came up, as dark as {food}, with a {sound} and a {sound}.",
            "First one drop fell, then {number}, and then the wind began to howl.",
        ),
    ),
    trouble=(
        (
            "{sound}! The wind [tore away|carried off|snatched] the {T} and blew it over {hide}.",
            "With a {sound}, the wind took the {T} and threw it over the {tree} trees.",
            "{M} held on {quickly}, but the storm took the {T} away with a {sound}.",
            "The {T} flew up like {number} {birds} and was gone.",
        ),
        (
            "",
            "{M} hid behind {hide} and felt {scaredf}.",
            "{M} crept under {hide}, cold and {scaredf}.",
            "{He} called for help, {scaredf} and wet, but only the thunder answered.",
            "Rain ran into the {clothes} of {M}, who was {scaredf} and {scaredf}.",
        ),
    ),
    turn=(
        MEET,
        HELLO,
        (
            "",
            '"Come into my {house}," {said} {H} {warmly}. "There is {drink} [and a fire|by the fire|with {food}]."',
            '"Quick, come in here!" {said} {H}, and they waited in a {houseadj} {house} with {food}.',
            "{H} took {M} to a {houseadj} {house}, where it smelled of {smell}.",
            "They sat in a {houseadj} {house}, ate {food} and listened to the storm.",
        ),
        (
            "",
            '"The storm took my {T}," {said} {M} {warmly}.',
            '"My {T} is out there in the rain," {said} {M}, {sadf} and wet.',
            "{M} {warmly} told {H} about the {T} in the storm.",
        ),
        (
            "When the rain stopped, they {went} out and {peered} behind {hide}.",
            "After {span} the sky was {weather} again, and they {peered} among the {flowers}.",
            "At last the storm grew tired, and they {peered} {slowly} under {hide}.",
            "",
        ),
    ),
    happy=(
        (
            "And look, the {T} was hanging safe and sound in a {tree} tree!",
            "They found the {T} behind {hide}, wet but [whole|safe|shiny].",
            "There lay the {T} among {trinket}, and {M} laughed out loud.",
            "Under a rainbow they found the {T}, and {M} hugged {H}.",
        ),
        (
            '"{hooray}!" laughed {H} {warmly}.',
            "",
            "{M} gave {H} {food} and a smile.",
            "{number} {birds} sang for joy.",
        ),
    ),
    sad=(
        (
            "But the storm had broken the {T} into {number} pieces, and it was gone.",
            "But the {T} was gone for ever, and only {trinket} lay in the mud.",
            "But the wind had blown the {T} far out over the sea, lost for ever.",
            "They saw no {T}, only {broken} {tree} trees, and {M} [cried|wept].",
        ),
        ('"I am sorry," {said} {H} {warmly}.', "", "{H} had tears in both eyes.", "The {flowers} were gone too."),
    ),
)

HIDDEN = Plot(
    name="hidden",
    start=(
        (
            "{when}, {M} heard of a {look} {col} {T} that {aperson} had hidden {at}.",
            "{when}, {M} found a note behind {hide}: a {look} {col} {T} was hidden {at}.",
            "{when}, {aperson} told {M} about a {look} {col} {T}, buried {at} long ago.",
            "In the {house} hung a picture of a {look} {col} {T} that was once hidden {at}.",
        ),
        (
            '"I will find it," {said} {M}, and packed {food} and {drink}.',
            '"What a [secret|riddle|treasure]!" {said} {M}, and {went} off in {clothes}.',
            "{M} put on {clothes}, packed {food} and {went} away {quickly}.",
            "",
        ),
    ),
    trouble=(
        (
            "",
            "{He} {peered} {slowly} behind {hide}, but found only {trinket}.",
            "For {span} {he} {peered} under {hide}, among {insects} and {trinket}.",
            "{He} counted {number} steps from a {tree} tree, but there was only {hide}.",
            "{He} dug a hole next to {hide}, and there were only {insects}.",
        ),
        (*SAD_FEELING, ""),
    ),
    turn=(
        MEET,
        HELLO,
        (
            '"I am looking for a {T}," {said} {M} {warmly}.',
            '"Do you know where the {T} is?" {asked} {M} {warmly}.',
            "{M} {warmly} told {H} about the hidden {T}.",
        ),
        (
            "",
            '"Old {tree} trees know many secrets," {said} {H} {warmly}.',
            '"I know a [riddle|rhyme] about it," {said} {H}: "where the {flowers} grow, dig below."',
            '"Follow the {birds}," {said} {H}, {doing}.',
            '"I smell {smell} behind {hide}," {said} {H} {warmly}.',
            '"Try [behind|under] {hide}," {said} {H}, and offered {food}.',
        ),
        (
            "Together they {went} there and dug for {span}.",
            "They {peered} {slowly}, [first|once] by {weather} light and then by the light of the moon.",
            "{quickly} they {went} there, past {hide} and past {hide}.",
            "",
        ),
    ),
    happy=(
        (
            "{sound}! There it was, the {T}, wrapped in {clothes}, and {M} laughed.",
            "And there they found the {T}, under {trinket} and {insects}.",
            "Under {hide} they found the {T}, as {look} as in the [rhyme|{tale}], and {M} cheered.",
            "At last the {T} was found, and it shone like {trinket}.",
        ),
        (
            '"It is for both of us," laughed {M} {warmly}.',
            "",
            '"{hooray}!" {said} {H}, and hugged {M}.',
            "They celebrated with {food} and {drink}.",
        ),
    ),
    sad=(
        (
            "But somebody had been faster, and the {T} was gone.",
            "They dug until the stars came out, but the {T} was lost for ever.",
            "All they saw was an empty hole, and the {T} was gone.",
            "The {T} was there, but it fell to dust and was gone.",
        ),
        (
            "",
            '"I am sorry," {said} {H} {warmly}.',
            "{H} went home without a word, and {M} wept.",
            "All the {food} was gone too.",
        ),
    ),
)

PLOTS: tuple[Plot, ...] = (LOST, BROKEN, STORM, HIDDEN)
