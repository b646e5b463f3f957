"""Toy artifacts for the tests of evaluate and of the chat: random models, a small corpus, a token store, prompts."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from transformers import AutoTokenizer

from pipeline import artifact
from pipeline.chain import SCREENED
from pipeline.chat import END_OF_TEXT, encode_text
from pipeline.store import StoreWriter
from tests.toy_pairs import save_toy_model, write_jsonl

HELDOUT = [
    "the fox lost a kite",
    "an owl found the lake and smiled happily " * 9,
    "home",
    "a café by the lake, où the owl cried",
    "<|endoftext|> and <|im_end|> are only words here",
]


def prompt_row(number: int, wishes: dict[str, Any] | None, reference: str | None = None) -> dict[str, Any]:
    """One evaluation prompt."""
    return {
        "id": f"p{number}",
        "prompt": [{"role": "user", "content": f"tell of the fox and kite {number}"}],
        "wishes": wishes,
        "plain": f"the fox and kite {number}",
        "reference": reference,
    }


def save_toy_collect(folder: Path, rows: list[dict[str, Any]], benchmark: str = "toy") -> Path:
    """Prompts and the items of one benchmark."""
    write_jsonl(folder / "prompts" / "evaluate.jsonl", rows)
    write_jsonl(folder / "evaluation" / f"{benchmark}.jsonl", [{"id": "e0", "text": "the owl found the lake"}])
    return folder


def save_toy_certificate(stage: Path, collect: Path, benchmark: str = "toy") -> None:
    """What says that the stage was searched for the benchmark's items as they are now."""
    items = artifact.sha256(collect / "evaluation" / f"{benchmark}.jsonl")
    (stage / "certificates").mkdir(parents=True, exist_ok=True)
    artifact.write_json(stage / "certificates" / f"{benchmark}.json", {"benchmark": benchmark, "items_sha256": items})


def save_toy_corpus(folder: Path) -> Path:
    """Held-out documents in two shards."""
    (folder / "heldout").mkdir(parents=True)
    for number, texts in enumerate((HELDOUT[:3], HELDOUT[3:])):
        columns = {
            "id": [f"{number}-{i}" for i in range(len(texts))],
            "text": texts,
            "source": ["feed", "books"][number : number + 1] * len(texts),
        }
        pq.write_table(pa.table(columns), folder / "heldout" / f"{number:05d}.parquet")
    return folder


def save_toy_tokenizer(folder: Path, model: Path) -> Path:
    """The models' tokenizer as an artifact: tokenizer/ and store/, trained on twice the held-out texts."""
    tokenizer = AutoTokenizer.from_pretrained(model)
    tokenizer.save_pretrained(folder / "tokenizer")
    (end_id,) = tokenizer.encode(END_OF_TEXT)
    with StoreWriter(folder / "store", vocabulary_size=len(tokenizer), end_id=end_id) as writer:
        for split, times in (("train", 2), ("heldout", 1)):
            for text in HELDOUT * times:
                writer.add(split, encode_text(tokenizer, text), len(text.encode()))
    return folder


def save_toy_stages(
    runs: Path, rows: list[dict[str, Any]], stages: tuple[str, ...] = ("pretrain", "sft", "dpo")
) -> dict[str, Path]:
    """Everything that evaluate reads; each model has other random weights."""
    inputs = {"collect": save_toy_collect(runs / "collect", rows), "corpus": save_toy_corpus(runs / "corpus")}
    for seed, stage in enumerate(stages):
        save_toy_model(runs / stage / "model", seed=seed)
        inputs[stage] = runs / stage
    for stage in {*inputs} & {*SCREENED}:
        save_toy_certificate(inputs[stage], inputs["collect"])
    if stages:
        inputs["tokenizer"] = save_toy_tokenizer(runs / "tokenizer", runs / stages[0] / "model")
    return inputs
