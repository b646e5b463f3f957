"""The facts that a story can be asked for: names with their pronouns, kinds, traits, things, places, endings.

Every word here means one thing in the whole world: no colour word, no template and no other list uses it, so that the
judge can read the facts of a story from its text alone. `tests/test_world.py` checks that.
"""

SHE_NAMES: tuple[str, ...] = (
    "Anna", "Bella", "Clara", "Dora", "Ella", "Emma", "Fiona", "Greta", "Hanna", "Ida", "Jenny", "Kira", "Lena",
    "Lucy", "Martha", "Maud", "Mia", "Molly", "Nina", "Nora", "Olivia", "Petra", "Polly", "Rosa", "Sally", "Sophie",
    "Tessa", "Tilda", "Vera", "Wanda", "Yara", "Zoe",
)  # fmt: skip
HE_NAMES: tuple[str, ...] = (
    "Arthur", "Ben", "Bruno", "Casper", "Daniel", "Emil", "Felix", "Finn", "Gus", "Henry", "Hugo", "Ivan", "Jack",
    "Jasper", "Karl", "Leo", "Louis", "Max", "Milo", "Ned", "Oliver", "Oscar", "Otto", "Paul", "Rufus", "Sam",
    "Simon", "Theo", "Toby", "Tom", "Victor", "Walter",
)  # fmt: skip
NAMES: tuple[str, ...] = SHE_NAMES + HE_NAMES
GENDER: dict[str, str] = {**dict.fromkeys(SHE_NAMES, "she"), **dict.fromkeys(HE_NAMES, "he")}

KINDS: tuple[str, ...] = (
    "badger", "bear", "beaver", "boy", "cat", "dog", "donkey", "dragon", "duck", "elf", "fox", "frog", "girl", "goat",
    "hedgehog", "lamb", "lion", "mole", "monkey", "mouse", "otter", "owl", "panda", "penguin", "pig", "pony", "rabbit",
    "squirrel", "tiger", "turtle",
)  # fmt: skip
# Two kinds fix the pronoun, and so the names that may bear them.
KIND_GENDER: dict[str, str] = {"girl": "she", "boy": "he"}

TRAITS: tuple[str, ...] = (
    "brave", "careful", "clever", "curious", "funny", "gentle", "grumpy", "honest", "kind", "lazy", "patient",
    "polite", "quiet", "shy", "silly", "stubborn",
)  # fmt: skip

# What is hard breaks and is glued; what is soft tears and is sewn.
HARD_THINGS: tuple[str, ...] = (
    "banjo", "basket", "bell", "bicycle", "boat", "bottle", "bowl", "broom", "bucket", "camera", "chair", "clock",
    "comb", "compass", "crown", "cup", "doll", "drum", "flute", "globe", "guitar", "harp", "helmet", "hoop", "jar",
    "key", "kite", "ladder", "lamp", "lantern", "mask", "mirror", "necklace", "paddle", "pencil", "puppet", "puzzle",
    "radio", "rake", "ring", "robot", "rocket", "scooter", "shield", "shovel", "sled", "spoon", "stool", "teapot",
    "telescope", "train", "truck", "trumpet", "umbrella", "violin", "wagon", "wand", "whistle",
)  # fmt: skip
SOFT_THINGS: tuple[str, ...] = (
    "apron", "backpack", "bag", "ball", "blanket", "book", "cape", "coat", "flag", "hammock", "hat", "jacket", "map",
    "notebook", "pillow", "purse", "quilt", "ribbon", "scarf", "sweater", "tent", "towel",
)  # fmt: skip
THINGS: tuple[str, ...] = tuple(sorted(HARD_THINGS + SOFT_THINGS))

# The place and the word that says where: "in the forest", "by the river".
PLACE_AT: dict[str, str] = {
    "barn": "in", "beach": "on", "bridge": "by", "castle": "at", "cave": "in", "desert": "in", "farm": "on",
    "forest": "in", "garden": "in", "harbour": "at", "hill": "on", "island": "on", "lake": "by", "lighthouse": "at",
    "market": "at", "meadow": "in", "mill": "at", "mountain": "on", "orchard": "in", "park": "in", "playground": "in",
    "pond": "by", "river": "by", "school": "at", "station": "at", "swamp": "in", "tower": "at", "valley": "in",
    "village": "in", "waterfall": "by",
}  # fmt: skip
PLACES: tuple[str, ...] = tuple(PLACE_AT)

# The colour of the thing: a story gives its thing one colour, and keeps it.
COLOURS: tuple[str, ...] = (
    "black", "blue", "brown", "green", "grey", "orange", "pink", "purple", "red", "silver", "white", "yellow",
)  # fmt: skip

ENDINGS: tuple[str, ...] = ("happy", "sad")
