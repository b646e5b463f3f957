"""A recipe for your own folder of documents: `python -m pipeline.new --name mine --data ~/docs` (`make new`).

Reads the folder's file sizes and the machine's cores; writes recipes/<name>/, sized so that the model fits the text
and pretraining takes about half an hour at most. Never overwrites a recipe.
"""

import argparse
import io
import json
import re
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.chain import CHAIN
from pipeline.collect.outside import matching_files
from pipeline.collect.source import Folder
from pipeline.formats import ARCHIVES, PAGES, PDF, SUFFIXES, form
from pipeline.machine import cores, gpus
from pipeline.pretrain.size import TOKENS_A_PARAMETER, a_layer, intermediate_size
from pipeline.recipe import RECIPES, load
from pipeline.stage import UserError

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
MIN_DOCUMENTS, MIN_BYTES = 10, 20_000  # below, there is nothing to hold out and no vocabulary to learn
# The share of a file's bytes that is text, once unpacked; the rest is markup, pictures, a crawler's own records.
TEXT_SHARE = {
    **dict.fromkeys(PAGES, 0.4), **dict.fromkeys(PDF, 0.1), **dict.fromkeys(ARCHIVES, 0.1), ".wet": 0.9, ".wat": 0.0,
}  # fmt: skip
UNPACKED = {"": 1.0, ".gz": 3.0, ".zst": 4.0}  # bytes that a byte unpacks to, roughly
BYTES_A_PAGE = 60_000.0  # in an archive, with all that lies around it
BUDGET_SECONDS = 1800  # of pretraining
FLOPS_A_CORE = 4e10  # measured: 2.4M parameters at 5,500 tokens/s on two cores without AVX-512
FLOPS_A_GPU = 3e13  # a modest share of what today's cards reach, since small models leave them waiting
MAX_EPOCHS = 4  # repeating text up to four times is nearly as good as new text (Muennighoff et al. 2023, 2305.16264)
STEPS = 1500  # roughly; enough for a warmup and a schedule, few enough for large batches
# Text from this size on gets this vocabulary; a token is then about so many bytes.
VOCABULARIES = (
    (0, 512, 2.3), (200_000, 1024, 2.8), (1_000_000, 2048, 3.3), (5_000_000, 4096, 3.7), (30_000_000, 8192, 4.0),
    (200_000_000, 16_384, 4.2), (2_000_000_000, 32_768, 4.4),
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A Llama: width, layers, heads, tokens a row, peak learning rate (smaller for wider models)."""

    hidden: int
    layers: int
    heads: int
    context: int
    learning_rate: str

    def parameters(self, vocabulary: int) -> int:
        """With tied embeddings."""
        return vocabulary * self.hidden + self.layers * a_layer(self.hidden)


SHAPES = (
    Shape(hidden=64, layers=2, heads=2, context=256, learning_rate="5e-3"),
    Shape(hidden=96, layers=3, heads=3, context=256, learning_rate="5e-3"),
    Shape(hidden=128, layers=4, heads=4, context=256, learning_rate="5e-3"),
    Shape(hidden=192, layers=4, heads=6, context=256, learning_rate="4e-3"),
    Shape(hidden=256, layers=6, heads=8, context=512, learning_rate="3e-3"),
    Shape(hidden=384, layers=8, heads=6, context=512, learning_rate="2e-3"),
    Shape(hidden=512, layers=8, heads=8, context=1024, learning_rate="2e-3"),
    Shape(hidden=768, layers=12, heads=12, context=1024, learning_rate="1e-3"),
)


@dataclass(frozen=True, kw_only=True)
class Size:
    """What the folder and the machine allow."""

    documents: int
    text_bytes: int
    vocabulary: int
    text_tokens: int
    shape: Shape
    tokens: int
    batch_size: int
    seconds: float

    @property
    def parameters(self) -> int:
        """Of the model."""
        return self.shape.parameters(self.vocabulary)

    @property
    def heldout_share(self) -> float:
        """So that some fifteen documents are held out at least, and one all but surely: each goes by its own hash."""
        return round(min(max(15 / self.documents, 0.01), 0.3), 3)


def measure(folder: str) -> tuple[int, int]:
    """(documents, bytes of text) of a folder, rough where they are packed. Raises UserError for too little."""
    if not folder.strip():
        raise UserError("give the folder that holds your documents: make new NAME=mine DATA=~/docs")
    path = Path(folder).expanduser()
    if not path.is_dir():
        raise UserError(
            f"DATA={folder}: there is no folder {path.absolute()}. Give the folder that holds your documents."
        )
    try:
        found = matching_files(Folder(folder=folder, suffixes=None), "DATA").taken
    except UserError:
        raise UserError(
            f"DATA={folder}: no file there ends in {', '.join(SUFFIXES)}. Put documents there, or name another folder."
        ) from None
    documents, text_bytes = 0, 0.0
    for _, file in found:
        kind = form(file.name)
        size = file.stat().st_size * UNPACKED[kind.compression]
        share = TEXT_SHARE.get(kind.suffix, 1.0)
        text_bytes += size * share
        if not kind.many:
            documents += size > 0
        elif kind.suffix in ARCHIVES:
            documents += round(size / BYTES_A_PAGE) if share else 0
        else:
            documents += _rows(file)
    if documents < MIN_DOCUMENTS or text_bytes < MIN_BYTES:
        raise UserError(
            f"DATA={folder}: {documents} documents with {text_bytes / 1000:.0f} kB of text are too few to learn a "
            f"language from: at least {MIN_DOCUMENTS} documents and {MIN_BYTES // 1000} kB. Add some, or cut long "
            f"files into several."
        )
    return documents, int(text_bytes)


def _rows(path: Path) -> int:
    """The rows of a file, as far as it can be read: corpus counts what cannot."""
    kind, count = form(path.name), 0
    try:
        if kind.suffix == ".parquet":
            return 0 if kind.compression else pq.read_metadata(path).num_rows
        codec = {"": None, ".gz": "gzip", ".zst": "zstd"}[kind.compression]
        with io.BufferedReader(pa.input_stream(str(path), compression=codec)) as file:
            for line in file:
                count += bool(line.strip())
    except (OSError, pa.ArrowException):
        pass  # cut or damaged: what was counted counts
    return count


def fit(documents: int, text_bytes: int, flops: float) -> Size:
    """The largest model that has TOKENS_A_PARAMETER tokens to see, counted with repeats, and the time to see them."""
    vocabulary, bytes_per_token = next((v, b) for low, v, b in reversed(VOCABULARIES) if text_bytes >= low)
    text_tokens = int(text_bytes / bytes_per_token)
    shape = SHAPES[0]
    for candidate in SHAPES[1:]:
        parameters = candidate.parameters(vocabulary)
        wanted = TOKENS_A_PARAMETER * parameters
        if wanted > MAX_EPOCHS * text_tokens or 6 * parameters * wanted > flops * BUDGET_SECONDS:
            break
        shape = candidate
    parameters = shape.parameters(vocabulary)
    affordable = int(flops * BUDGET_SECONDS / (6 * parameters))
    tokens = min(MAX_EPOCHS * text_tokens, affordable)
    rows = tokens / STEPS / shape.context
    batch_size = next((n for n in (4, 8, 16, 32, 64, 128) if n >= rows * 0.75), 256)
    tokens = max(tokens, batch_size * shape.context)
    return Size(
        documents=documents,
        text_bytes=text_bytes,
        vocabulary=vocabulary,
        text_tokens=text_tokens,
        shape=shape,
        tokens=tokens,
        batch_size=batch_size,
        seconds=6 * parameters * tokens / flops,
    )


def machine_flops() -> tuple[float, str]:
    """Floating-point operations a second that training reaches here, roughly, and the machine in words."""
    cards = gpus()
    if cards:
        return FLOPS_A_GPU * len(cards), f"{len(cards)} x {cards[0]}"
    return FLOPS_A_CORE * cores(), f"{cores()} processor cores"


def files(name: str, folder: str, size: Size, machine: str) -> dict[str, str]:
    """The recipe's files by name."""
    shape = size.shape
    minutes = max(1, round(size.seconds / 60))
    megabytes = f"{size.text_bytes / 1e6:.2f} MB"
    return {
        "recipe.yaml": "seed: 0\n",
        "collect.yaml": (
            f"# Your documents: {size.documents:,} with about {megabytes} of text when this was written.\n"
            f"files:\n  folder: {json.dumps(folder, ensure_ascii=False)}\n  licence: unknown  # say what you know\n"
        ),
        "corpus.yaml": (
            "# Careful with text that somebody collected by hand: it is repaired and deduplicated, little else.\n"
            "languages: null  # or a list such as [en], to drop all others\n"
            "quality:\n  gopher_quality: null\n  gopher_repetition: null\n  c4: null\n  fineweb: null\n"
            "safety: null  # needs labelled examples, which a folder has not\n"
            "privacy: [email, phone]\n"
            "decontaminate_ngram: null  # there is no benchmark to keep out of the corpus\n"
            f"heldout_share: {size.heldout_share}\n"
        ),
        "tokenizer.yaml": (
            f"# For about {megabytes} of text; a token is then some {size.text_bytes / size.text_tokens:.1f} bytes.\n"
            f"vocab_size: {size.vocabulary}\n"
        ),
        "pretrain.yaml": (
            f"# A Llama of {size.parameters / 1e6:.2f}M parameters. The text is some {size.text_tokens / 1e6:.2f}M\n"
            f"# tokens, seen {size.tokens / size.text_tokens:.1f} times.\n"
            f"# Some {minutes} min on {machine}, by rule of thumb.\n"
            "model:\n"
            "  model_type: llama\n"
            f"  hidden_size: {shape.hidden}\n"
            f"  intermediate_size: {intermediate_size(shape.hidden)}\n"
            f"  num_hidden_layers: {shape.layers}\n"
            f"  num_attention_heads: {shape.heads}\n"
            f"  num_key_value_heads: {shape.heads}\n"
            "  tie_word_embeddings: true\n"
            f"context: {shape.context}\n"
            "packing: stream  # documents of any length, end to end\n"
            f"batch_size: {size.batch_size}\n"
            f"tokens: {size.tokens}\n"
            f"learning_rate: {shape.learning_rate}\n"
        ),
        "evaluate.yaml": (
            "# Bits per byte of held-out documents; there are no prompts to answer.\n"
            "answers: null\nnum_heldout_documents: 400\n"
        ),
        "report.yaml": f"# The page runs/{name}/report/index.html.\ntitle: {json.dumps(name)}\n",
        "README.md": readme(name, size, machine),
    }


def readme(name: str, size: Size, machine: str) -> str:
    """What the recipe is, how to run it and how to go on."""
    minutes = max(1, round(size.seconds / 60))
    return f"""# {name}

A base model from a folder of your own: {size.documents:,} documents, about {size.text_bytes / 1e6:.2f} MB of text.

    make all RECIPE={name}
    make chat RECIPE={name}    # the base model goes on with what you write

| what | size |
|---|---|
| vocabulary | {size.vocabulary:,} |
| model | {size.parameters / 1e6:.2f}M parameters, context {size.shape.context} |
| training | {size.tokens / 1e6:.2f}M tokens, some {minutes} min on {machine} (by rule of thumb) |

The numbers were chosen once, from the amount of text and the machine; edit the files as you like. A stage whose file
has changed is built again, and what it made before is set aside.

## Going on to a chat model

{next_steps(name)}
"""


def next_steps(name: str) -> str:
    """What a base model lacks to become a chat model."""
    return (
        "The run ends with a base model, which goes on with a text but answers nobody. To go on to chat it needs\n"
        "conversations: collect's artifact must hold conversations.jsonl and heldout_conversations.jsonl, one\n"
        '{"id", "kind", "messages": [{"role", "content"}, ..]} a line, which the source `files:` does not write;\n'
        "pipeline/collect/pydocs.py shows a source that does. Then add sft.yaml (copy recipes/pydocs/sft.yaml), and\n"
        "for alignment prompts and preferences.yaml, reward.yaml and dpo.yaml beside it.\n"
        f"Then run: make all RECIPE={name}"
    )


def write(name: str, data: str, recipes: Path) -> tuple[Path, Size]:
    """Writes recipes/<name> whole or not at all. Raises UserError for a name or folder that cannot be used."""
    if not NAME.fullmatch(name):
        raise UserError(f"NAME={name}: a recipe's name has letters, digits, - and _: make new NAME=mine DATA=~/docs")
    if not recipes.is_dir():
        raise UserError(f"{recipes}: there is no such folder. Run this in the source tree of groundup.")
    target = recipes / name
    if target.exists():
        raise UserError(
            f"{target}: this recipe exists, and is left as it is. Choose another NAME, or remove the folder."
        )
    documents, text_bytes = measure(data)
    flops, machine = machine_flops()
    size = fit(documents, text_bytes, flops)
    # A relative folder would depend on where make is called; ~ stays, since it is the user's on any machine.
    folder = data if data.startswith("~") else str(Path(data).resolve())
    draft = recipes / f".{name}.draft"
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir()
    try:
        for file, text in files(name, folder, size, machine).items():
            (draft / file).write_text(text, encoding="utf-8")
        load(str(draft), CHAIN)
        draft.rename(target)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return target, size


def main(argv: Sequence[str] | None = None, recipes: Path = RECIPES) -> int:
    """Runs the command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.new", description=str(__doc__).splitlines()[0])
    parser.add_argument("--name", default="", help="the recipe's name, a folder under recipes/")
    parser.add_argument("--data", default="", help="the folder that holds your documents")
    args = parser.parse_args(argv)
    try:
        target, size = write(args.name, args.data, recipes)
    except UserError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    except OSError as error:
        sys.stderr.write(f"error: {error.strerror or error}: {error.filename or recipes}\n")
        return 1
    names = ", ".join(sorted(path.name for path in target.iterdir()))
    sys.stdout.write(
        f"Wrote {target}: {names}\n"
        f"{size.documents:,} documents, about {size.text_bytes / 1e6:.2f} MB of text: vocabulary {size.vocabulary:,}, "
        f"model {size.parameters / 1e6:.2f}M parameters, {size.tokens / 1e6:.2f}M training tokens.\n\n"
        f"Run it:  make all RECIPE={args.name}\n\n{next_steps(args.name)}\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
