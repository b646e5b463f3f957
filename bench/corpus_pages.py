"""Main-text extraction: word F1 against gold, each extractor alone and the one that ships."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.corpus_data import Row, jsonl_of, named, only, text_of, word_f1
from pipeline.corpus.extract import EXTRACTORS, plain

SHIPPED = "either"


@dataclass(frozen=True, kw_only=True)
class Page:
    """A page, its kind and the gold text."""

    kind: str
    html: str
    gold: str


def wcxb(data: Path) -> list[Page]:
    """WCXB's development pages."""
    found = []
    for row in jsonl_of(only(data, "wcxb_dev/ground-truth.jsonl*")):
        html = text_of(data / "wcxb_dev" / "html" / f"{row['file_id']}.html.gz")
        kind = row["_internal"]["page_type"]["primary"]
        found.append(Page(kind=kind, html=html, gold=row["ground_truth"]["main_content"]))
    return found


def readability(data: Path) -> list[Page]:
    """Pages of Readability.js' own tests; its output, as text, is the gold."""
    return [
        Page(
            kind="article",
            html=text_of(folder / "source.html.gz"),
            gold=plain(text_of(folder / "expected.html.gz"), main=False),
        )
        for folder in sorted((data / "readability_pages").iterdir())
        if (folder / "expected.html.gz").is_file()
    ]


def others() -> dict[str, Callable[[str], str]]:
    """Extractors that do not ship and happen to be installed."""
    try:
        from readability import Document
    except ImportError:
        return {}
    return {named("readability-lxml"): lambda html: plain(Document(html).summary(), main=False)}


def measure(data: Path) -> list[Row]:
    """Two lines a set: all pages, and the articles among them."""
    rows = []
    tried = {
        SHIPPED: EXTRACTORS[SHIPPED],
        named("trafilatura"): EXTRACTORS["trafilatura"],
        named("resiliparse"): EXTRACTORS["resiliparse"],
        named("resiliparse") + ", everything visible": lambda html: plain(html, main=False),
        **others(),
    }
    for name, pages in (("wcxb_dev", wcxb(data)), ("readability_pages", readability(data))):
        scores, speed = {}, {}
        for extractor, extract in tried.items():
            started = time.process_time()
            texts = [extract(page.html) for page in pages]
            speed[extractor] = len(pages) / (time.process_time() - started)
            scores[extractor] = [word_f1(text, page.gold) for text, page in zip(texts, pages, strict=True)]
        mean = {extractor: statistics.fmean(values) for extractor, values in scores.items()}
        median = {extractor: statistics.median(values) for extractor, values in scores.items()}
        best = max((extractor for extractor in mean if extractor != SHIPPED), key=lambda one: mean[one])
        rows.append(
            Row(
                what="main text, word F1, mean (median)",
                on=f"{name}, {len(pages)} pages",
                value=f"{mean[SHIPPED]:.3f} ({median[SHIPPED]:.3f}), {speed[SHIPPED]:.0f} pages/s",
                bar=f">= best single: {best} {mean[best]:.3f} ({median[best]:.3f})",
                reached=mean[SHIPPED] >= mean[best],
                beside=", ".join(
                    f"{one} {mean[one]:.3f} ({median[one]:.3f}), {speed[one]:.0f} pages/s"
                    for one in tried
                    if one != SHIPPED
                ),
            )
        )
        articles = [
            score for score, page in zip(scores[SHIPPED], pages, strict=True) if page.kind == "article"
        ]  # fmt: skip
        middle = statistics.median(articles)
        rows.append(
            Row(
                what="main text of articles, word F1, median",
                on=f"{name}, {len(articles)} pages",
                value=f"{middle:.3f}",
                bar=">= 0.85",
                reached=middle >= 0.85,
            )
        )
    return rows
