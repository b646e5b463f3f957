"""A file as a stream of decompressed bytes that cannot hurt: cut, damaged and exploding files end early and say so.

gzip goes through zlib, so that every byte before the damage is given and reading can go on at the next member of the
file; zstd goes through Arrow. Memory is a few buffers, whatever the file unpacks to.
"""

import io
import zlib
from typing import BinaryIO

import pyarrow as pa

CHUNK = 1 << 16
MEMBER = b"\x1f\x8b\x08"  # how a gzip member begins (RFC 1952)
# Text shrinks to a third or a tenth, tables of repeated lines to a fiftieth; gzip's limit is 1,032, zstd's far above.
MAX_RATIO = 200
UNSUSPECTED = 4  # longest documents that a file may give before its ratio is looked at


class Stream(io.RawIOBase):
    """`trouble` is "" while all is well, then "broken_file" or "decompression_bomb"; the stream ends there.

    file: closed with the stream. compression: ".gz", ".zst" or "". limit: bytes of the longest document; a file, or a
    member of a gzip file, that gives more than UNSUSPECTED times as much, and MAX_RATIO times its own size, is a bomb.
    """

    def __init__(self, file: BinaryIO, compression: str, limit: int) -> None:
        self.trouble = ""
        self._unsuspected = UNSUSPECTED * limit
        self._given = 0
        self._member_at = (0, 0)  # bytes taken and given where the present gzip member began
        self._file = file
        self._member = zlib.decompressobj(31) if compression == ".gz" else None
        self._input = b""  # compressed bytes that the present member has not taken yet
        self._zstd = pa.CompressedInputStream(pa.PythonFile(file, "r"), "zstd") if compression == ".zst" else None

    def readable(self) -> bool:
        """Yes."""
        return True

    def tell(self) -> int:
        """The number of bytes given."""
        return self._given

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """At least one byte, or 0 at the end and in trouble."""
        if self.trouble:
            return 0
        try:
            data = self._next(len(buffer))
        except (zlib.error, OSError, pa.ArrowInvalid):
            self.trouble = "broken_file"
            return 0
        self._given += len(data)
        taken, given = self._file.tell() - self._member_at[0], self._given - self._member_at[1]
        if given > self._unsuspected and given > MAX_RATIO * taken:
            self.trouble = "decompression_bomb"
            return 0
        buffer[: len(data)] = data
        return len(data)

    def take(self, count: int) -> bytes:
        """The next bytes, `count` at most, without room being made for all of them at once."""
        data = bytearray()
        while len(data) < count and (piece := self.read(min(CHUNK, count - len(data)))):
            data += piece
        return bytes(data)

    def _next(self, size: int) -> bytes:
        if self._zstd is not None:
            return self._zstd.read(min(size, CHUNK))
        if self._member is None:
            return self._file.read(size)
        while True:
            while self._member.eof:
                rest = (self._input or self._more()).lstrip(b"\0")  # zeros behind a member are padding
                if rest:
                    self._begin()
                elif not self._input:
                    return b""
                self._input = rest
            if not self._input and not self._more():
                raise zlib.error("the file ends inside a member")
            data = self._member.decompress(self._input, size)
            self._input = self._member.unused_data if self._member.eof else self._member.unconsumed_tail
            if data:
                return data

    def _begin(self) -> None:
        self._member = zlib.decompressobj(31)
        self._member_at = (self._file.tell() - len(self._input), self._given)

    def _more(self) -> bytes:
        self._input = self._file.read(CHUNK)
        return self._input

    def resume(self) -> bool:
        """Goes on at the next gzip member, also where the present one is sound. False where there is none."""
        if self._member is None:
            return False
        try:
            while not self.trouble and not self._member.eof:
                if not self._input and not self._more():
                    return False
                self._member.decompress(self._input, CHUNK)
                self._input = self._member.unused_data if self._member.eof else self._member.unconsumed_tail
        except zlib.error:
            self.trouble = "broken_file"
        window, start = self._input, 1 if self.trouble else 0
        while (at := next_member(window, start)) < 0:
            if not self._more():
                return False
            window, start = window[-2:] + self._input, 0  # the three bytes may stand across two chunks
        self._input, self.trouble = window[at:], ""
        self._begin()
        return True

    def close(self) -> None:
        """Closes the file."""
        self._file.close()
        super().close()


def next_member(data: bytes, start: int) -> int:
    """Where a gzip member begins at or after `start`, or -1; the three bytes alone turn up in any large file."""
    while (start := data.find(MEMBER, start)) >= 0:
        try:
            zlib.decompressobj(31).decompress(data[start:], 1)
        except zlib.error:
            start += 1
        else:
            break
    return start
