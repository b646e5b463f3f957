"""Trains the run's own tokenizer on its corpus and writes the corpus as token ids. `make tokenizer RECIPE=storyworld`

Reads corpus/train/*.parquet and corpus/heldout/*.parquet, columns `text` and `source`, in batches, so that memory does
not grow with the corpus. Writes tokenizer/ (byte-level BPE with special tokens and chat template, loads with
AutoTokenizer), store/ (pipeline.store) and fertility.json (how well the vocabulary fits the held-out text).
"""

from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as parquet
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from pipeline import chat
from pipeline.artifact import write_json
from pipeline.progress import Progress
from pipeline.stage import Job, UserError
from pipeline.store import SPLITS, StoreWriter, open_split, unigram_bits_per_byte
from pipeline.tokenizer.fertility import Fertility

BATCH = 1000  # documents encoded at once, by all threads


def run(job: Job) -> dict[str, float]:
    """The stage's verb. Metrics: size and fit of the vocabulary, tokens per split, unigram_bits_per_byte."""
    corpus = job.needs("corpus")
    tokenizer = train(corpus, job.recipe.vocab_size)
    wrap(tokenizer).save_pretrained(job.out / "tokenizer")
    fertility = write_store(corpus, tokenizer, job.out / "store")
    write_json(job.out / "fertility.json", fertility.report())
    train_split, heldout = (open_split(job.out / "store", split) for split in SPLITS)
    return {
        "vocabulary_size": tokenizer.get_vocab_size(),
        "train_documents": train_split.num_documents,
        "train_tokens": len(train_split.tokens),
        "heldout_documents": heldout.num_documents,
        "heldout_tokens": len(heldout.tokens),
        "unigram_bits_per_byte": unigram_bits_per_byte(train_split, heldout),
        **fertility.metrics(job.seed),
    }


def train(corpus: Path, vocab_size: int) -> Tokenizer:
    """A byte-level BPE: every byte is in the vocabulary, so that any text can be encoded and comes back exactly."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(chat.SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    total = count(corpus, "train")
    with Progress(total, "tokenizer: vocabulary", "documents") as progress:

        def texts() -> Iterator[list[str]]:
            for _, batch in batches(corpus, "train"):
                yield batch
                progress.update(len(batch))

        tokenizer.train_from_iterator(texts(), trainer)
    return tokenizer


def wrap(tokenizer: Tokenizer) -> PreTrainedTokenizerFast:
    """The tokenizer as transformers knows it. eos is the end of a document, where the base model stops; a chat's turn
    ends with <|im_end|>, and a model's generation_config lists both."""
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=chat.END_OF_TEXT,
        pad_token=chat.PAD,
        extra_special_tokens=[chat.START_OF_TURN, chat.END_OF_TURN],
        clean_up_tokenization_spaces=False,
    )
    fast.chat_template = chat.TEMPLATE.read_text(encoding="utf-8")
    return fast


def write_store(corpus: Path, tokenizer: Tokenizer, folder: Path) -> Fertility:
    """Encodes both splits into a token store. Returns what the held-out documents say about the vocabulary."""
    fertility = Fertility(tokenizer)
    (end_id,) = tokenizer.encode(chat.END_OF_TEXT).ids
    # A special token spelt out in a document is text like any other: without this it would end the document there.
    tokenizer.encode_special_tokens = True
    total = sum(count(corpus, split) for split in SPLITS)
    with (
        StoreWriter(folder, vocabulary_size=tokenizer.get_vocab_size(), end_id=end_id) as writer,
        Progress(total, "tokenizer: token store", "documents") as progress,
    ):
        for split in SPLITS:
            for sources, texts in batches(corpus, split):
                for source, text, encoding in zip(sources, texts, tokenizer.encode_batch_fast(texts), strict=True):
                    writer.add(split, encoding.ids, len(text.encode()))
                    if split == "heldout":
                        fertility.add(source, text, encoding.ids)
                progress.update(len(texts))
    return fertility


def batches(corpus: Path, split: str) -> Iterator[tuple[list[str], list[str]]]:
    """Sources and texts of a split's documents, up to BATCH at a time, in a stable order."""
    for path in shards(corpus, split):
        for batch in parquet.ParquetFile(path).iter_batches(BATCH, columns=["source", "text"]):
            yield batch.column("source").to_pylist(), batch.column("text").to_pylist()


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
