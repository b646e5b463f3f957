"""Grows a model's embeddings with its tokenizer: `python -m pipeline.vocabulary --model M --tokenizer T --out FOLDER`

Reads a model (a folder, or `org/name@` and the commit) and the artifact of a tokenizer stage that extended the model's
own tokenizer; its extension.json says what each new token is made of. Writes model and tokenizer to FOLDER. A new
token's embedding begins as the mean of those that stood for it before, so that the model reads on nearly as it did.
"""

import argparse
import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from pipeline.stage import UserError

EXTENSION = "extension.json"


@torch.no_grad()
def grow(model: PreTrainedModel, pieces: Mapping[int, Sequence[int]]) -> None:
    """Adds a row for every new id to the input and, where it is not tied, the output embeddings: the mean of its
    pieces' rows. pieces: for each new id those of the old vocabulary, at least one."""
    rows = model.get_input_embeddings().num_embeddings
    largest = max((old for parts in pieces.values() for old in parts), default=0)
    if largest >= rows:
        raise UserError(
            f"the extended tokenizer is not of this model: a new token is made of token {largest}, and the model has "
            f"{rows} embeddings. Name the model whose tokenizer was extended."
        )
    # A table may have more rows than its tokenizer has tokens; new tokens take those first.
    model.resize_token_embeddings(max(rows, max(pieces, default=0) + 1), mean_resizing=False)
    tables = [model.get_input_embeddings().weight, model.get_output_embeddings().weight]
    for table in {id(table): table for table in tables}.values():  # (V, H)
        for new, old in pieces.items():
            table[new] = table[list(old)].mean(dim=0)


def read(tokenizer: Path) -> dict[int, list[int]]:
    """The new tokens of a tokenizer artifact and their pieces."""
    path = tokenizer / EXTENSION
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))["tokens"]
        return {entry["id"]: entry["pieces"] for entry in entries}
    except FileNotFoundError:
        raise UserError(
            f"{tokenizer}: has no {EXTENSION}, so nothing says what its new tokens are made of. Give the artifact "
            "of a tokenizer.yaml with `extend`, such as runs/mine/tokenizer."
        ) from None


def write(origin: str, tokenizer: Path, out: Path) -> str:
    """Writes the grown model; returns what was done, in a line. Raises UserError where `out` is there already."""
    if out.exists():
        raise UserError(f"{out}: is there already, and a model is never overwritten. Name another folder.")
    pieces = read(tokenizer)
    place, _, revision = origin.partition("@") if not Path(origin).is_dir() else (origin, "", None)
    try:
        model = AutoModelForCausalLM.from_pretrained(
            place, revision=revision or None, dtype="auto", use_safetensors=True, trust_remote_code=False
        )
    except (OSError, ValueError) as error:
        raise UserError(f"--model {origin}: cannot be loaded: {str(error).splitlines()[0]}") from None
    before = model.num_parameters()
    grow(model, pieces)
    unfinished = out.with_name(out.name + ".tmp")
    shutil.rmtree(unfinished, ignore_errors=True)
    model.save_pretrained(unfinished)
    AutoTokenizer.from_pretrained(tokenizer / "tokenizer", trust_remote_code=False).save_pretrained(unfinished)
    unfinished.rename(out)
    return f"{out}: {len(pieces)} new tokens, {before:,} parameters before and {model.num_parameters():,} now"


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.vocabulary", description=str(__doc__).splitlines()[0])
    parser.add_argument("--model", required=True, help="a folder, or org/name@commit")
    parser.add_argument("--tokenizer", type=Path, required=True, help="the artifact of an extending tokenizer stage")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args(argv)
    try:
        sys.stdout.write(write(args.model, args.tokenizer, args.out) + "\n")
        return 0
    except UserError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2


if __name__ == "__main__":
    sys.exit(main())
