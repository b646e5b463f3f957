"""Extraction: the main text of an HTML page, without navigation, adverts and footers.

Two extractors with different faults share the work. resiliparse (300 pages a second) is right where a page is little
more than its text, and where it is wrong it keeps too little or too much; trafilatura (20 a second) is better on
forums, shops and front pages, and where it is wrong it keeps a fragment. So resiliparse's text stands where it is
nearly all the visible text there is; else trafilatura's, unless that is a fragment of resiliparse's. `make
bench-corpus` compares the pair with each alone. datatrove's own extractors start a process a task and count a slow
import as a timeout, so the libraries are called here directly.
"""

import re

from datatrove.data import Document

from pipeline.corpus.step import Ledger, Step

# resiliparse marks list items with a bullet of its own.
BULLET = re.compile(r"^[ \t]*•[ \t]*", re.MULTILINE)
SINGLE_BREAK = re.compile(r"[ \t]*\n[ \t]*")
NEARLY_ALL = 0.8  # share of the visible words from which resiliparse's text stands
FRAGMENT = 0.6  # share of resiliparse's words below which trafilatura's text is taken for a fragment
LONG_PAGE = 3_000_000  # characters of HTML above which trafilatura would take minutes


def plain(html: str, main: bool) -> str:
    """The page's text by resiliparse: its main content, or everything that is visible."""
    from resiliparse.extract.html2text import extract_plain_text

    text = extract_plain_text(
        html, preserve_formatting=True, main_content=main, alt_texts=False, comments=False, post_meta=False
    )
    return SINGLE_BREAK.sub("\n", BULLET.sub("", text)).strip()


def resiliparse_text(html: str) -> str:
    """The main content by resiliparse's rules, paragraphs on lines of their own."""
    return plain(html, main=True)


def trafilatura_text(html: str) -> str:
    """The main content by trafilatura's default mode."""
    from trafilatura import extract

    return extract(html, include_comments=False) or ""


def either_text(html: str) -> str:
    """The better of the two."""
    first = resiliparse_text(html)
    words = len(first.split())
    if len(html) > LONG_PAGE or words >= NEARLY_ALL * max(1, len(plain(html, main=False).split())):
        return first
    second = trafilatura_text(html)
    return first if len(second.split()) < FRAGMENT * words else second


EXTRACTORS = {"either": either_text, "resiliparse": resiliparse_text, "trafilatura": trafilatura_text}


class Extract(Step):
    """Replaces a page by its main text; drops a page that has none. Other documents pass as they are."""

    name = "extract"

    def __init__(self, extractor: str, ledger: Ledger) -> None:
        super().__init__(ledger)
        self.extractor = extractor

    def filter(self, doc: Document) -> bool | tuple[bool, str]:
        """Edits the document in place."""
        if not doc.metadata.pop("html", False):
            return True
        text = EXTRACTORS[self.extractor](doc.text)
        if not text:
            return False, "no_main_text"
        doc.text = text
        self.edited("page")
        return True
