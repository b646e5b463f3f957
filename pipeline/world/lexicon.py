"""The colour words: what stories are decorated with, and what the judge reads no fact from.

A list is named after the slot that it fills; entries are separated by commas and may be templates themselves. No word
of `cast.py` occurs here: a red kite is somebody's thing, so no colour word may be "kite".
"""


def _words(text: str) -> tuple[str, ...]:
    return tuple(entry for part in text.split(",") if (entry := " ".join(part.split())))


TIME: dict[str, tuple[str, ...]] = {
    "season": _words("spring, summer, autumn, winter"),
    "month": _words("""January, February, March, April, May, June, July, August, September, October, November,
        December"""),
    "weekday": _words("Monday, Tuesday, Wednesday, Thursday, Friday, Saturday, Sunday"),
    "tod": _words("morning, afternoon, evening, dawn"),
    "weather": _words("""sunny, windy, rainy, foggy, frosty, snowy, cloudy, warm, chilly, misty, breezy, icy, hot,
        cool, bright, mild, dusty, damp, balmy, crisp, fresh, drizzly, golden, glorious, sparkling, murky, muggy, hazy
        """),
    "span": _words("{few} minutes, {few} hours, {few} days, a long time, a little while, a while"),
    "few": _words("two, three, four, five, six, seven, eight, nine, ten"),
    "number": _words("""two, three, four, five, six, seven, eight, nine, ten, eleven, twelve, twenty, thirty, forty,
        fifty, a hundred"""),
}

HOME: dict[str, tuple[str, ...]] = {
    "houseadj": _words("""tiny, cosy, crooked, narrow, round, wooden, stone, thatched, mossy, leaning, tidy, untidy,
        pretty, painted, dusty, draughty, snug, tall, low, creaky, shabby, spotless, rickety, roomy, ramshackle,
        brick, lopsided, humble, charming, weathered"""),
    "house": _words("""cottage, cabin, hut, house, den, burrow, treehouse, caravan, hollow, bungalow, hideout, shack,
        lodge, villa, mansion, shed, attic, cellar, loft, palace, wigwam, nook"""),
    "relative": _words("""grandmother, grandfather, mother, father, aunt, uncle, sister, brother, cousin, neighbour,
        godmother, godfather, nephew, niece, twin"""),
    "person": _words("""baker, miller, postman, farmer, fisherman, teacher, doctor, nurse, gardener, shepherd, tailor,
        cobbler, blacksmith, carpenter, painter, potter, weaver, sailor, captain, pilot, clown, juggler, magician,
        butcher, grocer, barber, mayor, poet, plumber, dentist, librarian, woodcutter, beekeeper, watchmaker,
        locksmith, cook, waiter, conductor, knight, princess, pirate, astronaut, inventor, peddler, florist, goldsmith
        """),
}

NATURE: dict[str, tuple[str, ...]] = {
    "tree": _words("""oak, willow, birch, pine, elm, maple, beech, chestnut, walnut, hazel, cedar, spruce, poplar,
        lime, cherry, apple, pear, plum, fig, holly, linden, alder, aspen, rowan, hawthorn, larch"""),
    "flowers": _words("""daisies, tulips, roses, poppies, violets, bluebells, lilies, buttercups, daffodils,
        primroses, sunflowers, snowdrops, crocuses, marigolds, dandelions, pansies, foxgloves, clover, thistles,
        lavender, peonies, orchids, cornflowers, forget-me-nots, irises, geraniums, hyacinths, heather"""),
    "birds": _words("""robins, sparrows, swallows, blackbirds, finches, larks, thrushes, woodpeckers, pigeons, doves,
        cuckoos, magpies, crows, ravens, gulls, swans, geese, storks, herons, parrots, starlings, wrens, nightingales,
        kingfishers, jays, seagulls, pelicans, peacocks, pheasants, quails"""),
    "insects": _words("""bees, butterflies, beetles, ants, ladybirds, crickets, grasshoppers, dragonflies, moths,
        snails, spiders, worms, caterpillars, fireflies, bumblebees, lizards, newts, toads, minnows, tadpoles,
        centipedes, earwigs"""),
    "hide": _words("""a bench, a rock, a log, a bush, a fence, a hedge, a heap of leaves, a pile of hay, a
        wheelbarrow, a barrel, a crate, a cartwheel, a tree stump, a stack of bricks, a wall, a boulder, a signpost, a
        sack of flour, a thicket, a heap of stones, a bramble, a mound of earth, a clump of reeds, a tangle of roots,
        a haystack, an old door, a bale of straw, a row of {flowers}, the roots of the {tree}, the {tree} tree, a bed
        of {flowers}, a tall fern, a stone step, a flowerpot, a drainpipe, a statue, a mailbox, a gate, a trough, a
        beehive, a canoe, a carriage, a stall, a scarecrow, a woodpile"""),
    "sky": _words("""stars, clouds, moon, sun, rainbow, sunset, sunrise, comet, moonlight, sunbeams, raindrops,
        snowflakes, hailstones, lightning, mist"""),
    "smell": _words("""honey, cinnamon, pine needles, fresh bread, rain, wet grass, mint, vanilla, roses, woodsmoke,
        salt, hay, moss, soap, chocolate, ginger, lavender, peppermint, caramel, oranges, thyme, basil, toast,
        seaweed, mushrooms, nutmeg, rosemary, varnish"""),
    "sound": _words("""splash, crash, bang, thud, clatter, rumble, rustle, squeak, crunch, whoosh, plop, rattle,
        creak, hiss, buzz, snap, clang, thump, boom, squelch, sizzle, whirr, jingle, gurgle, crackle, tinkle"""),
}

FUN: dict[str, tuple[str, ...]] = {
    "food": _words("""apples, pears, plums, cherries, strawberries, raspberries, blueberries, blackberries, grapes,
        peaches, apricots, oranges, lemons, melons, bananas, figs, dates, nuts, almonds, hazelnuts, walnuts,
        chestnuts, carrots, peas, beans, turnips, radishes, tomatoes, cucumbers, pumpkins, potatoes, beetroots,
        mushrooms, pancakes, waffles, muffins, biscuits, cookies, dumplings, noodles, pies, tarts, buns, rolls,
        pretzels, doughnuts, scones, sandwiches, omelettes, sausages, crackers, cupcakes, gingerbread, popcorn,
        marshmallows, jelly, pudding, porridge, cheese, honey, jam, custard, fudge, toffee, gooseberries, olives,
        raisins, currants, crumpets"""),
    "drink": _words("""lemonade, cocoa, tea, milk, cider, broth, cordial, buttermilk, nectar, punch, soup, ginger
        beer, dandelion tea, nettle soup, apple juice, carrot juice, barley water"""),
    "hobby": _words("""painting, skating, swimming, climbing, fishing, dancing, singing, drawing, reading, knitting,
        baking, gardening, juggling, whistling, humming, jogging, skipping, hopping, paddling, rowing, sailing,
        camping, hiking, exploring, daydreaming, stargazing, birdwatching, cooking, weaving, sewing, carving, digging,
        cycling, sledging, tumbling, cartwheeling, yodelling, storytelling, acting, rhyming, counting {insects},
        feeding {birds}, picking {flowers}, collecting {trinket}, pressing {flowers}, watching {birds}, chasing
        {insects}, baking {food}"""),
    "game": _words("""hide-and-seek, tag, leapfrog, hopscotch, marbles, chess, dominoes, checkers, skittles, tennis,
        football, charades, catch, snakes and ladders, blind man's buff, cards, cricket, rounders, tiddlywinks,
        badminton, croquet, bowls, musical statues, follow-the-leader"""),
    "trinket": _words("""shells, pebbles, feathers, acorns, buttons, beads, stamps, coins, corks, marbles, postcards,
        conkers, crystals, fossils, pinecones, seeds, stickers, badges, thimbles, petals, twigs, corals, gems,
        keepsakes, walnut shells, starfish, driftwood, tickets, autographs"""),
    "song": _words("""a lullaby, a march, a waltz, a polka, a ballad, a carol, a sea shanty, a jig, an old tune, a
        rhyme, a melody, a serenade, a nursery song, a hymn, a folk song, a round, an anthem, a samba"""),
    "dream": _words("""faraway lands, distant planets, snowy peaks, coral reefs, flying carpets, sunken ships, buried
        gold, giant waves, hot-air balloons, secret tunnels, talking trees, castles in the air, the northern lights,
        shooting stars, the deep blue sea, jungles, pyramids, glaciers, volcanoes, icebergs, carnivals, circuses,
        submarines, airships, unicorns, mermaids, fairies, wizards, heroes, knights"""),
    "clothes": _words("""mittens, boots, socks, slippers, pyjamas, gloves, sandals, braces, spectacles, earmuffs,
        clogs, overalls, dungarees, galoshes, leggings, moccasins, trousers, stockings, goggles"""),
    "deco": _words("""garlands, streamers, candles, balloons, paper chains, lampions, bunting, confetti, banners,
        sparklers, fairy lights, wreaths, rosettes, pennants, tinsel"""),
    "tool": _words("""glue, string, a needle and thread, tape, wax, wire, a hammer and nails, a drop of resin, paste,
        a patch of leather, twine, a pair of pliers, a screwdriver, tweezers, a bit of cork, a strip of cloth, a dab
        of paint, a piece of tin, clamps, a spare bolt, yarn, a length of cord, rivets, sticky sap"""),
}

LOOK: dict[str, tuple[str, ...]] = {
    "look": _words("""shiny, wooden, tiny, splendid, handsome, striped, spotted, dotted, smooth, polished, big,
        sturdy, plain, fancy, lovely, beautiful, dainty, elegant, peculiar, homemade, secondhand, brand-new,
        magnificent, gleaming, glittering, patterned, checked, odd, fine, battered, sweet, marvellous, precious,
        glossy, neat, ordinary, special, quaint, rare, slender, chunky, dazzling, sleek"""),
    "hadj": _words("""old, tiny, plump, fluffy, tall, thin, sleepy, busy, elderly, cheery, freckled, small, large,
        young, skinny, chubby, muddy, scruffy, dusty, smiling, whiskered, wise, lively, barefoot, ragged, dapper,
        sturdy, bony, rosy, nimble, breathless, tired, hungry, wandering, travelling, whistling, yawning, sneezing,
        limping, sunburnt"""),
}

MOOD: dict[str, tuple[str, ...]] = {
    "sadf": _words("""worried, gloomy, upset, miserable, lonely, helpless, hopeless, wretched, downcast,
        troubled, disappointed, unhappy, glum, anxious, heavy-hearted, tearful, uneasy, discouraged, forlorn, dismayed
        """),
    "scaredf": _words("""afraid, frightened, scared, nervous, shaky, alarmed, jittery, fearful, tense, trembling,
        terrified, startled, timid, spooked"""),
    "gladf": _words("""glad, joyful, delighted, merry, thankful, grateful, pleased, content, overjoyed, jolly,
        thrilled, cheerful, blissful, contented"""),
    "crossf": _words("""cross, angry, furious, annoyed, jealous, sulky, huffy, offended, grouchy, moody, outraged,
        bitter, irritated, resentful"""),
    "said": _words("said, said, said, whispered, murmured, answered, replied, declared, explained"),
    "asked": _words("asked, asked, wondered, inquired"),
    "slowly": _words("""slowly, carefully, cautiously, silently, steadily, calmly, quietly, softly, gingerly, bit by
        bit, step by step, little by little, warily, stealthily, thoughtfully, drowsily, wearily, timidly"""),
    "quickly": _words("""quickly, swiftly, hastily, eagerly, boldly, bravely, busily, briskly, suddenly, speedily,
        nimbly, promptly, frantically, hurriedly, excitedly, recklessly, vigorously, energetically"""),
    "warmly": _words("""warmly, kindly, politely, softly, gently, brightly, cheerily, shyly, solemnly, earnestly,
        proudly, tenderly, sweetly, heartily, eagerly, firmly, breathlessly, sincerely, pleasantly, generously"""),
    "went": _words("""walked, ran, hurried, wandered, strolled, skipped, marched, trotted, tiptoed, raced, hopped,
        scampered, trudged, ambled, rushed, dashed, crept, plodded, sauntered, galloped, waddled, jogged, bounded,
        scurried, tramped, rambled, padded, shuffled, scuttled, paraded"""),
    "peered": _words("""looked, peeped, peered, searched, hunted, poked about, checked, felt around, rummaged, dug,
        groped, glanced, snooped, nosed around"""),
    "oh": _words("""Oh no, Oh dear, Goodness, Dear me, Good heavens, Gracious, Bother, My goodness, Oh my, Good grief,
        Oops, Mercy"""),
    "hooray": _words("""Hooray, Wonderful, Hurrah, How lovely, Splendid, Fantastic, Marvellous, Well done, Bravo,
        Yippee, Brilliant, Perfect, Excellent, Superb"""),
    "tale": _words("story, tale, history"),
}

# Lists that a story draws from once and keeps: the person that it is about, the stuff that runs out.
KEPT: dict[str, tuple[str, ...]] = {
    "who": HOME["person"],
    "stuff": _words("glue, string, wax, wire, paint, paper, yarn, paste, thread, cardboard, clay, cotton, wool, felt"),
}

LEXICON: dict[str, tuple[str, ...]] = {**TIME, **HOME, **NATURE, **FUN, **LOOK, **MOOD, **KEPT}
