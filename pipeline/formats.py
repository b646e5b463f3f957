"""Which files hold documents, by name: what `collect` takes and how `corpus` reads it. Imports nothing heavy.

A file of rows or an archive holds many documents, any other file is one. Each may also be compressed: `.gz`, `.zst`.
"""

from dataclasses import dataclass

ROWS = (".jsonl", ".ndjson", ".csv", ".tsv", ".parquet")
ARCHIVES = (".warc", ".arc", ".wet", ".wat")
PAGES = (".html", ".htm", ".xhtml")
PROSE = (".txt", ".md", ".markdown", ".rst", ".tex")
PDF = (".pdf",)
CODE = (
    ".py", ".js", ".mjs", ".ts", ".tsx", ".jsx", ".java", ".kt", ".scala", ".c", ".h", ".cc", ".cpp", ".cxx", ".hpp",
    ".cs", ".go", ".rs", ".swift", ".m", ".rb", ".php", ".pl", ".lua", ".r", ".jl", ".hs", ".ml", ".ex", ".erl",
    ".clj", ".sh", ".sql", ".zig", ".dart", ".f90", ".pas", ".vb", ".asm",
)  # fmt: skip
COMPRESSIONS = (".gz", ".zst")
SUFFIXES = PROSE + PAGES + PDF + ROWS + ARCHIVES + CODE


@dataclass(frozen=True, kw_only=True)
class Form:
    """What a file's name says. suffix: without the compression's, "" where it is none of ours; compression: or ""."""

    suffix: str
    compression: str

    @property
    def many(self) -> bool:
        """Whether the file holds more than one document."""
        return self.suffix in ROWS + ARCHIVES


def form(name: str) -> Form:
    """The form of a file: `crawl.warc.wet.gz` is a WET file in gzip."""
    lower = name.lower()
    compression = next((end for end in COMPRESSIONS if lower.endswith(end)), "")
    stem, _, end = lower.removesuffix(compression).rpartition("/")[2].rpartition(".")
    suffix = f".{end}"
    return Form(suffix=suffix if stem and suffix in SUFFIXES else "", compression=compression)
