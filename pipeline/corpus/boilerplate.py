"""Machine boilerplate: sentences in which a language model speaks of itself or serves its user.

Only the sentence goes, not the document: the text around it is what somebody asked for. People write about models too,
and hope that something helps; so a phrase counts where a model says it. What only a model says of itself goes in the
first person, at the head of a sentence outside quotation marks; the opening of an answer ("Sure, here is ..") at the
head of a document or of a turn; a courtesy beside a sentence that goes, or at the end of a document that held one.
Every expression is matched at the head of a sentence and is bounded, so time is linear.
"""

import re
from collections.abc import Sequence

from datatrove.data import Document

from pipeline.corpus.step import Ledger, Step
from pipeline.sentences import sentences

ME = r"(?-i:I)"  # a capital I: the small one is a variable
I_AM = rf"(?:{ME} am|{ME}'m)"
# "ai" in small letters is a French word. A virtual assistant may be a person; one who calls himself helpful is not.
# What follows shows that the name ends there: it is not "an AI lab" nor "an AI and data engineer".
MODEL = (
    r"(?:(?:large|helpful|friendly|responsible|respectful|ethical|harmless|honest|safe|advanced|conversational"
    r"|generative|virtual|digital|trained|simple|AI|AI-powered),? (?:and )?){0,5}"
    r"(?:(?-i:AI|A\.I\.)(?: (?:model|assistant|system|program|chat ?bot|entity))?|language model"
    r"|artificial intelligence|(?-i:LLM)|chat ?bot"
    r"|(?:(?<=helpful )|(?<=respectful )|(?<=responsible )|(?<=ethical ))assistant)"
    rf"(?=$|[,.;:!?)]| ?[\u2013\u2014-] | (?:{ME}|my|so|but|that|without|with|designed|trained|developed|created|made"
    rf"|built)\b| and (?:{ME}|my|not|as|do|don't|am|can|cannot|can't|may|will|have)\b)"
)
TEXT = r"(?:text|story|answer|response|article|content|summary|post|message|translation|document|essay|poem)"
SORRY = (
    rf"(?:(?:{I_AM} )?(?:very |really |so )?(?:sorry(?:,| but|, but)|afraid(?: that)?)|unfortunately,?"
    r"|(?:my )?apologies,?(?: but)?) "
)
CANNOT = (
    rf"{ME}(?: can't| cannot| can not| won't| will not|(?: am|'m) (?:unable|not able|not allowed|not programmed) to"
    r"|(?: won't| will not) be able to)"
)
THAT = r"(?:that|this|these|those|your|such|the|any)"
ASKED = r"(?:kinds? of |types? of |particular |specific )?(?:requests?|prompts?|tasks?|instructions?)\b"
END = r"(?:[.!,;:]|$| (?:as|because|since|but)\b)"
CLAUSE = r"(?:[^\"\u201c\u201d]{0,120}?[,;:\u2014] (?:(?:but|and|that|since|because|as|however|so),? )?)?"
NOTE = r"(?:(?:please )?(?:note|remember|keep in mind)(?: that|,|:)? |(?:and|but|so) )?"

# What only a model says of itself; the first may follow another clause.
SAID = (
    rf"{CLAUSE}{NOTE}(?:(?:as|being) (?:an?|your) {MODEL}(?=.{{0,200}}\b(?:{ME}|my|me)\b)"
    rf"|{I_AM} (?:\w{{1,20}}, )?(?:just |only |merely |simply )?(?:an?|your) {MODEL})",
    rf"{NOTE}(?:this|the (?:above|following|preceding)) {TEXT} (?:was|is|has been|comes) "
    rf"(?:(?:generated|written|created|produced|composed) )?(?:by|from|with) (?:an?|the|our) {MODEL}",
    r"(?:(?:as of|until|up to|based on|given) )?my (?:training cut-?off|knowledge cut-?off"
    r"|(?:last|latest|most recent) (?:knowledge|training) (?:update|cut-?off|data))\b",
    r"(?:as of|until|up to) my (?:last|latest|most recent) update\b|(?:based on|according to) my training data,",
    rf"(?:{SORRY})?{CANNOT} (?:assist(?: you)?(?: (?:with|in) {THAT}\b|{END})|comply(?: with {THAT}\b|{END})"
    rf"|(?:fulfil+|complete|process|satisfy|help(?: you)? with) {THAT} {ASKED})",
    rf"{SORRY}{CANNOT} (?:help(?: you)?(?:(?: with| do| in)? (?:that|this|any\w*)\b|{END})"
    rf"|answer {THAT} {ASKED}|provide (?:assistance|information|instructions|guidance|advice)\b)",
    rf"{ME} apologi[sz]e(?: for (?:the|any) \w+)?, but {CANNOT}\b",
    rf"{ME} (?:do not|don't) have (?:any )?(?:personal|human) (?:opinions|feelings|emotions|beliefs"
    r"|experiences|preferences)(?:[.,]| or\b| and\b| like humans)",
    rf"{ME} (?:do not|don't) have (?:direct )?access to real-time\b",
    rf"(?:{I_AM}|{ME} was|{ME} have been) (?:(?:created|developed|built|made) by (?:openai|anthropic|google|meta"
    r"|microsoft)|trained by (?:openai|anthropic))\b",
)
YES = r"(?:certainly|sure(?: thing)?|of course|absolutely|great|definitely)"
HERE = r"(?:here(?: is|'s| are)|below (?:is|are))"
# How an answer begins.
OPENING = (
    rf"{YES}[!,.:] ?(?:{HERE} .{{0,200}}[:!.]$|{ME}(?:'d| would) be (?:happy|glad) to\b"
    rf"|{ME} can help(?: you)? with\b)",
    rf"{HERE} (?:the|an?|your) (?:requested|revised|rewritten|improved) (?:\w+ )?{TEXT}\b",
    rf"{HERE} (?:the|an?|your) (?:\w+ ){{0,3}}{TEXT}\b.{{0,40}}\b(?:you (?:asked|requested)|as requested|for you)\b",
)
# What people write as well.
COURTESY = (
    rf"(?:{ME} )?hope (?:this|that|it)(?: {TEXT}| information| explanation)? (?:helps?|is helpful"
    r"|answers your question)(?:[!.,]|$| you (?:understand|get)\b| clarify\b)",
    r"(?:if you .{0,80}, )?(?:please )?(?:let me know|feel free to (?:ask|reach out)|(?:do not|don't) hesitate to"
    r" (?:ask|reach out|contact)).{0,80}\b(?:questions?|help|assistance|clarifications?|changes?|revisions?"
    r"|information|anything else)\b",
)
# The question after an answer, with which nobody else ends a text.
FAREWELL = (rf"is there anything else (?:{ME} can (?:help|assist|do)|you need|you(?:'d| would) like)\b.{{0,60}}\?",)

# One of these, in small letters, is in every sentence that a phrase matches: a search for fixed text spares nearly
# every document the expressions. "AI" is too short to be searched for in small letters.
SIGNS = (
    "artificial intelligence", "language model", "chatbot", "chat bot", "assist", "my training", "my knowledge",
    "my last", "my latest", "my most recent", "comply", "request", " prompt", " task", "instruction", "sorry",
    "afraid", "unfortunately", "apolog", "personal", "human", "real-time", "by openai", "by anthropic",
    "by google", "by meta", "by microsoft", "certainly", "sure", "of course", "absolutely", "great", "definitely",
    "here is", "here's", "here are", "hope", "let me know", "feel free", "hesitate", "is there anything else",
)  # fmt: skip
CAPITALS = ("AI", "A.I.", "LLM")
# Buttons beside an answer, pasted with it; no sentence of their own, so only they go.
BUTTONS = re.compile(
    r"(?:^|(?<=[.!?] )|(?<=[.!?][\"')\u201d\u2019] ))Regenerate (?:the )?response\b[.!]?(?:$\s*|\s+(?=[^a-z\s]))"
    r"|^Stop generating\.?$\s*",
    re.MULTILINE,
)
SPACE = re.compile(r"\s+")
SPEAKER = r"(?:(?:ai|assistant|chat ?gpt|chat ?bot|bot|claude|gemini|model)\s?:\s?)"
MARKS = r"[\s>*_#(-]{0,8}"  # of lists, quoted mails and emphasis


def heads(phrases: Sequence[str], speaker: str = SPEAKER + "?") -> re.Pattern[str]:
    """Any of the phrases at the head of a sentence, after marks and a speaker's name."""
    return re.compile(rf"{MARKS}{speaker}{MARKS}(?:{'|'.join(phrases)})", re.IGNORECASE)


SAYS, OPENS, OPENS_TURN = heads(SAID), heads(OPENING), heads(OPENING, SPEAKER)
AGREES, COURTEOUS, LEAVES = heads((rf"{YES}[!.]$",)), heads(COURTESY), heads(FAREWELL)


def signs(text: str) -> list[str]:
    """Those in a text with plain apostrophes and single spaces."""
    low = text.lower()
    return [sign for sign in SIGNS if sign in low] + [sign for sign in CAPITALS if sign in text]


def spoken(pieces: Sequence[str]) -> list[bool]:
    """Whether each sentence begins inside a quotation; none goes on beyond a paragraph."""
    inside, found = False, []
    for piece in pieces:
        found.append(inside)
        last = max(piece.rfind("\u201c"), piece.rfind("\u201d"))
        inside = piece[last] == "\u201c" if last >= 0 else inside
        inside = (inside ^ (piece.count('"') % 2 == 1)) and "\n" not in piece
    return found


def doomed(pieces: Sequence[str], found: Sequence[str]) -> list[bool]:
    """Which sentences go. found: the signs that are in any of them."""
    plain = [SPACE.sub(" ", piece).strip().replace("\u2019", "'") for piece in pieces]
    gone = [
        not inside
        and any(sign in low or sign in piece for sign in found)
        and bool(SAYS.match(piece) or OPENS_TURN.match(piece))
        for piece, low, inside in zip(plain, map(str.lower, plain), spoken(pieces), strict=True)
    ]
    agrees = len(plain) > 1 and AGREES.match(plain[0]) is not None  # "Sure!" is a sentence of its own
    if OPENS.match(" ".join(plain[: 1 + agrees])):
        gone[: 1 + agrees] = [True] * (1 + agrees)
    if plain and LEAVES.match(plain[-1]):
        gone[-1] = True
    # A courtesy goes with its neighbour, on either side.
    for order in (range(1, len(plain)), range(len(plain) - 2, -1, -1)):
        step = order.step
        for index in order:
            gone[index] = gone[index] or (gone[index - step] and COURTEOUS.match(plain[index]) is not None)
    if any(gone):
        index = len(plain) - 1
        while not gone[index] and COURTEOUS.match(plain[index]):
            gone[index] = True
            index -= 1
    return gone


def without(text: str) -> tuple[str, int]:
    """The text without such sentences, and how many there were."""
    buttons = 0
    if "Regenerate" in text or "Stop generating" in text:
        text, buttons = BUTTONS.subn("", text)
    found = signs(" ".join(text.split()).replace("\u2019", "'"))
    if not buttons and not found:
        return text, 0
    pieces = sentences(text)
    gone = doomed(pieces, found)
    kept: list[str] = []
    for piece, goes in zip(pieces, gone, strict=True):
        if not goes:
            kept.append(piece)
            continue
        # The line break that ended the sentence still parts the paragraphs around it.
        breaks = piece[len(piece.rstrip()) :]
        if "\n" in breaks and kept and not kept[-1].endswith("\n"):
            kept.append(breaks)
    count = buttons + sum(gone)
    return "".join(kept).strip() if count else text, count


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
