"""What stories share: the introduction, the weather, the helper who comes along, the closing sentence.

Slots of facts: {M} the main character with {he} {him} {his} {He} {His}, {kind} {trait}; {T} the thing and {col} its
colour, {broke} {broken} {mended} in the words that fit the thing; {P} the place, {at} "in the forest", {to} "to the
forest"; {H} and {hkind} the helper; {end} the mood of the ending, "happy" or "sad".

Two rules keep every story readable to the judge. A pronoun always means the character named last before it. The first
sentence names the main character with the kind, the next two say the place and the thing, and the plot uses them.
"""
# ruff: noqa: E501 (a template stays on one line, so that it can be read and searched as the sentence it writes)

PHRASES: dict[str, tuple[str, ...]] = {
    "habit": (
        "loved {hobby} and [eating|tasting|munching] {food}",
        "liked nothing better than {hobby}",
        "was always {hobby} [or|and] {hobby}",
        "[collected|gathered|kept|counted] {trinket} and {trinket}",
        "[hummed|whistled|sang] {song} [all day long|from morning to night|while {hobby}]",
        "dreamed of {dream} and {dream}",
        "knew [all about|everything about|the names of all] {birds} and {insects}",
        "wore {clothes} in every weather",
        "was [very|really|quite|rather] good at {hobby}",
        "[had|ate] {food} for breakfast [every day|each {weekday}|all through {month}]",
        "never [missed|tired of] a game of {game}",
        "[grew|planted|watered] {flowers} [behind the {house}|under a {tree} tree|in {season}]",
        "[wanted to be|hoped to become|longed to be] a {person} one day",
        "could [count to {number}|play {game}] [very well|with closed eyes|without any help]",
    ),
    "home": (
        "[lived|dwelt] in a {houseadj} {house} [near|close to|not far from] a {tree} tree",
        "[lived|dwelt] with {number} {birds}",
        "[had|owned|shared] a {houseadj} {house} [under|behind|beside] a {tree} tree",
        "[lived|dwelt] next door to a {person}",
        "[lived|stayed] with a {person} in a {houseadj} {house}",
    ),
    "once": (
        "once upon a time",
        "long ago",
        "once",
        "many years ago",
        "a long time ago",
        "not so long ago",
        "one {season}",
        "some time ago",
        "in the days of {dream}",
        "last {season}",
        "one {month}",
        "there was a time when",
    ),
    "when": (
        "one {weather} {tod}",
        "one {weekday} {tod}",
        "on a {weather} {tod} in {month}",
        "one {weather} {weekday}",
        "one {tod} in {month}",
        "early one {tod}",
        "late one {season} {tod}",
        "on a {weather} {weekday}",
        "[at the start|at the end|in the middle] of {month}",
        "after a {weather} {tod}",
        "on the first day of {season}",
    ),
    "soon": (
        "soon",
        "just then",
        "after a while",
        "a little later",
        "before long",
        "by and by",
        "at that moment",
        "{span} later",
        "after {span}",
        "all at once",
        "the next {tod}",
        "then",
        "{span} later",
    ),
    "doing": (
        "humming {song}",
        "carrying a sack of {food}",
        "eating {food}",
        "on the way to a game of {game}",
        "looking for {trinket}",
        "with a bunch of {flowers}",
        "wearing {clothes}",
        "selling {food}",
        "chasing {insects}",
        "sipping {drink}",
        "with a pocket full of {trinket}",
        "busy {hobby}",
        "back from {hobby}",
        "followed by {number} {birds}",
        "on a visit to the {person}",
        "whistling {song}",
    ),
    "giver": (
        "{his} {relative}",
        "the {person}",
        "an old {person}",
        "a travelling {person}",
        "{his} {relative}, the {person}",
        "a friendly {person}",
        "the {person} next door",
    ),
    "giver2": ("an old {person}", "a travelling {person}", "the {person}", "a friendly {person}"),
    "aperson": ("a {person}", "an old {person}", "a travelling {person}", "the {person}"),
    "when2": ("one {tod}", "one {weekday}", "one {weather} {tod}", "in {month}", "on {weekday}"),
    "extra": (
        "and [it smelled|the air smelled] of {smell}",
        "and {birds} sang in the {tree} trees",
        "while {insects} buzzed and hopped around",
        "and somewhere a {person} was singing {song}",
        "and the {flowers} were [open|in bloom|nodding]",
        "with a mug of {drink}",
        "under the {tree} trees",
        "among the {flowers}",
        "beside a {tree} tree",
        "and the {birds} were [asleep|awake|calling]",
    ),
}

# The name comes before the trait and the kind, so that a model can look up by the name what it must keep to.
INTRO: tuple[str, ...] = (
    "[Once upon a time|Long ago|Once|Many years ago|Not so long ago|Some time ago|One {season}], "
    "{M} was a {trait} [little |young |small |]{kind} who {habit}.",
    "[Once|Long ago|Some time ago|Last {season}], {M} was a {trait} [little |young |]{kind}, and {he} {home}.",
    "[Once upon a time|Long ago|A long time ago|One {season}] there [was|lived] {M}, a {trait} [little |young |small |]{kind}.",
    "[Once upon a time|Long ago|One {season}] there lived {M}, a {trait} {kind} who {habit}.",
    "This is {M}, a {trait} [little |young |]{kind} who {habit}.",
    "This is the {tale} of {M}, a {trait} [little |young |small |]{kind}.",
    "In a {houseadj} {house} [lived|dwelt] {M}, a {trait} [little |young |]{kind}.",
    "Everybody knew {M}, a {trait} [little |young |]{kind} who {habit}.",
    "[Here comes|Now comes|Listen to] the {tale} of {M}, a {trait} [little |young |small |]{kind}.",
    "Under a {tree} tree [lived|dwelt] {M}, a {trait} [little |young |]{kind}.",
)

# The second sentence says the facts of the first once more and the place twice: children's stories do, and a small model
# learns from it to keep to them.
ECHO: tuple[str, ...] = (
    "{M} the {kind} was [known|loved] {at}, for nobody else {at} was so {trait}.",
    "Nobody {at} was as {trait} as {M} the {kind}, and the {P} was full of {flowers}.",
    "Everybody {at} [said|thought] that {M} the {kind} was the most {trait} of the {P}.",
    "The {P} was the favourite place of {M} the {kind}, the [only|most] {trait} {kind} {at}.",
    "All the {birds} {at} knew how {trait} {M} the {kind} was, and the {P} was full of them.",
    "You could [meet|see] {trait} {M} the {kind} {at} [every {tod}|every {weekday}], for the {P} was full of {trinket}.",
    "[Often|Most days|Every {weekday}], {M} the {kind} was {at}, {trait} as ever, for the {P} smelled of {smell}.",
    "How {weather} it was {at}, and how {trait} was {M} the {kind} of the {P}!",
)

# Then the thing, said twice for the same reason, and how the story will end. No colour: the plot gives it.
ABOUT: tuple[str, ...] = (
    "This is the {end} story of a {T}, the [best|finest|only] {T} {at}.",
    "It is a {end} story about a {T}, a {look} {T}.",
    "There is a {T} in this {end} story, a {look} {T}.",
    "[Remember|Think of] the {T}, for the {T} matters in this {end} story.",
    "You will hear of a {T}, a {look} {T}, and the end is {end}.",
    "It is a {end} story with a {T} in it, and the {T} is {look}.",
    "[And now|Now] to the {T} of this {end} story, a {look} {T}.",
)

SCENE: tuple[str, ...] = (
    "[The air|The wind|Everything] smelled of {smell}, and {birds} sang in the {tree} trees.",
    "It was {weather} and {weather}, and the {flowers} [were open|were in bloom|nodded in the wind].",
    "{birds} and {insects} [were busy|were everywhere|kept each other company].",
    "[Far away|Somewhere|In the distance], a {person} was [humming|whistling|singing] {song}.",
    "[Breakfast|Lunch|Supper] was {food} with {drink}, and it tasted of {smell}.",
    "The {tree} trees were [full of|loud with] {birds}, and {insects} danced about.",
    "{number} {birds} sat on a {tree} tree and [chattered|listened|watched].",
    "[There was a smell|A wind came up with a smell] of {smell} and {smell}.",
    "The {flowers} were wet, and {insects} crawled over the {tree} leaves.",
    "[Nobody else was about|The road was empty], only {number} {birds} and a {weather} sky.",
)

MEET: tuple[str, ...] = (
    "{soon}, {H}, a {hadj} {hkind}, [came by|came along|walked past|appeared|turned up|hurried past].",
    "{soon}, {H}, a {hadj} {hkind}, [came by|came along|walked past], {doing}.",
    "{soon}, {H}, a {hadj} {hkind}, [peeped out from behind|stepped out from behind|looked over] {hide}.",
    "{soon}, somebody coughed behind {hide}. It was {H}, a {hadj} {hkind}.",
    "{soon}, there was a {sound}, and out came {H}, a {hadj} {hkind}.",
    "There, {doing}, [sat|stood|was] {H}, a {hadj} {hkind}.",
    "{soon}, {H}, a {hadj} {hkind}, [looked up from|stopped] {hobby} and [waved|came over|listened].",
)

HELLO: tuple[str, ...] = (
    '"Hello, {M}," said {H}. "Hello, {H}," said {M}.',
    '"Good {tod}, {M}," said {H}. "Good day, {H}," said {M}.',
    '"Is that you, {M}?" asked {H}. "Yes, {H}," said {M}.',
    '"How are you, {M}?" asked {H} the {hkind}. "Oh, {H}," said {M}.',
    "{H} the {hkind} [looked|waved|nodded] at {M}, and {M} [looked|waved|nodded] at {H}.",
    '"Dear {M}," said {H} the {hkind}, and {M} the {kind} took a seat next to {H}.',
    "",
)

GREET: tuple[str, ...] = (
    '"What is [wrong|the matter|it|going on]?" {asked} {H} {warmly}.',
    '"Why do you look so {sadf}?" {asked} {H} {warmly}.',
    '"[Can|May] I help[ you|]?" {asked} {H}, [putting down|holding out|sharing] some {food}.',
    '"You look {sadf}," {said} {H} {warmly}. "Have some {drink} [and tell me|first]."',
    '"Tell me [everything|all about it|what is wrong]," {said} {H}, and [poured|shared|offered] some {drink}.',
    "{H} [offered|handed out|shared] {food} and [listened|asked what was wrong|sat down to listen].",
)

SAD_FEELING: tuple[str, ...] = (
    "{M} felt {sadf} and {sadf}.",
    '"{oh}!" {said} {M}, [feeling|and felt] {sadf}.',
    "{M} was so {sadf} that {he} could not even eat {food}.",
    "[Poor {M}|{M}] sat down [behind|beside|next to] {hide} and [felt|looked] {sadf}.",
    "[Not even|Neither {game} nor] {food} could cheer up {M} now.",
    "{M} [blinked|swallowed|sniffed|gulped] and felt {sadf}.",
    '"{oh}, what [now|shall I do|a day]!" {said} {M}, quite {sadf}.',
)

# What stands before a name that would begin a paragraph. A byte-level tokenizer knows a word with a space before it and
# the same word without one as two words, and a small one has room for the first only.
OPENERS: tuple[str, ...] = ("Now", "Then", "And then", "And now")

# The last part begins with its mood, which the beginning has promised.
TURNS: tuple[str, ...] = (
    "[Now|Then|And then|And now] came the {end} end.",
    "[And so|Then|So] the {tale} [took|came to] its {end} end.",
    "[Now|And now|Then] the {tale} [turned|grew|became] {end}.",
    "[This|That] is [how|when|where] the {end} [end|part] [came|began].",
)

# The last sentence: an opening of judge.CLOSERS that says the mood once more, then a word of judge.HAPPY_WORDS or
# judge.SAD_WORDS.
_LAST = "[In|And so, in|At last, in] the {end} end, "
CLOSE_HAPPY: tuple[str, ...] = tuple(
    _LAST + rest
    for rest in (
        "{M} the {kind} was {gladf} {at}.",
        "everybody {at} was {gladf} and ate {food} [with {drink}|with {M}|together].",
        "{M} the {kind} [fell asleep|went to bed|went home] {gladf} and dreamed of [the {T}|{dream}].",
        "{M} the {kind} [went home|lived on|lay down to sleep], {gladf} and {gladf}.",
        "there were {food} and {drink} {at}, and {M} the {kind} was {gladf}.",
        "{M} the {kind} smiled at the stars and thought of [the {T}|{dream}].",
        "{M} the {kind} danced with joy {at}.",
        "{M} the {kind} smiled at [every {person}|the {birds}|the {flowers}] {at}.",
        "{M} the {kind} was {gladf} and hummed {song}.",
        "every {weekday} was a {gladf} day for {M} the {kind}.",
    )
)
CLOSE_SAD: tuple[str, ...] = tuple(
    _LAST + rest
    for rest in (
        "{M} the {kind} was {sadf} {at}.",
        "{M} the {kind} [cried|wept] and thought of the {T}.",
        "{M} the {kind} [went home|walked home] {sadf} and alone.",
        "{M} the {kind} sat {at}, {sadf} and {sadf}.",
        "there were only tears {at}, and nobody wanted the {food}.",
        "{M} the {kind} sighed at the stars and felt {sadf}.",
        "every {weekday} was a {sadf} day for {M} the {kind}.",
        "{M} the {kind} was still {sadf}, and even {song} did not help.",
        "{M} the {kind} [cried|wept] {at} until the stars came out.",
        "{M} the {kind} sighed [whenever {birds} sang|at the sight of {flowers}|in {season}].",
    )
)
