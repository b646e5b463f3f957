"""Looks for access tokens and private keys in what is about to be published: text, binary files, and Parquet columns.

A token that was pushed once is public for good, also after it was deleted, so one match refuses the whole push.
"""

import io
from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.hub.layout import File
from pipeline.secrets import BYTES
from pipeline.stage import UserError

PIECE = 4 * 2**20  # bytes read at once
OVERLAP = 8_192  # bytes, longer than any token: none is missed because it lies across two pieces


def check(files: Iterable[File], token: str | None) -> None:
    """Raises UserError for the first file that holds something like a token, or the user's own. Never shows it."""
    for file in files:
        for piece in pieces(file.content):
            found = next((kind for kind, pattern in BYTES.items() if pattern.search(piece)), None)
            if token and token.encode() in piece:
                found = "your own token"
            if found:
                where = f" ({file.content})" if isinstance(file.content, Path) else ""
                raise UserError(
                    f"{file.name}{where}: holds {found}, so nothing was pushed. Revoke it, remove it from where the "
                    f"stage read it, and build the stage again."
                )


def pieces(content: Path | bytes) -> Iterator[bytes]:
    """The content in overlapping pieces; of Parquet, whose pages are compressed, also the text columns."""
    with content.open("rb") if isinstance(content, Path) else io.BytesIO(content) as file:
        rest = b""
        while piece := file.read(PIECE):
            yield rest + piece
            rest = piece[-OVERLAP:]
    if isinstance(content, Path) and content.suffix == ".parquet":
        shard = pq.ParquetFile(content)
        columns = [field.name for field in shard.schema_arrow if field.type in (pa.string(), pa.large_string())]
        for batch in shard.iter_batches(1000, columns=columns):
            for column in batch.columns:
                yield "\n".join(value or "" for value in column.to_pylist()).encode()
