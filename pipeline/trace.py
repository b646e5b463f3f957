"""Where a document of a run is: `make trace DOC=<id> RECIPE=storyworld` (`python -m pipeline.trace --document <id>`)

Follows one document from the raw file in which it was found, by way of the corpus (its shard and row, or the reason
why it was dropped), to its place in the token store, to how much of it pretraining reached, and to what was made from
that model or measured with the document. An id is what the corpus calls a document: a web page's address, a text
file's name, the `id` of a JSON line, or, where that has none, `<file>#<number of the record>`. Conversations, prompts,
pairs and benchmark items have theirs (pipeline/trace_rows.py).
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

from pipeline import artifact
from pipeline.chain import BY_NAME
from pipeline.reached import reached
from pipeline.stage import UserError
from pipeline.store import SPLITS, Split, open_split
from pipeline.trace_rows import asked, made_from, places

HELDOUT = "was never trained on it: its held-out loss counts it"


@dataclass(frozen=True, kw_only=True)
class Found:
    """One artifact that holds the document. where: file and place in it, in words."""

    stage: str
    where: str


def trace(run: Path, document: str) -> list[Found]:
    """Every place of the document in the run. Raises UserError where the run has no finished collect or corpus."""
    done = followed(run)
    if not {"collect", "corpus"} & done.keys():
        raise UserError(f"{run}: has no finished collect or corpus. Run `make corpus RECIPE={run.name}` first.")
    found: list[Found] = []
    if "collect" in done:
        found += raw(done["collect"] / "raw", document)
    if "corpus" in done:
        found += kept(done, document)
        if not any(one.stage == "corpus" for one in found):
            found += lost(done["corpus"], document, read=bool(found))
    return found + [Found(stage=stage, where=where) for stage, where in places(done, document)]


def followed(run: Path) -> dict[str, Path]:
    """The run's finished artifacts, but for those that were made from another corpus than the run has now."""
    done: dict[str, Path] = {}
    prints: dict[str, str] = {}
    for name in BY_NAME:
        sealed = artifact.manifest(run / name)
        if sealed is None:
            continue
        links = {key: link["fingerprint"] for key, link in sealed["inputs"].items()}
        if any(prints.get(key, link) != link for key, link in links.items()):
            sys.stderr.write(f"{run / name}: was made from other inputs than the run has now, so it is left out.\n")
            prints[name] = "another"
            continue
        done[name], prints[name] = run / name, sealed["fingerprint"]
    return done


def raw(folder: Path, document: str) -> Iterator[Found]:
    """Its places in the raw documents, as the corpus's own readers name them."""
    from pipeline.corpus.read import Reader
    from pipeline.corpus.record import Refused
    from pipeline.corpus.sources import load
    from pipeline.corpus.step import Ledger

    for source in load(folder):
        reader = Reader(source, Ledger(folder, "unused"))
        for name in source.files:
            # A text file is one document, called after the file: no need to read the others.
            if source.kind == "text" and name != document:
                continue
            for number, parsed in reader.parsed(name):
                known = parsed.id if isinstance(parsed, Refused) else parsed["id"]
                if (known or f"{name}#{number}") == document:
                    path = (source.folder / name).relative_to(folder.parent)
                    why = f", which cannot be read: {parsed.reason}" if isinstance(parsed, Refused) else ""
                    yield Found(stage="collect", where=f"{path}, record {number}{why} (licence {source.licence})")


def kept(done: dict[str, Path], document: str) -> Iterator[Found]:
    """Its rows in the corpus, each with its place in the token store and the models that saw it."""
    for split in SPLITS:
        before = 0
        for shard in sorted((done["corpus"] / split).glob("*.parquet")):
            ids = pq.read_table(shard, columns=["id"])["id"].to_pylist()
            for row in (number for number, name in enumerate(ids) if name == document):
                yield Found(stage="corpus", where=f"{split}/{shard.name}, row {row} ({split})")
                if "tokenizer" in done:
                    opened = open_split(done["tokenizer"] / "store", split)
                    yield in_store(opened, before + row)
                    yield from trained(done, opened, before + row) if split == "train" else unseen(done, shard, row)
            before += len(ids)


def in_store(opened: Split, number: int) -> Found:
    """Its place in the token store, whose documents stand in the order of the corpus."""
    offsets = opened.offsets
    tokens = f"tokens {int(offsets[number])} to {int(offsets[number + 1]) - 1}, its end included"
    return Found(
        stage="tokenizer", where=f"store/{opened.file_of(number)}, document {number} of {len(offsets) - 1}: {tokens}"
    )


def trained(done: dict[str, Path], opened: Split, number: int) -> Iterator[Found]:
    """How much of it pretraining was trained on and, where it was, all that was made from that model."""
    if "pretrain" not in done:
        return
    sealed = artifact.manifest(done["pretrain"])
    assert sealed is not None, "followed() names finished artifacts"
    seen = reached(done["pretrain"], sealed, opened, number)
    yield Found(stage="pretrain", where=seen.words)
    if seen.tokens:
        yield from (Found(stage=stage, where=where) for stage, where in made_from(done, "pretrain"))


def unseen(done: dict[str, Path], shard: Path, row: int) -> Iterator[Found]:
    """What was measured with a held-out document."""
    if "pretrain" in done:
        yield Found(stage="pretrain", where=HELDOUT)
    if "evaluate" in done:
        text = pq.read_table(shard, columns=["text"])["text"][row].as_py()
        yield Found(stage="evaluate", where=asked(done["evaluate"], "documents", text))


def lost(corpus: Path, document: str, read: bool) -> Iterator[Found]:
    """Why the corpus does not hold it."""
    path = corpus / "dropped.jsonl"
    if path.is_file():
        with path.open(encoding="utf-8") as lines:
            for row in map(json.loads, lines):
                if row["id"] == document:
                    yield Found(stage="corpus", where=f"dropped.jsonl: {row['reason']}")
                    return
    elif read:
        yield Found(stage="corpus", where="not in it; why is not known here: what it dropped is not published")


def shown(run: Path, document: str, found: list[Found]) -> str:
    """The lines for people, with where an artifact was published."""
    lines = [document]
    for one in found:
        sealed = artifact.manifest(run / one.stage) or {}
        public = ", ".join(sealed.get("published", []))
        lines.append(f"  {one.stage:<11} {one.where}{f'; published as {public}' if public else ''}")
    return "\n".join(lines) + "\n"


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit status: 0 where the document is known, 1 where it is not."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.trace", description=str(__doc__).splitlines()[0])
    parser.add_argument("--recipe", default="storyworld", help="whose run to look into")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where runs are written")
    parser.add_argument("--document", required=True, help="the document's id")
    args = parser.parse_args(argv)
    run = args.runs / Path(args.recipe).name
    try:
        if not args.document:
            raise UserError("DOC= is empty. Give the `id` that a document has in the corpus or in dropped.jsonl.")
        found = trace(run, args.document)
    except UserError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    if not found:
        sys.stdout.write(f"{args.document}: no artifact of {run} holds it.\n")
        return 1
    sys.stdout.write(shown(run, args.document, found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
