"""The tables of docs/scale.md: `python -m pipeline.plan.scale --write docs/scale.md`

Everything in them is computed here, from the planner's formulas and the published figures that are named beside them;
a test keeps the page equal to it. Nothing of it was run on such machines by us.
"""

import argparse
import math
import re
import sys
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

from transformers import LlamaConfig

from pipeline.plan import hardware
from pipeline.plan.choose import choose, speed, split, splits
from pipeline.plan.count import Count, build_meta, count
from pipeline.plan.memory import ENGINES, Precision, Sharding, states
from pipeline.plan.show import ENGINE_NAMES, duration, quantity
from pipeline.plan.traffic import checkpoint, sent
from pipeline.pretrain.recipe import Recipe

# name: hidden_size, intermediate_size, layers, heads, key-value heads, vocabulary
SHAPES = {
    "125M": (768, 2048, 12, 12, 12, 32_000),
    "1.1B": (2048, 5632, 22, 32, 4, 32_000),  # TinyLlama's
    "7B": (4096, 11008, 32, 32, 32, 32_000),  # LLaMA's, 2302.13971, table 2
    "13B": (5120, 13824, 40, 40, 40, 32_000),
    "33B": (6656, 17920, 60, 52, 52, 32_000),
    "65B": (8192, 22016, 80, 64, 64, 32_000),
    "70B": (8192, 28672, 80, 64, 8, 32_000),  # Llama 2's, 2307.09288, appendix A.2.1
    "405B": (16384, 53248, 126, 128, 8, 128_256),  # Llama 3's, 2407.21783, table 3
}
# tokens, row, GPU-hours on A100-80GB: LLaMA (2302.13971, table 15) and Llama 2 (2307.09288, table 2)
PUBLISHED = {
    "LLaMA 7B": ("7B", 10**12, 2048, 82_432),
    "LLaMA 13B": ("13B", 10**12, 2048, 135_168),
    "LLaMA 33B": ("33B", 14 * 10**11, 2048, 530_432),
    "LLaMA 65B": ("65B", 14 * 10**11, 2048, 1_022_362),
    "Llama 2 7B": ("7B", 2 * 10**12, 4096, 184_320),
    "Llama 2 13B": ("13B", 2 * 10**12, 4096, 368_640),
    "Llama 2 70B": ("70B", 2 * 10**12, 4096, 1_720_320),
}
SIZES = ("125M", "1.1B", "7B", "33B", "65B", "405B")  # the rows of the other tables
CONTEXT, ROWS = 2048, 2048  # 4M tokens a step, as LLaMA
WRITES = (1e9, 5e9, 50e9)  # bytes a second into shared storage
# 419 unexpected interruptions in 54 days on 16,384 GPUs (Llama 3, 2407.21783, section 3.3.4)
FAILURES = 419 / (54 * 16_384)  # a day and device
RESTART = 600.0  # seconds to notice, queue, start and read a checkpoint: assumed
# Bytes a document: its place, the hashes of text and address, 128 MinHash values (pipeline/corpus/near.py).
SIGNATURE = 8 + 8 + 8 + 4 * 128
SORTING = 56  # bytes a document while bands are sorted and clusters kept: two 8-byte keys, an entry of a Python list
DOCUMENT = 4_000  # bytes of a web document's text, assumed
# A document that may have a near-copy is kept as its word 5-grams, 8 bytes a word (near.shingles_at)
WORD, PAIRED = 6, 0.2  # bytes of text a word, and the share of such documents: both assumed
# CPU-seconds of the search in one process (bench/corpus_growth.py): a document, 3.7 for 100,000 of 40 words; and a
# word of those that may have a near-copy, 0.44 for 4,000 of 660 words, a tenth of them such, less 43e-6 a document
SEARCHING, COMPARING = 37e-6, 1e-6
CLEANING = 6.6e-6  # core-seconds a byte: 87.1 for the 13.15 MB that storyworld keeps (make corpus, two AMD EPYC cores)


@cache
def counted(name: str) -> Count:
    """A shape, counted on the meta device."""
    hidden, intermediate, layers, heads, key_value, vocabulary = SHAPES[name]
    config = LlamaConfig(
        hidden_size=hidden, intermediate_size=intermediate, num_hidden_layers=layers, num_attention_heads=heads,
        num_key_value_heads=key_value, vocab_size=vocabulary, max_position_embeddings=CONTEXT,
        tie_word_embeddings=False,
    )  # fmt: skip
    return count(build_meta(config))


def recipe(tokens: int = 10**12, micro: int | None = None, context: int = CONTEXT) -> Recipe:
    """A recipe with a batch of 4M tokens."""
    return Recipe(
        model={"model_type": "llama"}, context=context, batch_size=ROWS * CONTEXT // context, tokens=tokens,
        learning_rate=3e-4, optimizer="adamw", micro_batch_size=micro,
    )  # fmt: skip


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def engines() -> str:
    """What the planner takes for a size of model on a number of H100s."""
    device, numbers = hardware.device("h100"), (1, 8, 64, 256, 1024)

    def cell(name: str, devices: int) -> str:
        chosen = choose(splits(counted(name), recipe(), device, devices))
        if chosen is None:
            return "does not fit"
        how = ENGINE_NAMES[chosen.engine] if devices > 1 else "one"
        kept = ", checkpointed" if chosen.checkpointed else ""
        return f"{how}{kept}, {chosen.rows} x {chosen.accumulation}, {chosen.memory.peak / 1e9:.0f} GB"

    rows = [[name, *(cell(name, devices) for devices in numbers)] for name in SIZES]
    return markdown(["parameters", *(f"{n:,} x H100" if n > 1 else "1 x H100" for n in numbers)], rows)


def volumes() -> str:
    """Memory of the states and bytes sent a step, 7B on 64 devices, one micro-batch and eight."""
    model, rows = counted("7B"), []
    for engine in ENGINES:
        precision: Precision = "autocast" if engine == "ddp" else "bfloat16"
        of = states(model, Sharding(engine=engine, precision=precision, devices=64, optimizer="adamw"))
        once, eight = (sent(model, engine, precision, 64, n) for n in (1, 8))
        sizes = [f"{part / 1e9:.1f}" for part in of]
        moved = [f"{out / 1e9:.0f} GB, {out / hardware.LINK:.2f} s" for out in (once, eight)]
        rows.append([ENGINE_NAMES[engine], *sizes, *moved])
    head = [
        "engine",
        "weights, GB",
        "gradients, GB",
        "optimiser, GB",
        "copies, GB",
        "sent, one micro-batch",
        "sent, eight",
    ]
    return markdown(head, rows)


def published() -> str:
    """GPU-hours of LLaMA and Llama 2 by the planner beside those published."""
    device, rows = hardware.device("a100-80"), []
    for name, (shape, tokens, context, hours) in PUBLISHED.items():
        asked, model = recipe(tokens, micro=1, context=context), counted(shape)
        devices = asked.batch_size
        planned = split(model, asked, device, devices, "zero3", checkpointed=False)
        found = speed(model, asked, device, devices, planned).hours * devices
        rows.append([f"{name}, {quantity(tokens)} tokens", f"{found:,.0f}", f"{hours:,}", f"{found / hours:.2f}"])
    return markdown(["run on A100-80GB", "GPU-hours, planned at an MFU of 0.45", "published", "ratio"], rows)


def checkpoints() -> str:
    """Sizes of checkpoints and seconds to write them."""
    rows = []
    for name in SIZES:
        size = checkpoint(counted(name), "adamw")
        rows.append([name, f"{size / 1e9:,.1f} GB", *(f"{size / rate:,.1f} s" for rate in WRITES)])
    return markdown(["parameters", "a checkpoint", *(f"at {rate / 1e9:.0f} GB/s" for rate in WRITES)], rows)


def failures() -> str:
    """Expected failures, the interval of checkpoints that loses least, and what is lost then."""
    rows = []
    for devices in (8, 64, 256, 1024, 16_384):
        between = 86_400 / (FAILURES * devices)  # seconds
        row = [f"{devices:,}", f"{FAILURES * devices:.3g}", f"{between / 3600:,.1f} h"]
        for name in ("7B", "65B"):
            write = checkpoint(counted(name), "adamw") / 5e9
            interval = math.sqrt(2 * write * between)  # Young 1974
            lost = write / interval + (interval / 2 + RESTART) / between
            row += [f"{interval / 60:,.0f} min", f"{lost:.1%}"]
        rows.append(row)
    head = [
        "devices",
        "failures a day",
        "time between",
        "7B: checkpoint every",
        "time lost",
        "65B: every",
        "time lost",
    ]
    return markdown(head, rows)


def corpora() -> str:
    """Sizes of corpora against the memory of the one process that finds copies, and the work of cleaning."""
    rows = []
    for size in (1e9, 1e10, 1e11, 1e12, 1e13):
        documents = size / DOCUMENT
        memory = documents * (SIGNATURE + SORTING + PAIRED * 8 * DOCUMENT / WORD)
        hours = size * CLEANING / 3600
        search = documents * (SEARCHING + COMPARING * PAIRED * DOCUMENT / WORD) / 3600
        rows.append([
            f"{quantity(size)}B", quantity(documents), f"{documents * SIGNATURE / 1e9:,.1f} GB",
            f"{memory / 1e9:,.1f} GB", duration(search), f"{hours:,.0f}",
            duration(hours / 1000),
        ])  # fmt: skip
    head = [
        "text",
        "documents",
        "signatures on disk",
        "memory of deduplication",
        "its time, one core",
        "core-hours of cleaning",
        "on 1,000 cores",
    ]
    return markdown(head, rows)


TABLES: dict[str, Callable[[], str]] = {
    "engines": engines, "volumes": volumes, "published": published, "checkpoints": checkpoints, "failures": failures,
    "corpora": corpora,
}  # fmt: skip
PLACE = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)", re.S)


def filled(page: str) -> str:
    """The page with every table as it is computed now."""
    return PLACE.sub(lambda found: f"{found[1]}{TABLES[found[2]]()}{found[3]}", page)


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the tables, or puts them into a page."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.plan.scale", description=str(__doc__).splitlines()[0])
    parser.add_argument("--write", type=Path, help="a page with `<!-- table: name -->` and `<!-- end -->` to fill")
    args = parser.parse_args(argv)
    if args.write:
        args.write.write_text(filled(args.write.read_text(encoding="utf-8")), encoding="utf-8")
    else:
        sys.stdout.write("\n".join(f"{name}\n\n{table()}" for name, table in TABLES.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
