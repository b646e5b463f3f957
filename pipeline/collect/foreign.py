"""Documents in ten other languages, put together from the phrases in `languages.json`."""

import json
import random
from importlib import resources

Phrases = dict[str, dict[str, list[str]]]


def load_phrases() -> Phrases:
    """Language code -> "who", "does", "where" and "alone" -> phrases."""
    return json.loads((resources.files("pipeline.collect") / "languages.json").read_text(encoding="utf-8"))


def document(rng: random.Random, phrases: Phrases) -> str:
    """Six to ten sentences in one language."""
    own = phrases[rng.choice(sorted(phrases))]
    sentences = [_sentence(rng, own) for _ in range(rng.randint(5, 8))]
    for line in rng.sample(own["alone"], rng.randint(1, 2)):
        sentences.insert(rng.randint(0, len(sentences)), line)
    return " ".join(sentences)


def _sentence(rng: random.Random, own: dict[str, list[str]]) -> str:
    parts = [rng.choice(own["who"]), rng.choice(own["does"])]
    if rng.random() < 0.6:
        parts.append(rng.choice(own["where"]))
    return " ".join(parts) + "."
