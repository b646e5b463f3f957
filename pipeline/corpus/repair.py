"""Repair: broken encoding (ftfy) and formatting debris.

datatrove's FTFYFormatter carries the configuration: it mends mojibake and lossy bytes but keeps curly quotes and
ligatures, since a model should know them.
"""

import re

import ftfy
from datatrove.data import DocumentsPipeline
from datatrove.pipeline.formatters.ftfy import FTFYFormatter

# Letters of Persian, Hindi and their kin are written with joiners, as are pictures of several people. The others
# stand where a page was cut, or are there to mark a copy.
JOINED = "\u0590-\u1cff\ua800-\uabff\ufb1d-\ufdff\ufe70-\ufefc\U00010800-\U00011fff"
PICTURES = "\u203c-\u2bff\ufe0f\U0001f000-\U0001faff"
INVISIBLE = re.compile(
    "[\u00ad\u200b\u2060\ufeff]"  # soft hyphen, zero-width space, word joiner, byte-order mark
    rf"|(?<![{JOINED}])\u200c|\u200c(?![\u200c\u200d]*[^\s\u200c\u200d])"  # kept inside a word of such letters
    rf"|(?<![{JOINED}{PICTURES}])\u200d"
)
ODD_SPACE = re.compile("[\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]")
TRAILING = re.compile(r"[ \t]+$", re.MULTILINE)
BLANK_LINES = re.compile(r"\n{3,}")
RULE_LINE = re.compile(r"^[ \t]*([-=_*~#])(?:[ \t]*\1){4,}[ \t]*$\n?", re.MULTILINE)


# What is left of a letter of UTF-8 read as windows-1252, at the start of a word or inside it: "Ã…sa" was "Åsa". ftfy
# lets it pass, since a capital letter and a mark might stand together; right before a small letter they do not.
LEFTOVER = re.compile(
    r"[\u00c2-\u00df][\u0080-\u00bf\u0152\u0153\u0160\u0161\u0178\u017d\u017e\u0192\u02c6\u02dc\u2013-\u203a\u20ac\u2122](?=[a-z])"
)


def reread(match: re.Match[str]) -> str:
    """The two characters' bytes as UTF-8, where they are UTF-8."""
    try:
        return match.group().encode("sloppy-windows-1252").decode("utf-8")
    except UnicodeError:
        return match.group()


def tidy(text: str) -> str:
    """The text without invisible characters, odd spaces, ruled lines, trailing blanks and runs of empty lines."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    text = ODD_SPACE.sub(" ", INVISIBLE.sub("", text))
    return BLANK_LINES.sub("\n\n", TRAILING.sub("", RULE_LINE.sub("", text))).strip()


class Repair(FTFYFormatter):
    """Mends every document; counts those that changed, by what changed them."""

    name = "repair"

    def format(self, text: str) -> str:
        """The text in the encoding that it was meant in."""
        return LEFTOVER.sub(reread, ftfy.fix_text(text, config=self.config))

    def run(self, data: DocumentsPipeline, rank: int = 0, world_size: int = 1) -> DocumentsPipeline:
        """Edits in place; drops nothing."""
        for doc in data:
            with self.track_time():
                mended = self.format(doc.text)
                tidied = tidy(mended)
                if mended != doc.text:
                    self.stat_update("edited_encoding")
                if tidied != mended:
                    self.stat_update("edited_formatting")
                doc.text = tidied
            yield doc
