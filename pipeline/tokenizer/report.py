"""The report: this tokenizer beside others, by source, by language and on parallel texts; a table and a figure.

Writes fertility.json (everything), fertility.md (the tables) and fertility.svg (the figure).
"""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from pipeline.artifact import write_atomically, write_json
from pipeline.intervals import bootstrap_mean
from pipeline.tokenizer import named
from pipeline.tokenizer.fertility import COUNTS, Fertility
from pipeline.tokenizer.figure import draw
from pipeline.tokenizer.recipe import Recipe

OWN = "this one"
ENDS = 10  # languages shown from either end of a long list; fertility.json has all
HEAD = {
    "kind": "kind",
    "vocabulary_size": "vocabulary",
    "bytes_per_token": "bytes a token",
    "tokens_per_word": "tokens a word",
    "tokens_per_document": "tokens a document",
    "single_character_share": "single characters",
    "unused_vocabulary_share": "never used",
    "exact_share": "documents that come back exactly",
    "lost_character_share": "characters lost",
    "unknown_share": "unknown tokens",
}
FIGURES = {"bytes_per_token": "bytes a token", "tokens_per_word": "a word"}
Batches = Iterable[tuple[list[str], list[str], list[str]]]


def others(recipe: Recipe, heldout: Callable[[], Batches]) -> dict[str, Fertility]:
    """The tokenizers that the recipe names, each having read the held-out documents. The extended one comes first."""
    names = [*([recipe.extend.tokenizer] if recipe.extend else []), *recipe.compare]
    found = {}
    for name in dict.fromkeys(names):
        tokenizer = named.load(name)
        backend = tokenizer.backend_tokenizer
        backend.encode_special_tokens = True
        found[name] = fertility = Fertility(backend, tokenizer.unk_token_id)
        for sources, languages, texts in heldout():
            encoded = backend.encode_batch_fast(texts, add_special_tokens=False)
            for source, language, text, encoding in zip(sources, languages, texts, encoded, strict=True):
                fertility.add(source, language, text, encoding.ids)
    return found


def write(recipe: Recipe, out: Path, own: Fertility, beside: dict[str, Fertility], seed: int) -> dict[str, float]:
    """Writes the three files. Returns the metrics: of this tokenizer, and what extending one has saved."""
    entries = [entry(recipe, name, fertility) for name, fertility in {OWN: own, **beside}.items()]
    write_json(out / "fertility.json", {"split": "heldout", "tokenizers": entries})
    write_atomically(out / "fertility.md", tables(entries))
    write_atomically(out / "fertility.svg", draw(entries))
    metrics = own.metrics(seed)
    if recipe.extend:
        metrics |= saving(own, beside[recipe.extend.tokenizer], seed)
    return metrics


def saving(own: Fertility, base: Fertility, seed: int) -> dict[str, float]:
    """Tokens per held-out document before the extension, and the paired difference that it makes."""
    tokens = COUNTS.index("tokens")
    before = base.table()[:, tokens]
    difference, low, high = bootstrap_mean(own.table()[:, tokens] - before, seed)
    name = "tokens_per_document_minus_base"
    return {
        "base_tokens_per_document": float(before.mean()),
        name: difference,
        f"{name}_low": low,
        f"{name}_high": high,
        f"{name}_n": len(before),
    }


def entry(recipe: Recipe, name: str, fertility: Fertility) -> dict[str, Any]:
    """One tokenizer's part of fertility.json."""
    found = fertility.report()
    return {
        "name": name,
        "kind": kind_of(recipe, fertility.tokenizer) if name == OWN else type(fertility.tokenizer.model).__name__,
        **found,
        "parallel": parallel(recipe.parallel, fertility) if recipe.parallel else {},
    }


def kind_of(recipe: Recipe, tokenizer: Tokenizer) -> str:
    """In words: the recipe's kind, or what was extended."""
    return f"{type(tokenizer.model).__name__}, extended" if recipe.extend else recipe.kind


def parallel(name: str, fertility: Fertility) -> dict[str, Any]:
    """The figures of one text in many languages, by language."""
    reader = Fertility(fertility.tokenizer, fertility.unknown_id)
    for language, text in named.parallel_texts(name):
        reader.add("parallel", language, text, fertility.tokenizer.encode(text, add_special_tokens=False).ids)
    return reader.report()["by_language"]


def tables(entries: list[dict[str, Any]]) -> str:
    """The tables in Markdown."""
    rows = [{**found["all"], **found} for found in entries]
    shown = {key: title for key, title in HEAD.items() if any(row.get(key) is not None for row in rows)}
    parts = [
        "# How well the vocabulary fits the held-out text\n",
        _table(["tokenizer", *shown.values()], [[row["name"], *(_cell(row[key]) for key in shown)] for row in rows]),
    ]
    for key, title in (("by_source", "source"), ("by_language", "language"), ("parallel", "language, parallel texts")):
        groups = _ends([*entries[0][key]], entries[0][key])
        if not groups:
            continue
        # Of parallel texts the tokens themselves compare: a script's characters are one byte or three.
        figures = FIGURES | ({"tokens": "tokens"} if key == "parallel" else {})
        head = [title, *(f"{found['name']}: {what}" for found in entries for what in figures.values())]
        body = [
            [group, *(_cell(found[key][group][figure]) for found in entries for figure in figures)] for group in groups
        ]
        parts.append(f"\n## By {title}\n")
        if len(groups) < len(entries[0][key]):
            parts.append(f"{len(groups)} of {len(entries[0][key])}: the ends of the list; fertility.json has all.\n")
        parts.append(_table(head, body))
    parts.append("\nWords are what blanks separate: tokens a word mean little where a language writes none.\n")
    return "\n".join(parts)


def _ends(names: list[str], figures: dict[str, Any]) -> list[str]:
    """By bytes per token, most first; of a long list both ends."""
    ordered = sorted(names, key=lambda name: (-figures[name]["bytes_per_token"], name))
    return ordered if len(ordered) <= 2 * ENDS + 5 else ordered[:ENDS] + ordered[-ENDS:]


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.3f}" if abs(value) < 100 else f"{value:,.1f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _table(head: list[str], body: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *body]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines) + "\n"
