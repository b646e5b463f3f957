"""Trains the run's own tokenizer on its corpus and writes the corpus as token ids. `make tokenizer RECIPE=storyworld`

Reads corpus/train/*.parquet and corpus/heldout/*.parquet, columns `text`, `source` and `language`, in batches, so that
memory does not grow with the corpus; and, where the recipe says so, collect/conversations.jsonl. Writes tokenizer/
(with special tokens and chat template, loads with AutoTokenizer), store/ (pipeline.store), fertility.json, .md, .svg
(how well this and other vocabularies fit the held-out text) and, where a tokenizer was extended, extension.json (what
its new tokens are made of).
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow.parquet as parquet
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from pipeline import chat
from pipeline.artifact import write_json
from pipeline.chat_columns import ChatTable, messages_of
from pipeline.progress import Progress
from pipeline.screen.keys import PRIVACY
from pipeline.screen.privacy import scrub
from pipeline.stage import Job, UserError
from pipeline.store import SPLITS, StoreWriter, open_split, unigram_bits_per_byte
from pipeline.table import rows
from pipeline.tokenizer import extend, kinds, named, report
from pipeline.tokenizer.fertility import Fertility
from pipeline.tokenizer.recipe import Recipe

BATCH_DOCUMENTS, BATCH_BYTES = 1000, 2**22  # encoded at once, by all threads: whichever is reached first
ROWS = 64  # of a Parquet file, read at once

Batch = tuple[list[str], list[str], list[str]]  # sources, languages, texts


def run(job: Job) -> dict[str, float]:
    """The stage's verb. Metrics: size and fit of the vocabulary, tokens per split, unigram_bits_per_byte."""
    recipe, corpus = job.recipe, job.needs("corpus")
    talks = conversations(job.needs("collect")) if recipe.conversations else []
    tokenizer = make(recipe, corpus, job.out, talks)
    check_plain_text(tokenizer)
    tokenizer.save_pretrained(job.out / "tokenizer")
    fertility = write_store(corpus, tokenizer, job.out / "store", job.seed)
    others = report.others(recipe, lambda: batches(corpus, "heldout"))
    metrics = report.write(recipe, job.out, fertility, others, job.seed)
    train_split, heldout = (open_split(job.out / "store", split) for split in SPLITS)
    return {
        "vocabulary_size": train_split.vocabulary_size,
        "train_documents": train_split.num_documents,
        "train_tokens": len(train_split.tokens),
        "heldout_documents": heldout.num_documents,
        "heldout_tokens": len(heldout.tokens),
        "unigram_bits_per_byte": unigram_bits_per_byte(train_split, heldout),
        **metrics,
    }


def conversations(collect: Path) -> list[str]:
    """What is said in the conversations to train on, not in those held out. Raises UserError where there are none.

    With private data replaced, as the corpus has it: an address that stands there often would become a piece.
    """
    path = collect / "conversations.jsonl"
    if not path.is_file():
        raise UserError(
            f"{path}: no such file; the recipe's source has no conversations. Remove `conversations` from "
            "tokenizer.yaml."
        )
    table = ChatTable(path=str(path))
    messages = [message for row, where in rows(table) for message in messages_of(table, row, where)]
    return [scrub(message["content"], PRIVACY)[0] for message in messages if isinstance(message["content"], str)]


def make(recipe: Recipe, corpus: Path, out: Path, talks: Sequence[str] = ()) -> PreTrainedTokenizerFast:
    """The tokenizer that the recipe asks for: trained, or extended. talks: what else its pieces are learnt from."""
    total = count(corpus, "train")
    with Progress(total, "tokenizer: vocabulary", "documents") as progress:

        def texts() -> Iterator[list[str]]:
            for _, _, batch in batches(corpus, "train"):
                yield batch
                progress.update(len(batch))
            if talks:
                yield list(talks)

        if recipe.extend is None:
            return wrap(kinds.train(recipe, texts()))
        base = named.load(recipe.extend.tokenizer)
        tokenizer, pieces = extend.extend(base, recipe.extend.tokenizer, texts(), recipe.extend.new_tokens)
    tokens = tokenizer.convert_ids_to_tokens(list(pieces))
    entries = [{"id": i, "token": t, "pieces": pieces[i]} for i, t in zip(pieces, tokens, strict=True)]
    write_json(out / "extension.json", {"base": recipe.extend.tokenizer, "tokens": entries})
    return tokenizer


def wrap(tokenizer: Tokenizer) -> PreTrainedTokenizerFast:
    """The tokenizer as transformers knows it. eos is the end of a document, where the base model stops; a chat's turn
    ends with <|im_end|>, and a model's generation_config lists both."""
    unknown = {"unk_token": kinds.UNKNOWN} if tokenizer.token_to_id(kinds.UNKNOWN) is not None else {}
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=chat.END_OF_TEXT,
        pad_token=chat.PAD,
        **unknown,
        extra_special_tokens=[chat.START_OF_TURN, chat.END_OF_TURN],
        clean_up_tokenization_spaces=False,
    )
    fast.chat_template = chat.TEMPLATE.read_text(encoding="utf-8")
    return fast


def check_plain_text(tokenizer: PreTrainedTokenizerFast) -> None:
    """Raises UserError where a special token written as text would become that token: a document could then end, or
    somebody speak, where none does."""
    for token in tokenizer.all_special_tokens:
        # The unknown token is what a character that is not in the vocabulary becomes, here as anywhere.
        if token != tokenizer.unk_token and tokenizer.convert_tokens_to_ids(token) in chat.encode_text(
            tokenizer, f"a {token}{token} b"
        ):
            raise UserError(
                f"tokenizer.yaml: the text {token!r} becomes the special token of that name even where a document "
                f"spells it out. Extend a tokenizer whose pieces do not hold its special tokens."
            )


def write_store(corpus: Path, tokenizer: PreTrainedTokenizerFast, folder: Path, seed: int) -> Fertility:
    """Encodes both splits into a token store. Returns what the held-out documents say about the vocabulary."""
    backend = plain(tokenizer)
    fertility = Fertility(backend, tokenizer.unk_token_id)
    total = sum(count(corpus, split) for split in SPLITS)
    size = max(tokenizer.get_vocab().values()) + 1
    with (
        StoreWriter(folder, vocabulary_size=size, end_id=tokenizer.eos_token_id, seed=seed) as writer,
        Progress(total, "tokenizer: token store", "documents") as progress,
    ):
        for split in SPLITS:
            for (sources, languages, texts), encoded in encoded_batches(corpus, split, backend):
                for source, language, text, ids in zip(sources, languages, texts, encoded, strict=True):
                    writer.add(split, ids, len(text.encode()), source or "")
                    if split == "heldout":
                        fertility.add(source, language, text, ids)
                progress.update(len(texts))
    return fertility


def plain(tokenizer: PreTrainedTokenizerFast) -> Tokenizer:
    """A copy for documents. A special token spelt out in one is text like any other: else it would end there."""
    backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    backend.encode_special_tokens = True
    return backend


def encoded_batches(corpus: Path, split: str, backend: Tokenizer) -> Iterator[tuple[Batch, Iterator[list[int]]]]:
    """Each batch with its documents' ids. The next one is encoded while the caller works on this one."""
    with ThreadPoolExecutor(1) as pool:
        waiting = None
        for batch in batches(corpus, split):
            ahead = (batch, pool.submit(backend.encode_batch_fast, batch[2], add_special_tokens=False))
            if waiting:
                yield waiting[0], (encoding.ids for encoding in waiting[1].result())
            waiting = ahead
        if waiting:
            yield waiting[0], (encoding.ids for encoding in waiting[1].result())


def batches(corpus: Path, split: str) -> Iterator[Batch]:
    """Sources, languages and texts of a split's documents, a batch at a time, in a stable order."""
    sources: list[str] = []
    languages: list[str] = []
    texts: list[str] = []
    size = 0
    for path in shards(corpus, split):
        file = parquet.ParquetFile(path)
        columns = [name for name in ("source", "language", "text") if name in file.schema_arrow.names]
        for chunk in file.iter_batches(ROWS, columns=columns):
            found = chunk.to_pydict()
            sources += found["source"]
            languages += found.get("language", [""] * len(chunk))
            texts += found["text"]
            size += chunk.nbytes
            if size >= BATCH_BYTES or len(texts) >= BATCH_DOCUMENTS:
                yield sources, languages, texts
                sources, languages, texts, size = [], [], [], 0
    if texts:
        yield sources, languages, texts


def count(corpus: Path, split: str) -> int:
    """How many documents a split holds. Raises UserError where it holds none."""
    total = sum(parquet.ParquetFile(path).metadata.num_rows for path in shards(corpus, split))
    if total == 0:
        raise UserError(
            f"{corpus / split}: holds no document, and the tokenizer needs both splits. See {corpus / 'funnel.json'} "
            f"for what dropped them; a small corpus needs a larger held-out share in corpus.yaml."
        )
    return total


def shards(corpus: Path, split: str) -> list[Path]:
    """The split's Parquet files, sorted."""
    return sorted((corpus / split).glob("*.parquet"))
