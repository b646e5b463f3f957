"""The tokenizer stage against the raw calls of `tokenizers`: `python -m bench.tokenizer` (`make bench-tokenizer`).

Takes 30 MB of text (the Python files of the installed packages, or DATA=folder), writes it as a corpus, then trains
and encodes in turns: the stage, from Parquet to a sealed token store, and the library's own calls over a list of texts
in memory. Each turn is a process of its own, so that its peak memory is its own. Writes bench/tokenizer.json.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pyarrow
import pyarrow.parquet as parquet
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from pipeline import chat
from pipeline.tokenizer import train
from pipeline.tokenizer.recipe import Recipe

ROOT = Path(__file__).resolve().parent.parent
SUFFIXES = (".txt", ".md", ".rst", ".py")
VOCABULARY = 8192
ROWS = 2000  # of the heldout split, which the stage reads too; the raw call does not, to its advantage


def texts(folder: Path, size: int) -> Iterator[str]:
    """Documents of a folder in the order of their paths, until they are `size` bytes."""
    taken = 0
    for path in sorted(path for path in folder.rglob("*") if path.suffix in SUFFIXES):
        text = path.read_text(encoding="utf-8", errors="ignore")
        if text:
            yield text
            taken += len(text.encode())
        if taken >= size:
            return
    raise SystemExit(
        f"error: {folder}: holds {taken / 1e6:.1f} MB of {', '.join(SUFFIXES)}. Name another with DATA=.."
    )


def write_corpus(folder: Path, documents: list[str]) -> None:
    """The documents as the corpus stage would leave them, and one held out."""
    for split, part in (("train", documents), ("heldout", documents[:1])):
        (folder / split).mkdir(parents=True)
        table = pyarrow.table({"source": ["bench"] * len(part), "language": [""] * len(part), "text": part})
        parquet.write_table(table, folder / split / "00000.parquet", compression="zstd", row_group_size=ROWS)


def in_memory(corpus: Path) -> list[str]:
    """Every training text."""
    return parquet.read_table(corpus / "train", columns=["text"]).column("text").to_pylist()


def raw_train(kind: str, documents: list[str]) -> Tokenizer:
    """What the library's documentation says to do."""
    made = {
        "bpe": (models.BPE(), trainers.BpeTrainer),
        "unigram": (models.Unigram(), trainers.UnigramTrainer),
        "wordpiece": (models.WordPiece(), trainers.WordPieceTrainer),
    }
    model, trainer = made[kind]
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        documents,
        trainer(
            vocab_size=VOCABULARY,
            special_tokens=list(chat.SPECIAL_TOKENS),
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    return tokenizer


def turn(what: str, kind: str, corpus: Path, out: Path) -> dict[str, float]:
    """One measurement in this process. seconds: of the call alone, its input being there."""
    recipe = Recipe(kind=kind, vocab_size=VOCABULARY)  # type: ignore[arg-type]
    saved = corpus / f"{kind}.json"
    tokenizer = train.wrap(Tokenizer.from_file(str(saved))) if saved.exists() else None

    def encode() -> None:
        assert tokenizer is not None, "encoding follows training"
        backend = train.plain(tokenizer)
        for start in range(0, len(documents), train.BATCH_DOCUMENTS):
            backend.encode_batch_fast(documents[start : start + train.BATCH_DOCUMENTS])

    documents = in_memory(corpus) if what.startswith("raw") else []
    calls: dict[str, Callable[[], object]] = {
        "raw training": lambda: raw_train(kind, documents),
        "training": lambda: train.make(recipe, corpus, out),
        "raw encoding": encode,
        "encoding": lambda: train.write_store(corpus, tokenizer, out / "store", seed=0),
    }
    started, spent = time.perf_counter(), time.process_time()
    result = calls[what]()
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - spent
    if what == "training":
        result.backend_tokenizer.save(str(saved))  # type: ignore[attr-defined]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"seconds": seconds, "cpu_seconds": cpu_seconds, "peak_mb": peak}


def measured(what: str, kind: str, corpus: Path, out: Path) -> dict[str, float]:
    """The same in a process of its own."""
    words = [sys.executable, "-m", "bench.tokenizer", "--turn", what, "--kinds", kind, "--corpus", str(corpus)]
    done = subprocess.run([*words, "--out", str(out)], cwd=ROOT, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def compare(kind: str, corpus: Path, rounds: int) -> dict[str, float]:
    """Both ways in turns, the first of each round changing. ratio: the raw call's time over the stage's, median of
    the rounds; 1 is as fast, less is slower. On a machine that does other work look at the ratio of processor time."""
    turns: dict[str, list[dict[str, float]]] = {}
    for number in range(rounds):
        for step in ("training", "encoding"):
            # The stage trains first, since encoding wants its tokenizer.
            order = [step, f"raw {step}"] if number % 2 == 0 else [f"raw {step}", step]
            for what in order:
                with tempfile.TemporaryDirectory(dir=corpus) as out:
                    turns.setdefault(what, []).append(measured(what, kind, corpus, Path(out)))
    row: dict[str, float] = {}
    for step in ("training", "encoding"):
        pairs = list(zip(turns[f"raw {step}"], turns[step], strict=True))
        for clock in ("seconds", "cpu_seconds"):
            row[f"{step}_{clock}_ratio"] = statistics.median(raw[clock] / ours[clock] for raw, ours in pairs)
        for what in (step, f"raw {step}"):
            name = what.replace(" ", "_")
            row[f"{name}_seconds"] = statistics.median(one["seconds"] for one in turns[what])
            row[f"{name}_peak_mb"] = max(one["peak_mb"] for one in turns[what])
    return row


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.tokenizer", description=str(__doc__).splitlines()[0])
    parser.add_argument("--data", type=Path, help="a folder of text; default: the installed packages")
    parser.add_argument("--megabytes", type=float, default=30)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--kinds", nargs="+", choices=("bpe", "unigram", "wordpiece"), default=["bpe"])
    parser.add_argument("--turn", help=argparse.SUPPRESS)
    parser.add_argument("--corpus", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.turn:
        sys.stdout.write(json.dumps(turn(args.turn, args.kinds[0], args.corpus, args.out)) + "\n")
        return 0
    rows = {}
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder) / "corpus"
        found = list(texts(args.data or Path(sysconfig.get_path("purelib")), int(args.megabytes * 1e6)))
        write_corpus(corpus, found)
        for kind in args.kinds:
            rows[kind] = compare(kind, corpus, args.rounds)
            sys.stdout.write(
                f"{kind}: " + ", ".join(f"{name} {value:.3g}" for name, value in rows[kind].items()) + "\n"
            )
            sys.stdout.flush()
    result = {"megabytes": args.megabytes, "documents": len(found), "rounds": args.rounds, "kinds": rows}
    (ROOT / "bench" / "tokenizer.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
