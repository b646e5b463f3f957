"""Rows of CSV and TSV: quoted where the quotes make sense, read as they stand where they do not.

RFC 4180 quotes a cell that holds a separator, a quote or a line's end. Many TSV files (and some CSV files) quote
nothing, and a text there may begin with a quotation mark. Taken for an opening quote, that mark would swallow the rows
up to the next one. So a row is first read strictly by the RFC; if that fails, its line is split at every separator.
"""

import csv
from collections import deque
from collections.abc import Iterator

from pipeline.corpus.record import Refused
from pipeline.corpus.single import decoded

QUOTE = '"'
BLIND = 4  # longest documents that may be read ahead in vain; then no quote of the file is followed beyond its line


class Table:
    """The rows of a file. lines: with their ends, Refused for those that cannot be read. limit: bytes of a row."""

    def __init__(self, lines: Iterator[bytes | Refused], separator: str, limit: int) -> None:
        self.lines = lines
        self.separator = separator
        self.limit = limit
        self.patience = BLIND * limit
        self.ahead: deque[str | Refused] = deque()  # read, but not yet given
        self.started = False

    def rows(self) -> Iterator[list[str] | Refused]:
        """The header, then every row of as many cells; Refused for any other and for what could not be read."""
        width = 0
        while (line := self.peek(0)) is not None:
            if isinstance(line, Refused):
                yield line
            elif line.strip():
                row, taken = self.row(line, width)
                for _ in range(taken - 1):
                    self.ahead.popleft()
                yield row
                width = width or (0 if isinstance(row, Refused) else len(row))
            self.ahead.popleft()

    def row(self, line: str, width: int) -> tuple[list[str] | Refused, int]:
        """The row that begins with this line, and how many lines it takes. width: its cells, 0 for the header."""
        quoted, taken = self.quoted(line) if QUOTE in line else (None, 1)
        if quoted and width in (0, len(quoted)) and not self.rows_each(taken, width):
            return quoted, taken
        plain = line.rstrip("\r\n").split(self.separator)
        if width in (0, len(plain)):
            return plain, 1
        loose = next(csv.reader([line], delimiter=self.separator))  # takes `"two" words`, which the RFC forbids
        if len(loose) == width:
            return loose, 1
        return Refused(reason="bad_csv", text=line[:1000]), taken

    def quoted(self, line: str) -> tuple[list[str] | None, int]:
        """The row by the RFC and the number of its lines; None where a quote is not closed, or closed too early."""
        given: list[str] = []
        size = 0

        def following() -> Iterator[str]:
            nonlocal size
            while size <= self.limit and (not given or self.patience > 0):
                if not isinstance(following := self.peek(len(given)), str):
                    return
                given.append(following)
                size += len(following)
                yield following

        try:
            return next(csv.reader(following(), delimiter=self.separator, strict=True)), len(given)
        except csv.Error:
            self.patience -= size - len(line)
            return None, 1

    def rows_each(self, taken: int, width: int) -> bool:
        """Whether a quoted row of several lines is rather as many rows: TSV of which each line has all its cells."""
        several = taken > 1 and width > 1 and self.separator == "\t"
        return several and all(str(self.ahead[at]).count("\t") == width - 1 for at in range(taken))

    def peek(self, at: int) -> str | Refused | None:
        """The line that many lines ahead, None behind the last."""
        while len(self.ahead) <= at:
            if (line := next(self.lines, None)) is None:
                return None
            text = line if isinstance(line, Refused) else decoded(line)
            self.ahead.append(text.removeprefix("\ufeff") if isinstance(text, str) and not self.started else text)
            self.started = True
        return self.ahead[at]
