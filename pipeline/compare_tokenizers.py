"""Kinds of tokenizer side by side: `python -m pipeline.compare_tokenizers --recipe storyworld --tokens 400_000`
(`make compare-tokenizers`)

Reads the recipe's corpus, which must be there. For each kind it writes a recipe that builds on this one, and the
driver makes its tokenizer and its base model like any other, in runs/<recipe>-tokenizer-<kind>/: what is there already
is not made again, what was interrupted goes on. The vocabulary is the recipe's for every kind that learns one, and
every model gets the same number of floating-point operations. Writes runs/<recipe>/compare-tokenizers/table.md and
.json, which end in held-out bits per byte: the one measure that does not depend on how the text was cut.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from pipeline import artifact, run
from pipeline.artifact import write_atomically, write_json
from pipeline.chain import CHAIN
from pipeline.pretrain.recipe import Recipe as Pretrain
from pipeline.recipe import Recipe as Run
from pipeline.recipe import load
from pipeline.stage import UserError
from pipeline.tokenizer.recipe import Recipe as Tokenizer

KINDS = ("bpe", "unigram", "wordpiece", "byte", "char")
NO_DIGITS, NO_SIZE = ("byte", "char"), ("byte",)
HEAD = {
    "kind": "kind", "vocabulary_size": "vocabulary", "bytes_per_token": "bytes a token",
    "tokens_per_word": "tokens a word", "single_character_share": "single characters",
    "unused_vocabulary_share": "never used", "exact_share": "come back exactly", "parameters": "parameters",
    "embedding_share": "embeddings' share", "tokens": "tokens trained", "text_bytes": "bytes trained",
    "seconds": "seconds", "bits_per_byte": "held-out bits per byte",
}  # fmt: skip


def tokenizer_keys(given: dict[str, Any], kind: str) -> dict[str, Any]:
    """The recipe's tokenizer.yaml for another kind: what that kind would ignore, and the report's wishes, left out."""
    dropped = {"extend", "compare", "model", *(["digits"] if kind in NO_DIGITS else [])}
    dropped |= {"vocab_size", "conversations"} if kind in NO_SIZE else set()
    return {key: value for key, value in given.items() if key not in dropped} | {"kind": kind}


def pretrain_keys(recipe: Pretrain, tokens: int) -> dict[str, Any]:
    """The recipe's pretrain.yaml with another budget. The vocabulary is each tokenizer's own; short_first, a length in
    tokens, would be another curriculum for each."""
    given = recipe.given()
    kept = {key: value for key, value in given.items() if key not in ("tokens", "steps", "short_first")}
    model = {key: value for key, value in given.get("model", {}).items() if key != "vocab_size"}
    return kept | ({"model": model} if model else {}) | {"tokens": tokens}


def numbers(recipe: Pretrain, vocabulary: int) -> dict[str, float]:
    """Operations a token and the embeddings' share of the parameters, with a vocabulary of this size."""
    # They import torch and transformers: a mistake on the command line is told before.
    from pipeline.plan.count import build_meta, count
    from pipeline.pretrain.model import configure

    section = {key: value for key, value in recipe.model.items() if key != "vocab_size"}
    config = configure(section, recipe.context, vocabulary=vocabulary)
    counted = count(build_meta(config))
    embeddings = vocabulary * counted.hidden * (1 if config.tie_word_embeddings else 2)
    return {
        "flops_per_token": counted.flops_per_token(recipe.context),
        "embedding_share": embeddings / counted.total,
    }


def equal_compute(recipe: Pretrain, flops: float, flops_per_token: float) -> int:
    """Tokens, in whole steps, that cost so many operations; one step at least."""
    step = recipe.batch_size * recipe.context
    return max(1, round(flops / flops_per_token / step)) * step


class Comparison:
    """One comparison: the recipe, where its runs lie, and the budget."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.run: Run = load(args.recipe, CHAIN)
        self.runs, self.accel = args.runs, args.accel
        self.tokenizer: Tokenizer = self._own("tokenizer", Tokenizer)
        self.pretrain: Pretrain = self._own("pretrain", Pretrain)
        self.tokens = args.tokens or self.pretrain.num_steps * self.pretrain.batch_size * self.pretrain.context
        if self.tokens < self.pretrain.batch_size * self.pretrain.context:
            raise UserError(
                f"--tokens {self.tokens} is less than one step: batch_size x context = "
                f"{self.pretrain.batch_size * self.pretrain.context}. Give at least that many."
            )
        self.out = self.runs / self.run.name / "compare-tokenizers"
        corpus = run.plan("corpus", self.run, self.runs)
        sealed = artifact.manifest(corpus.folder)
        if sealed is None or sealed["fingerprint"] != corpus.fingerprint:
            raise UserError(f"{corpus.folder}: is missing or of another recipe. `make corpus RECIPE={self.run.name}`")

    def _own(self, stage: str, kind: type) -> Any:
        owner = self.run.owner(stage)
        found = owner.own[stage] if owner else None
        if not isinstance(found, kind):
            raise UserError(f"{self.run.name}: has no {stage}.yaml of its own making, and a comparison needs one.")
        return found

    def make(self, kind: str, stage: str, keys: dict[str, Any]) -> dict[str, Any] | int:
        """Writes the stage's recipe and has the driver make it. Returns its metrics, or the driver's exit status."""
        name = f"{self.run.name}-tokenizer-{kind}"
        folder = self.out / "recipes" / name
        folder.mkdir(parents=True, exist_ok=True)
        files = {"recipe": {"base": str(self.run.folder), "seed": self.run.seed}, stage: keys}
        for file, content in files.items():
            write_atomically(folder / f"{file}.yaml", yaml.safe_dump(content, sort_keys=False))
        words = [stage, "--recipe", str(folder), "--runs", str(self.runs)]
        status = run.main(words + (["--accel", self.accel] if self.accel else []))
        if status:
            return status
        sealed = artifact.manifest(self.runs / name / stage)
        assert sealed is not None, f"the driver ended with status 0 and {name}/{stage} is not sealed"
        return sealed["metrics"]

    def row(self, kind: str, flops: float | None) -> dict[str, Any] | int:
        """One kind's line, or the driver's exit status. flops: of the whole training; None for the first, which sets
        them by its tokens."""
        cut = self.make(kind, "tokenizer", tokenizer_keys(self.tokenizer.given(), kind))
        if isinstance(cut, int):
            return cut
        counted = numbers(self.pretrain, int(cut["vocabulary_size"]))
        tokens = equal_compute(
            self.pretrain, flops or self.tokens * counted["flops_per_token"], counted["flops_per_token"]
        )
        trained = self.make(kind, "pretrain", pretrain_keys(self.pretrain, tokens))
        if isinstance(trained, int):
            return trained
        return {
            "kind": kind,
            **{key: cut[key] for key in HEAD if key in cut},
            "parameters": int(trained["parameters"]),
            **counted,
            "tokens": tokens,
            "flops": tokens * counted["flops_per_token"],
            # Of each token's share of the held-out text; end tokens stand for none.
            "text_bytes": round(tokens * cut["bytes_per_token"]),
            "seconds": trained["seconds"],
            "bits_per_byte": trained["heldout_bits_per_byte"],
            "bits_per_byte_low": trained["heldout_bits_per_byte_low"],
            "bits_per_byte_high": trained["heldout_bits_per_byte_high"],
        }


def table(rows: list[dict[str, Any]]) -> str:
    """The table in Markdown."""
    lines = [[*HEAD.values()], ["---"] * len(HEAD)]
    for row in rows:
        cells = [_cell(row[key]) for key in HEAD]
        cells[-1] += f" [{row['bits_per_byte_low']:.3f}, {row['bits_per_byte_high']:.3f}]"
        lines.append(cells)
    text = "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"
    lossy = [row["kind"] for row in rows if row["exact_share"] < 1]
    if lossy:
        text += (
            f"\nOf {', '.join(lossy)} the bits say less: not every document comes back, so there was less to say.\n"
        )
    return text + (
        f"\nEqual compute: {rows[0]['flops']:.3g} operations each, in rows of equally many tokens, one seed. "
        "Brackets are 95 % intervals over rows.\n"
    )


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3f}" if value < 100 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m pipeline.compare_tokenizers", description=str(__doc__).splitlines()[0]
    )
    parser.add_argument("--recipe", default="storyworld", help="a folder under recipes/, or a path")
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--accel", help="a file under accelerate_configs/; default: picked for the machine")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--tokens", type=int, help="that the first kind's model is trained on; default: the recipe's")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit status."""
    args = arguments(argv)
    try:
        comparison = Comparison(args)
        rows: list[dict[str, Any]] = []
        for kind in dict.fromkeys(args.kinds):
            row = comparison.row(kind, rows[0]["flops"] if rows else None)
            if isinstance(row, int):
                return row
            rows.append(row)
    except UserError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    write_json(comparison.out / "table.json", rows)
    write_atomically(comparison.out / "table.md", table(rows))
    sys.stdout.write(f"{table(rows)}\n{comparison.out / 'table.md'}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
