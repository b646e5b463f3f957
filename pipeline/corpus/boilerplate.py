"""Machine boilerplate: sentences in which a language model speaks of itself or serves its user.

Only the sentence goes, not the document: the text around it is what somebody asked for.
"""

import re

from datatrove.data import Document

from pipeline.corpus.step import Ledger, Step
from pipeline.sentences import sentences

MODEL = (
    r"(?:ai|a\.i\.|artificial intelligence|(?:large )?language model|llm|chat ?bot|(?:ai|virtual|digital) assistant)"
)
ME = r"(?:(?-i:I)|my|me)"  # a capital I: the small one is a variable
# Phrases that people do not write about themselves; matched within one sentence, white space and case aside.
PHRASES = (
    rf"\b(?:as|being|i am|i'm) (?:just |only |merely )?(?:an?|your|the) (?:\w+ ){{0,2}}{MODEL}\b",
    rf"\b{MODEL}\b.{{0,40}}\b{ME}\b",
    rf"\b{ME}\b.{{0,40}}\b{MODEL}\b",
    rf"\b(?:generated|written|created|produced|composed|made|comes?|answer(?:ed)?) (?:by|from|with|using) "
    rf"(?:an?|the|our) (?:\w+ ){{0,2}}{MODEL}\b",
    r"\bmy (?:training data|training cut-?off|knowledge cut-?off|last (?:knowledge )?update)\b",
    r"\b(?:i|we) (?:cannot|can't|can not|am unable to|am not able to|won't|will not) "
    r"(?:fulfil+|comply with|assist with|help with|complete|process) (?:that|this|your|the) (?:request|prompt|task)\b",
    r"\bi (?:do not|don't) have (?:personal |real |any )*"
    r"(?:opinions|feelings|emotions|beliefs|experiences|access to real-time)\b",
    r"\b(?:certainly|sure|of course|absolutely|great)\b[!,.:]? ?"
    r"(?:here is|here's|here are|below is|i'd be happy|i would be happy|i can help|let me)\b",
    r"\b(?:i hope (?:this|that|it) (?:helps|story|answers|meets)|hope this helps)\b",
    r"\b(?:let me know|feel free to (?:ask|reach|let)|do not hesitate to|don't hesitate to hesitate to)"
    r".{0,60}\b(?:questions?|help|changes?|assistance|else|version|revis|adjust|more|another|know|ask)",
    r"\bis there anything else (?:i|you)\b",
    r"\b(?:as of|until|up to) my (?:last|latest|most recent) (?:knowledge |training )?(?:update|cut-?off|data)\b",
    r"\b(?:i was|i have been|i am|i'm|me,) (?:trained|developed|created|built|made|designed) by\b.{0,30}\b"
    r"(?:openai|anthropic|google|meta|ai|lab|company|team|developers)\b",
    r"\bhere(?: is|'s) (?:the|a|your) (?:short |requested |revised |rewritten |children's )*"
    r"(?:story|text|summary|response|answer|version)\b.{0,40}(?:you asked|you requested|as requested|for you|:\s*$)",
)
PATTERN = re.compile("|".join(PHRASES), re.IGNORECASE)
# One of these, in small letters, is in every sentence that a phrase matches: a search for fixed text spares nearly
# every document the expressions. The second group are forms of "AI", too short to search for without its borders.
SIGNS = (
    "artificial intelligence", "language model", "llm", "chatbot", "chat bot", "assistant", "my training",
    "my knowledge", "my last", "my latest", "my most", "request", "prompt", " task", "opinions", "feelings",
    "emotions", "beliefs", "experiences", "access to real-time", "certainly", "sure", "of course", "absolutely",
    "great", "hope", "let me know", "feel free", "hesitate", "is there anything else", "trained by", "developed by",
    "created by", "built by", "made by", "designed by", "here is", "here's", "here\u2019s", "a.i.",
    "response", "stop generating",
)  # fmt: skip
SHORT_SIGN = re.compile(r"ai(?![a-z])")
# Buttons beside an answer, pasted with it; no sentence of their own, so only they go.
BUTTONS = re.compile(r"\b(?:regenerate (?:the )?response|stop generating)\b[.!]?\s*", re.IGNORECASE)
SPACE = re.compile(r"\s+")


def without(text: str) -> tuple[str, int]:
    """The text without such sentences, and how many there were."""
    low = " ".join(text.lower().split())
    signs = [sign for sign in SIGNS if sign in low]
    short = SHORT_SIGN.search(low) is not None
    if not signs and not short:
        return text, 0
    text, gone = BUTTONS.subn("", text)
    kept: list[str] = []
    for piece in sentences(text):
        low = " ".join(piece.lower().split())
        suspect = any(sign in low for sign in signs) or (short and SHORT_SIGN.search(low) is not None)
        if suspect and PATTERN.search(SPACE.sub(" ", piece).replace("\u2019", "'")):
            gone += 1
            # The line break that ended the sentence still parts the paragraphs around it.
            breaks = piece[len(piece.rstrip()) :]
            if "\n" in breaks and kept and not kept[-1].endswith("\n"):
                kept.append(breaks)
        else:
            kept.append(piece)
    return "".join(kept).strip() if gone else text, gone


class Boilerplate(Step):
    """Removes the sentences; drops a document that was nothing else."""

    name = "boilerplate"

    def __init__(self, ledger: Ledger) -> None:
        super().__init__(ledger)

    def filter(self, doc: Document) -> bool | tuple[bool, str]:
        """Edits in place."""
        doc.text, gone = without(doc.text)
        self.edited("boilerplate", gone)
        return True if doc.text else (False, "boilerplate_only")
