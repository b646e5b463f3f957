"""Extraction: the main text of an HTML page, without navigation, adverts and footers.

resiliparse reads 200 to 300 pages a second and matches trafilatura on articles; trafilatura (not in the lock) is
better on forums and product pages and 10 to 20 times slower. datatrove's own extractors start a process a task and
count a slow import as a timeout, so the library is called here directly.
"""

import importlib.util
import re

from datatrove.data import Document

from pipeline.corpus.step import Ledger, Step
from pipeline.stage import UserError

# resiliparse marks list items with a bullet of its own.
BULLET = re.compile(r"^[ \t]*•[ \t]*", re.MULTILINE)
SINGLE_BREAK = re.compile(r"[ \t]*\n[ \t]*")


def check(extractor: str) -> None:
    """Raises UserError where the extractor is not installed."""
    if extractor == "trafilatura" and importlib.util.find_spec("trafilatura") is None:
        raise UserError(
            "corpus.yaml: extractor: trafilatura is not installed. pip install trafilatura lxml_html_clean, "
            "or take extractor: resiliparse."
        )


def resiliparse_text(html: str) -> str:
    """The main content by resiliparse's rules, paragraphs on lines of their own."""
    from resiliparse.extract.html2text import extract_plain_text

    text = extract_plain_text(
        html, preserve_formatting=True, main_content=True, alt_texts=False, comments=False, post_meta=False
    )
    return SINGLE_BREAK.sub("\n", BULLET.sub("", text)).strip()


def trafilatura_text(html: str) -> str:
    """The main content by trafilatura's default mode."""
    from trafilatura import extract

    return extract(html, include_comments=False) or ""


EXTRACTORS = {"resiliparse": resiliparse_text, "trafilatura": trafilatura_text}


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
