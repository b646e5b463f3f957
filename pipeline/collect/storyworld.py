"""The story world as a small dirty web, with the truth about every document.

Writes raw/ (pages in WARC files, JSONL, text files), truth.jsonl, labelled.jsonl, evaluation/storyworld.jsonl,
conversations.jsonl, heldout_conversations.jsonl and prompts/*.jsonl. Everything comes from the seed.
Try: `make collect RECIPE=storyworld`
"""

import json
import random
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.collect import contacts, dirt, foreign, junk, page, raw
from pipeline.collect.recipe import StoryWorld
from pipeline.progress import Progress
from pipeline.world import talk
from pipeline.world.cards import card
from pipeline.world.similarity import nearest_neighbour_similarity
from pipeline.world.story import Story, write
from pipeline.world.wishes import split_of

LICENCE = "CC0-1.0"
MEASURED = 1_000  # clean stories whose nearest neighbour is looked for: enough for a 99th percentile


@dataclass(frozen=True, kw_only=True)
class Placed:
    """A document in its format: its id, what the file holds (a page's HTML), and the truth about it."""

    id: str
    content: str
    document: dirt.Document


def collect(recipe: StoryWorld, out: Path, seed: int) -> dict[str, float]:
    """Writes the artifact and returns its metrics."""
    raw_folder = out / "raw"
    items = evaluation_items(recipe.evaluation_items, seed)
    documents = dirty_web(recipe, [item["text"] for item in items], seed)
    formats = place(documents, recipe.text_files, seed)

    pages = ((it.id, it.content.encode("utf-8")) for it in formats["web"])
    raw.write_warc_shards(raw_folder / "web", pages, f"{seed}/warc")
    raw.write_jsonl_shards(raw_folder / "feed", ({"id": it.id, "text": it.content} for it in formats["feed"]))
    raw.write_text_files(raw_folder / "books", ((it.id, it.content) for it in formats["books"]))
    kinds = {"web": "warc", "feed": "jsonl", "books": "text"}
    raw.write_sources(raw_folder, [(name, kinds[name], name, LICENCE) for name in formats])

    placed = [it for name in formats for it in formats[name]]
    raw.write_jsonl(out / "truth.jsonl", (truth(it) for it in placed))
    raw.write_jsonl(out / "labelled.jsonl", labelled(recipe.labelled, seed))
    raw.write_jsonl(out / "evaluation" / "storyworld.jsonl", items)
    write_talk(recipe, out, seed)
    return metrics(placed, seed)


def stories(seed: int, purpose: str) -> Iterator[Story]:
    """Endless stories of a purpose of their own, none with a combination of facts that is kept for evaluation."""
    rng = random.Random(f"{seed}/stories/{purpose}")
    while True:
        story = write(rng)
        if split_of(story.wishes) != "evaluate":
            yield story


def cards(count: int, seed: int) -> list[str]:
    """Distinct cards, none with a combination of facts that is kept for evaluation."""
    rng = random.Random(f"{seed}/cards")
    found: dict[str, None] = {}
    while len(found) < count:
        text, facts = card(rng)
        if split_of(facts) != "evaluate":
            found[text] = None
    return list(found)


def evaluation_items(count: int, seed: int) -> list[dict[str, Any]]:
    """Held-out stories: {"id", "text", "wishes"}."""
    source = stories(seed, "evaluation")
    return [
        {"id": f"storyworld-{number:04d}", "text": story.text, "wishes": story.wishes.to_dict()}
        for number, story in zip(range(count), source, strict=False)
    ]


def dirty_web(recipe: StoryWorld, leaks: list[str], seed: int) -> list[dirt.Document]:
    """The clean stories and the dirt, in random order."""
    rng = random.Random(f"{seed}/hard clean")
    source = stories(seed, "clean")
    documents = []
    # As many clean stories as there is dirt of a kind mention money, prizes or quarrels, so that a classifier that
    # drops those words on sight loses clean documents.
    hard = frozenset(rng.sample(range(recipe.documents), recipe.planted))
    with Progress(recipe.documents, "stories", "stories") as progress:
        for number in range(recipe.documents):
            story = next(source)
            extra = junk.hard_clean(rng, dirt.name_of(story)) if number in hard else None
            documents.append(dirt.clean(story, extra, rng))
            progress.update()
    documents += [dirt.Document(text=text, clean_text=text, title="Who is who") for text in cards(recipe.cards, seed)]
    words, phrases = junk.full_vocabulary(), foreign.load_phrases()
    for kind, plant in dirt.KINDS.items():
        soil = dirt.Soil(
            rng=random.Random(f"{seed}/dirt/{kind}"),
            story=stories(seed, kind).__next__,
            leaks=leaks,
            words=words,
            phrases=phrases,
        )
        for number in range(recipe.planted):
            documents.extend(plant(soil, number))
    random.Random(f"{seed}/order").shuffle(documents)
    return documents


def place(documents: list[dirt.Document], text_files: int, seed: int) -> dict[str, list[Placed]]:
    """The documents in three formats: a third web pages, `text_files` text files, the rest JSONL.

    A clean story that becomes a web page has dirt around it: its kind is "boilerplate".
    """
    rng = random.Random(f"{seed}/pages")
    pages = len(documents) // 3
    formats: dict[str, list[Placed]] = {"web": [], "books": [], "feed": []}
    for number, document in enumerate(documents):
        if number < pages:
            formats["web"].append(_page(rng, number, document))
        elif number < pages + text_files:
            formats["books"].append(Placed(id=f"book-{number:06d}.txt", content=document.text, document=document))
        else:
            formats["feed"].append(Placed(id=f"feed-{number:06d}", content=document.text, document=document))
    return formats


def _page(rng: random.Random, number: int, document: dirt.Document) -> Placed:
    site, url = page.address(rng, number, document.title)
    html, around = page.render(rng, site, document.title, document.text)
    if document.action == "clean":
        document = dirt.Document(
            text=document.text,
            kind="boilerplate",
            action="span",
            spans=around,
            clean_text=document.clean_text,
            title=document.title,
        )
    return Placed(id=url, content=html, document=document)


def truth(placed: Placed) -> dict[str, Any]:
    """What `corpus` is scored against; it reads this only after it has filtered. span: the first of the spans."""
    document = placed.document
    return {
        "id": placed.id,
        "kind": document.kind,
        "action": document.action,
        "span": document.spans[0] if document.spans else None,
        "spans": list(document.spans),
        "clean_text": document.clean_text,
        "group": document.group,
    }


def labelled(count: int, seed: int) -> Iterator[dict[str, str]]:
    """Documents to train the classifier on: half clean, a quarter spam, a quarter abuse, of another seed.

    A third of the invented insults never occurs here. Of the clean ones a third mention money, prizes or quarrels, and
    some hold an address, as found or already replaced.
    """
    rng = random.Random(f"{seed}/labelled")
    source = stories(seed, "labelled")
    words = junk.labelled_vocabulary()
    extras = (
        lambda name: junk.hard_clean(rng, name),
        lambda name: junk.hard_clean(rng, name),
        lambda name: contacts.email_line(rng)[0],
        lambda name: contacts.phone_line(rng)[0],
        lambda name: re.sub(r"\S+@\S+[\w]", contacts.EMAIL_PLACEHOLDER, contacts.email_line(rng)[0]),
    )
    for number in range(count):
        story = next(source)
        opening = dirt.opening(rng, story.text)
        if number % 4 == 0:
            yield {"text": junk.spam_document(rng, words, opening), "label": "spam"}
        elif number % 4 == 1:
            yield {"text": junk.abuse_document(rng, words, dirt.name_of(story), opening), "label": "abuse"}
        elif rng.random() < 0.5:
            yield {"text": dirt.insert(rng, story.text, rng.choice(extras)(dirt.name_of(story)))[0], "label": "clean"}
        else:
            yield {"text": story.text, "label": "clean"}


def metrics(placed: list[Placed], seed: int) -> dict[str, float]:
    """Counts of what was written, and how alike the clean stories are.

    Of copies, what is counted is the copies alone, not the story that they are copies of.
    """
    kinds = Counter(it.document.kind for it in placed)
    groups = Counter(it.document.kind for it in {it.document.group: it for it in placed if it.document.group}.values())
    clean = [it.document.clean_text or "" for it in placed if it.document.kind in ("clean", "boilerplate")]
    found: dict[str, float] = {
        "documents": len(placed),
        "clean_documents": len(clean),
        "distinct_words": len({word for text in clean for word in re.findall(r"[a-z']+", text.lower())}),
    }
    for kind in sorted(set(kinds) - {"clean"}):
        found[f"planted_{kind}"] = kinds[kind] - groups[kind]
    nearest = nearest_neighbour_similarity(clean, random.Random(f"{seed}/neighbours"), MEASURED)
    return found | {f"neighbour_similarity_{name}": value for name, value in nearest.items()}


def write_talk(recipe: StoryWorld, out: Path, seed: int) -> None:
    """Conversations and prompts. A held-out conversation asks for nothing that a training one asks for."""
    train = talk.conversations(random.Random(f"{seed}/conversations"), recipe.conversations)
    asked = {_request(row) for row in train}
    rng = random.Random(f"{seed}/heldout conversations")
    heldout: list[dict[str, Any]] = []
    while len(heldout) < recipe.heldout_conversations:
        (row,) = talk.conversations(rng, 1)
        if _request(row) not in asked:
            asked.add(_request(row))
            heldout.append(row)
    for name, rows in (("conversations", train), ("heldout_conversations", heldout)):
        numbered = (
            {"id": f"{name}-{number:05d}", "kind": row["kind"], "messages": row["messages"]}
            for number, row in enumerate(rows)
        )
        raw.write_jsonl(out / f"{name}.jsonl", numbered)
    for split, count in (("preferences", recipe.preferences), ("rl", recipe.rl), ("evaluate", recipe.evaluate)):
        prompts = talk.prompts(random.Random(f"{seed}/prompts/{split}"), count, split)
        numbered = (
            {
                "id": f"{split}-{number:05d}",
                "prompt": row["prompt"],
                "wishes": row["wishes"],
                "plain": row["plain"],
                "reference": None,
            }
            for number, row in enumerate(prompts)
        )
        raw.write_jsonl(out / "prompts" / f"{split}.jsonl", numbered)


def _request(row: dict[str, Any]) -> str:
    """What a conversation asks for, whatever its phrasing: the wishes, or the message with the story in it."""
    return json.dumps(row["wishes"]) if row["kind"] == "write" else row["messages"][0]["content"]
