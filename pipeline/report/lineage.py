"""The chain as a picture: a row a stage, an arc from everything that it was made from, and what each stage cost."""

from collections.abc import Mapping
from typing import Any

from pipeline.report.read import Sealed
from pipeline.shown import number, short, spent

ROW, LANE, MARGIN = 58, 8.5, 16  # pixels: a row's height, how far an arc bends out for each row it spans

# What a stage made, in words; the first whose metrics are all there.
PRODUCTS: dict[str, tuple[str, ...]] = {
    "collect": ("{documents} documents",),
    "corpus": ("{documents_kept} of {documents_read} documents kept", "{documents_kept} documents kept"),
    "tokenizer": ("{vocabulary_size} entries, {train_tokens} tokens of text", "{vocabulary_size} entries"),
    "pretrain": ("{parameters} parameters, {tokens} tokens seen",),
    "sft": ("{trained_parameters} parameters trained on {conversations} conversations",),
    "preferences": ("{pairs_train} pairs, {pairs_heldout} held out",),
    "reward": ("{accuracy_gold} of unseen pairs ordered rightly", "{accuracy} of unseen pairs ordered rightly"),
    "dpo": ("trained on {pairs} pairs",),
    "ppo": ("{episodes} answers drawn and scored",),
    "grpo": ("{episodes} answers drawn and scored",),
}


def product(name: str, metrics: Mapping[str, float]) -> str:
    """What the stage made, in a few words; "" where nothing fits."""
    told = {key: short(value) for key, value in metrics.items()}
    for template in PRODUCTS.get(name, ()):
        try:
            return template.format_map(told)
        except KeyError:
            continue
    return ""


def measured(evaluate: Sealed) -> str:
    """What was evaluated, in a few words."""
    results = evaluate.json("results.json") or {}
    settings = results.get("settings", {})
    models = {row["stage"] for row in results.get("rows", [])} - {"unigram"}
    over = {"prompts": settings.get("prompts"), "held-out documents": settings.get("heldout_documents")}
    parts = [f"{len(models)} model{'s' if len(models) > 1 else ''}", *(f"{n} {what}" for what, n in over.items() if n)]
    return ", ".join(parts) if models else ""


def picture(found: Mapping[str, Sealed | None]) -> dict[str, Any]:
    """Rows {name, missing, product, sources, seconds, percent, y} and arcs {source, target, path}, and the size."""
    places = {name: ROW * (row + 0.5) for row, name in enumerate(found)}
    longest = max(one.manifest["seconds"] for one in found.values() if one) or 1.0
    arcs, rows = [], []
    span = 0
    for name, one in found.items():
        if one is None:
            rows.append({"name": name, "missing": True, "y": places[name]})
            continue
        # A base recipe's models are read as "<base>/<stage>": another run's, not in this picture.
        sources = [source for source in one.manifest.get("inputs", {}) if source in places]
        order = list(found)
        for source in sources:
            distance = order.index(name) - order.index(source)
            span = max(span, distance)
            arcs.append({"source": source, "target": name, "distance": distance})
        rows.append(
            {
                "name": name,
                "missing": False,
                "y": places[name],
                "product": measured(one) if name == "evaluate" else product(name, one.metrics),
                "sources": sources,
                "seconds": one.manifest["seconds"],
                "percent": round(100 * one.manifest["seconds"] / longest, 1),
            }
        )
    # A cubic bends out by three quarters of its handles' distance.
    x = MARGIN + 0.75 * LANE * span
    for arc in arcs:
        start, end = places[arc["source"]], places[arc["target"]]
        bend = x - (LANE * arc["distance"] if arc["distance"] > 1 else 0)
        arc["path"] = f"M{x:g} {start:g}C{bend:g} {start:g} {bend:g} {end:g} {x:g} {end:g}"
    return {"rows": rows, "arcs": arcs, "x": x, "width": x + MARGIN, "height": ROW * len(found), "row": ROW}


def costs(found: Mapping[str, Sealed | None]) -> dict[str, Any]:
    """Rows of the table of costs and their sums; energy and money are None where any stage's are not known."""
    rows = [{"name": name, **cost(one)} for name, one in found.items() if one]
    whole: dict[str, Any] = {key: sum(row[key] for row in rows) for key in ("seconds", "cpu_seconds")}
    whole["peak_memory_bytes"] = max(row["peak_memory_bytes"] for row in rows)
    for key in ("energy_joules", "usd"):
        known = [row[key] for row in rows]
        whole[key] = None if None in known else sum(known)
    meters = sorted(
        {one.manifest["energy_source"] for one in found.values() if one and one.manifest.get("energy_source")}
    )
    prices = sorted(
        {one.manifest["usd_per_hour"] for one in found.values() if one and one.manifest.get("usd_per_hour")}
    )
    return {"rows": rows, "whole": whole, "meters": meters, "prices": [number(price) for price in prices]}


def cost(one: Sealed) -> dict[str, Any]:
    """What a stage took. Energy as the machine measured it, money at the recipe's price; None where not known."""
    sealed = one.manifest
    return {
        **{key: sealed[key] for key in ("seconds", "cpu_seconds", "peak_memory_bytes", "load")},
        "energy_joules": sealed.get("energy_joules"),
        "usd": spent(sealed),
    }
