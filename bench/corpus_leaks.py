"""Decontamination: prompts that two public sets share must be found."""

import re
import time
from collections.abc import Sequence
from pathlib import Path

from bench.corpus_data import Row, json_of, jsonl_of, only
from pipeline.corpus.recipe import Recipe
from pipeline.screen.leaks import Index

NGRAM = Recipe().decontaminate_ngram or 13
OTHER = re.compile(r"[^a-z0-9]")


def key(text: str) -> str:
    """A prompt in small letters and digits only: what "shared" means here."""
    return OTHER.sub("", text.lower())


def line(name: str, prompts: Sequence[str], items: Sequence[str], expected: int) -> Row:
    """One pair of sets."""
    index = Index(NGRAM)
    for number, item in enumerate(items):
        index.add("items", str(number), item)
    started = time.process_time()
    found = [bool(index.find(prompt)) for prompt in prompts]
    seconds = time.process_time() - started
    known = {key(item) for item in items}
    shared = [key(prompt) in known for prompt in prompts]
    hits = sum(a and b for a, b in zip(found, shared, strict=True))
    return Row(
        what="shared prompts found",
        on=name,
        value=f"{hits} of {sum(shared)}",
        bar=f"all {expected}",
        reached=hits == sum(shared) and sum(shared) >= expected,
        beside=f"{sum(found) - hits} others matched, {len(prompts) / seconds:,.0f} prompts/s",
    )


def measure(data: Path) -> list[Row]:
    """Two lines."""
    lima = [row["instruction"] for row in json_of(only(data, "lima/*.json*"))]
    gsm8k = [row["question"] for row in jsonl_of(only(data, "gsm8k_train/*.jsonl*"))]
    alpaca = [row["instruction"] for row in json_of(only(data, "alpaca_5000/*.json*"))]
    demo = [row["instruction"] for row in json_of(only(data, "llamafactory_demo/alpaca_en*.json*"))]
    return [
        line("lima against gsm8k_train", lima, gsm8k, 6),
        line("alpaca_5000 against llamafactory_demo/alpaca_en", alpaca, demo, 95),
    ]
