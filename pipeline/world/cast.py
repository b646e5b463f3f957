"""The facts that a story can be asked for: names with their pronouns, kinds, traits, things, places, endings.

Every word here means one thing in the whole world: no colour word, no template and no other list uses it, so that the
judge can read the facts of a story from its text alone. `tests/test_world.py` checks that.
"""

SHE_NAMES: tuple[str, ...] = (
    "Anna", "Bella", "Clara", "Dora", "Ella", "Emma", "Fiona", "Greta", "Hanna", "Ida", "Jenny", "Lena", "Lucy",
    "Martha", "Mia", "Molly", "Nina", "Nora", "Olivia", "Rosa", "Sally", "Sophie", "Tilda", "Zoe",
)  # fmt: skip
HE_NAMES: tuple[str, ...] = (
    "Arthur", "Ben", "Bruno", "Daniel", "Emil", "Felix", "Finn", "Gus", "Henry", "Hugo", "Jack", "Karl", "Leo",
    "Louis", "Max", "Milo", "Oliver", "Oscar", "Otto", "Paul", "Sam", "Theo", "Tom", "Victor",
)  # fmt: skip
NAMES: tuple[str, ...] = SHE_NAMES + HE_NAMES
GENDER: dict[str, str] = {**dict.fromkeys(SHE_NAMES, "she"), **dict.fromkeys(HE_NAMES, "he")}

KINDS: tuple[str, ...] = (
    "badger", "bear", "beaver", "cat", "dog", "donkey", "dragon", "duck", "elf", "fox", "frog", "goat", "hedgehog",
    "koala", "lamb", "lion", "mole", "monkey", "mouse", "otter", "owl", "panda", "penguin", "pig", "pony", "rabbit",
    "squirrel", "tiger", "turtle", "zebra",
)  # fmt: skip

TRAITS: tuple[str, ...] = (
    "brave", "careful", "clever", "curious", "funny", "gentle", "grumpy", "honest", "kind", "lazy", "patient",
    "polite", "quiet", "shy", "silly", "stubborn",
)  # fmt: skip

# What is hard breaks and is glued; what is soft tears and is sewn.
HARD_THINGS: tuple[str, ...] = (
    "basket", "bell", "bicycle", "boat", "bottle", "bowl", "bucket", "camera", "chair", "clock", "crown", "cup",
    "doll", "drum", "flute", "guitar", "jar", "key", "kite", "lamp", "lantern", "mask", "mirror", "pencil", "puppet",
    "ring", "robot", "rocket", "shovel", "spoon", "teapot", "train", "trumpet", "umbrella", "wagon", "whistle",
)  # fmt: skip
SOFT_THINGS: tuple[str, ...] = (
    "bag", "ball", "blanket", "book", "cape", "coat", "flag", "hat", "jacket", "map", "pillow", "scarf",
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

# Subject, object, possessive.
FORMS: dict[str, tuple[str, str, str]] = {"she": ("she", "her", "her"), "he": ("he", "him", "his")}

# The colour of the thing: a story gives its thing one colour, and keeps it.
COLOURS: tuple[str, ...] = (
    "black", "blue", "brown", "green", "grey", "orange", "pink", "purple", "red", "silver", "white", "yellow",
)  # fmt: skip

ENDINGS: tuple[str, ...] = ("happy", "sad")
