"""The report's figure as SVG: bytes per token of each tokenizer, over all and by source, and by language.

Colours come from the page that shows it (currentColor), or from the drawing where it stands alone.
"""

from html import escape
from typing import Any

WIDTH, LEFT, RIGHT, BAR, GAP, TOP = 640, 170, 60, 12, 10, 34
MOST_GROUPS, MOST_TOKENIZERS = 14, 5
COLOURS = ("#2f6fb0", "#c8682b", "#4c9a5f", "#8a5fb0", "#a03c50")


def groups_of(entries: list[dict[str, Any]]) -> list[tuple[str, list[float]]]:
    """(what, bytes per token of each tokenizer): all, the sources where there are several, then languages from end to
    end of this tokenizer's list, evenly thinned."""
    found = [("all held-out text", [entry["all"]["bytes_per_token"] for entry in entries])]
    for key in ("by_source", "by_language", "parallel"):
        own = entries[0][key]
        names = sorted(own, key=lambda name: (-own[name]["bytes_per_token"], name))
        room = MOST_GROUPS - len(found)
        if (len(names) < 2 and key != "parallel") or room < 1:
            continue
        if len(names) > room:
            names = [names[round(i * (len(names) - 1) / max(room - 1, 1))] for i in range(room)]
        found += [(name, [entry[key][name]["bytes_per_token"] for entry in entries]) for name in names]
    return found


def draw(entries: list[dict[str, Any]]) -> str:
    """The drawing of a report's entries."""
    entries = entries[:MOST_TOKENIZERS]
    groups = groups_of(entries)
    largest = max(value for _, values in groups for value in values) or 1.0
    tall = len(entries) * BAR + GAP
    height = TOP + tall * len(groups) + GAP
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" font-family="sans-serif" '
        f'font-size="11" fill="currentColor">',
        "<title>Bytes per token of held-out text: more is shorter sequences</title>",
        f'<text x="{LEFT - 8}" y="17" text-anchor="end">bytes a token</text>',
    ]
    across = LEFT
    for colour, entry in zip(COLOURS, entries, strict=False):
        name = escape(short(entry["name"]))
        parts.append(f'<rect x="{across}" y="8" width="10" height="10" fill="{colour}"/>')
        parts.append(f'<text x="{across + 14}" y="17">{name}</text>')
        across += 24 + 7 * len(short(entry["name"]))
    for row, (what, values) in enumerate(groups):
        top = TOP + row * tall
        middle = top + len(entries) * BAR / 2 + 4
        parts.append(f'<text x="{LEFT - 8}" y="{middle:g}" text-anchor="end">{escape(short(what))}</text>')
        for number, (colour, value) in enumerate(zip(COLOURS, values, strict=False)):
            y, length = top + number * BAR, value / largest * (WIDTH - LEFT - RIGHT)
            parts.append(f'<rect x="{LEFT}" y="{y}" width="{length:.1f}" height="{BAR - 2}" fill="{colour}"/>')
            parts.append(f'<text x="{LEFT + length + 4:.1f}" y="{y + 9}">{value:.2f}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def short(name: str) -> str:
    """A name that fits: of a path or a Hub id the last part that says something, without its commit."""
    parts = [part for part in name.partition("@")[0].split("/") if part not in ("", "tokenizer", "model")]
    name = parts[-1] if parts else name
    return name if len(name) <= 24 else name[:23] + "…"
