"""The token store: documents come back, rows are laid out by (seed, epoch, step) alone, damage is named."""

import hashlib
import json
import math

import numpy as np
import pytest

from pipeline.rows import IGNORE, Order, positions, scoring_rows, training_rows
from pipeline.stage import UserError
from pipeline.store import StoreWriter, open_split, unigram_bits_per_byte

END = 0


def make(folder, train, heldout=((5, 6),), vocabulary_size=50):
    with StoreWriter(folder, vocabulary_size=vocabulary_size, end_id=END) as writer:
        for split, documents in (("train", train), ("heldout", heldout)):
            for ids in documents:
                writer.add(split, list(ids), text_bytes=3 * len(ids))
    return open_split(folder, "train"), open_split(folder, "heldout")


def documents(seed, count, shortest=2, longest=20):
    """Documents whose first token says which one it is, by a number that no other token has."""
    rng = np.random.default_rng(seed)
    return [[1000 + i, *rng.integers(1, 50, rng.integers(shortest - 1, longest)).tolist()] for i in range(count)]


def pieces(rows):
    """The rows' content, each row a list of targets without padding."""
    _, targets = rows.batch(range(len(rows)))
    return [row[row != IGNORE].tolist() for row in targets]


@pytest.mark.parametrize(("vocabulary_size", "dtype"), [(2**16, "<u2"), (2**16 + 1, "<u4")])
def test_documents_come_back_with_the_smallest_dtype_that_holds_them(tmp_path, vocabulary_size, dtype):
    written = [[1, 2, 3], [], [vocabulary_size - 1]]
    train, heldout = make(tmp_path, written, vocabulary_size=vocabulary_size)
    assert train.tokens.dtype == dtype
    assert [ids.tolist() for ids in train.documents()] == [[*ids, END] for ids in written]
    assert (train.num_documents, train.text_bytes, heldout.text_bytes) == (3, 12, 6)


def test_every_document_keeps_its_source(tmp_path):
    documents = [([1, 2, 3], 9, "web"), ([4], 2, "books"), ([5, 6], 5, "web")]
    with StoreWriter(tmp_path, vocabulary_size=50, end_id=END) as writer:
        for ids, text_bytes, source in documents:
            writer.add("heldout", ids, text_bytes, source)
    split = open_split(tmp_path, "heldout")
    assert (split.source_bytes, split.text_bytes) == ({"web": 14, "books": 2}, 16)
    assert (split.sources.tolist(), split.source_tokens.tolist()) == ([0, 1, 0], [7, 2])
    rows = scoring_rows(split, context=3)  # the first document fills more than a row, the others share one
    _, targets = rows.batch(range(len(rows)))
    found = {
        (token, source)
        for row in zip(targets, rows.sources(range(len(rows))), strict=True)
        for token, source in zip(*row, strict=True)
    }
    assert {pair for pair in found if pair[0] not in (IGNORE, END)} == {(1, 0), (2, 0), (3, 0), (4, 1), (5, 0), (6, 0)}
    assert open_split(tmp_path, "train").source_tokens.tolist() == []


def test_sources_that_do_not_fit_the_documents_are_refused(tmp_path):
    make(tmp_path, [[1]])
    np.save(tmp_path / "train.sources.npy", np.array([1], dtype=np.uint16))
    with pytest.raises(UserError, match=r"train\.sources\.npy does not fit the documents"):
        open_split(tmp_path, "train")


def test_an_id_outside_the_vocabulary_is_refused(tmp_path):
    with pytest.raises(ValueError, match="token id 50 in a vocabulary of 50"):
        make(tmp_path, [[50]])
    assert not (tmp_path / "index.json").exists()


def test_ids_are_checked_against_the_embedding(tmp_path):
    train, _ = make(tmp_path, [[1, 49]])
    train.check_ids(50, "x")
    with pytest.raises(UserError, match=r"vocab_size = 49, but the token store's train split holds the id 49"):
        train.check_ids(49, "x")


@pytest.mark.parametrize("damage", ["bin", "offsets", "index", "json"])
def test_a_damaged_store_is_named(tmp_path, damage):
    make(tmp_path, [[1, 2, 3]])
    if damage == "bin":
        (tmp_path / "train.bin").write_bytes(b"123")
    elif damage == "offsets":
        np.save(tmp_path / "train.offsets.npy", np.array([0, 9]))
    elif damage == "index":
        (tmp_path / "index.json").unlink()
    else:
        index = json.loads((tmp_path / "index.json").read_text())
        del index["train"]["tokens"]
        (tmp_path / "index.json").write_text(json.dumps(index))
    with pytest.raises(UserError, match="no whole token store"):
        open_split(tmp_path, "train")


def test_every_document_stands_whole_in_a_row_and_first_in_it(tmp_path):
    written = documents(0, 60)
    train, _ = make(tmp_path, written, vocabulary_size=2000)
    rows = training_rows(train, context=24, packing="documents", seed=1, epoch=0)
    inputs, targets = rows.batch(range(len(rows)))
    assert (inputs[:, 0] == END).all(), "a row is led by an end token"
    assert (targets[:, 0] >= 1000).all(), "and begins with a document's beginning"
    assert (targets != IGNORE).all(), "no row is padded"
    assert np.array_equal(inputs[:, 1:], targets[:, :-1])
    flat = [" " + " ".join(map(str, row)) + " " for row in pieces(rows)]
    for ids in written:
        assert any(" " + " ".join(map(str, [*ids, END])) + " " in row for row in flat), ids


def test_a_document_longer_than_a_row_goes_on_at_the_beginning_of_rows(tmp_path):
    long = list(range(1, 48))
    train, _ = make(tmp_path, [long, [48], [49]])
    rows = scoring_rows(train, context=10)
    inputs, targets = rows.batch(range(len(rows)))
    led_by = {int(row[0]): int(lead[0]) for lead, row in zip(inputs, targets, strict=True)}
    assert {n: led_by[n] for n in (1, 11, 21, 31, 41)} == {1: END, 11: 10, 21: 20, 31: 30, 41: 40}
    assert len(rows) == 5 or len(rows) == 6


@pytest.mark.parametrize("context", [7, 24, 300])
def test_scoring_counts_every_token_once(tmp_path, context):
    train, _ = make(tmp_path, documents(3, 40), vocabulary_size=2000)
    scored = sorted(token for row in pieces(scoring_rows(train, context=context)) for token in row)
    assert scored == sorted(np.asarray(train.tokens).tolist())


def test_stream_cuts_the_shuffled_documents_without_loss(tmp_path):
    train, _ = make(tmp_path, documents(4, 50), vocabulary_size=2000)
    rows = training_rows(train, context=16, packing="stream", seed=0, epoch=0)
    seen = [token for row in pieces(rows) for token in row]
    assert len(rows) == len(train.tokens) // 16
    assert len(seen) == 16 * len(rows)
    first_tokens = [token for token in seen if token >= 1000]
    assert len(first_tokens) == len(set(first_tokens)) >= 48


@pytest.mark.parametrize("packing", ["documents", "stream"])
def test_order_depends_on_seed_and_epoch_alone(tmp_path, packing):
    train, _ = make(tmp_path, documents(5, 50), vocabulary_size=2000)

    def lay(seed, epoch):
        return pieces(training_rows(train, context=24, packing=packing, seed=seed, epoch=epoch))

    assert lay(1, 0) == lay(1, 0)
    assert lay(1, 0) != lay(1, 1)
    assert lay(1, 0) != lay(2, 0)


@pytest.mark.parametrize("packing", ["documents", "stream"])
def test_a_step_reads_the_same_rows_whenever_it_is_asked_for(tmp_path, packing):
    train, _ = make(tmp_path, documents(6, 20), vocabulary_size=2000)
    order = Order(train, context=24, packing=packing, seed=0, batch=4)
    walked = [order[step] for step in range(12)]
    assert order.epoch >= 1, "the walk passes the border of an epoch"
    for step in (11, 3, 7, 0):
        fresh = Order(train, context=24, packing=packing, seed=0, batch=4)
        for ids, expected in zip((*fresh[step], *order[step]), (*walked[step], *walked[step]), strict=True):
            assert np.array_equal(ids, expected)
            assert ids.shape == (4, 24)


def test_a_batch_of_every_size_reads_the_same_rows(tmp_path):
    train, _ = make(tmp_path, documents(7, 20), vocabulary_size=2000)

    def walk(batch):
        order = Order(train, context=24, packing="documents", seed=0, batch=batch)
        return np.concatenate([order[step][0] for step in range(24 // batch)])

    assert np.array_equal(walk(2), walk(8))
    assert np.array_equal(walk(2), walk(3))


def test_a_split_shorter_than_a_row_is_one_padded_row(tmp_path):
    train, _ = make(tmp_path, [[1, 2]])
    rows = training_rows(train, context=16, packing="stream", seed=0, epoch=0)
    _, targets = rows.batch([0])
    assert targets[0, :3].tolist() == [1, 2, END] and (targets[0, 3:] == IGNORE).all()


def test_an_empty_split_cannot_be_trained_on(tmp_path):
    train, _ = make(tmp_path, [])
    with pytest.raises(UserError, match="no document to train on"):
        Order(train, context=16, packing="documents", seed=0, batch=1)


def test_unigram_measure_is_add_one_smoothed_and_counts_end_tokens(tmp_path):
    train, heldout = make(tmp_path, [[1, 1, 2]], heldout=[[1, 3]], vocabulary_size=4)
    # Counts with one added: end 2, 1 three times, 2 twice, 3 once; of 8.
    bits = -math.log2(3 / 8) - math.log2(1 / 8) - math.log2(2 / 8)
    assert unigram_bits_per_byte(train, heldout) == pytest.approx(bits / 6)


def test_short_documents_come_first_in_the_first_epoch_only(tmp_path):
    train, _ = make(tmp_path, documents(4, 200), vocabulary_size=2000)
    rows = training_rows(train, context=24, packing="documents", seed=0, epoch=0, short_first=8)
    lengths = [len(row) for row in (pieces(rows))]
    assert min(lengths) == 24
    shares = [np.mean([length <= 8 for _, length in row]) for row in rows.layout]
    last_of_short = max(i for i, row in enumerate(rows.layout) if row[0][1] <= 8)
    assert all(share == 1 for share in shares[:last_of_short])
    plain = training_rows(train, context=24, packing="documents", seed=0, epoch=1)
    later = training_rows(train, context=24, packing="documents", seed=0, epoch=1, short_first=8)
    assert later.layout == plain.layout


def test_positions_begin_anew_at_every_document():
    ids = np.array([[END, 5, 6, END, 7], [8, 9, END, END, 5]])
    assert positions(ids, END).tolist() == [[0, 1, 2, 0, 1], [0, 1, 0, 0, 1]]


def test_documents_of_one_row_do_not_see_each_other():
    """Logits of a packed row are those of its documents alone."""
    torch = pytest.importorskip("torch")
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=20, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2
    )
    model = LlamaForCausalLM(config).eval()
    parts = [[END, 5, 6, 7], [END, 8, 9]]
    row = np.array([[*parts[0], *parts[1]]])
    with torch.no_grad():
        packed = model(
            torch.from_numpy(row), position_ids=torch.from_numpy(positions(row, END)), use_cache=False
        ).logits[0]
        alone = torch.cat([model(torch.tensor([part]), use_cache=False).logits[0] for part in parts])
        leaking = model(torch.from_numpy(row), use_cache=False).logits[0]
    assert torch.allclose(packed, alone, atol=1e-5)
    assert not torch.allclose(leaking, alone, atol=1e-5)


@pytest.mark.parametrize("shard_tokens", [1, 7, 50, 10**6])
def test_a_split_over_several_shards_reads_as_one(tmp_path, shard_tokens):
    written = documents(8, 30)
    whole, _ = make(tmp_path / "whole", written, vocabulary_size=2000)
    with StoreWriter(tmp_path / "cut", vocabulary_size=2000, end_id=END, seed=5, shard_tokens=shard_tokens) as writer:
        for ids in written:
            writer.add("train", ids, 3 * len(ids))
    cut = open_split(tmp_path / "cut", "train")
    assert [ids.tolist() for ids in cut.documents()] == [[*ids, END] for ids in written]
    assert np.array_equal(cut.tokens, whole.tokens) and np.array_equal(cut.counts(), whole.counts())
    total = len(whole.tokens)
    for start, stop in ((0, total), (3, 4), (total - 2, None), (5, 90), (9, 9), (50, 10), (total, total + 5)):
        assert np.array_equal(cut.tokens[start:stop], np.asarray(whole.tokens)[start:stop])
    assert [cut.tokens[i] for i in (0, 7, -1)] == [np.asarray(whole.tokens)[i] for i in (0, 7, -1)]
    with pytest.raises(IndexError):
        cut.tokens[total]
    for packing in ("documents", "stream"):
        one, other = (training_rows(split, context=24, packing=packing, seed=0, epoch=0) for split in (whole, cut))
        assert pieces(one) == pieces(other)
    shards = json.loads((tmp_path / "cut" / "index.json").read_text())["train"]["shards"]
    assert [shard["file"] for shard in shards][:2] == ["train.bin", "train-00001.bin"][: len(shards)]
    assert (len(shards) > 1) == (shard_tokens < total)
    by_file = {}
    for number, ids in enumerate(written):
        by_file[cut.file_of(number)] = by_file.get(cut.file_of(number), 0) + len(ids) + 1
    assert by_file == {shard["file"]: shard["tokens"] for shard in shards}
    for shard in shards:
        data = (tmp_path / "cut" / shard["file"]).read_bytes()
        assert hashlib.sha256(data).hexdigest() == shard["sha256"] and len(data) == 2 * shard["tokens"]


def test_ids_in_a_later_shard_are_checked_too(tmp_path):
    with StoreWriter(tmp_path, vocabulary_size=50, end_id=END, shard_tokens=1) as writer:
        writer.add("train", [1], 1)
        writer.add("train", [49], 1)
    with pytest.raises(UserError, match="holds the id 49"):
        open_split(tmp_path, "train").check_ids(49, "x")


def test_index_holds_the_seed_of_the_shuffle_and_a_sha256_that_any_shard_changes(tmp_path):
    def write(name, ids, **keys):
        with StoreWriter(tmp_path / name, vocabulary_size=50, end_id=END, **keys) as writer:
            for document in ids:
                writer.add("train", document, 1)
        return open_split(tmp_path / name, "train")

    assert write("a", [[1], [2]], seed=7).seed == 7
    one = write("b", [[1], [2]], shard_tokens=1)
    assert one.sha256 != write("c", [[1], [3]], shard_tokens=1).sha256
    assert one.sha256 == write("d", [[1], [2]], shard_tokens=2).sha256


def test_a_missing_or_cut_later_shard_is_named(tmp_path):
    with StoreWriter(tmp_path, vocabulary_size=50, end_id=END, shard_tokens=1) as writer:
        writer.add("train", [1], 1)
        writer.add("train", [2], 1)
    (tmp_path / "train-00001.bin").write_bytes(b"123")
    with pytest.raises(UserError, match=r"train-00001\.bin has 3 bytes, 2 tokens were written"):
        open_split(tmp_path, "train")
    (tmp_path / "train-00001.bin").unlink()
    with pytest.raises(UserError, match="no whole token store"):
        open_split(tmp_path, "train")


@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_any_number_of_ranks_reads_the_same_rows_in_the_same_steps(tmp_path, ranks):
    train, _ = make(tmp_path, documents(9, 40), vocabulary_size=2000)

    def rank_rows(rank):
        """What one process of `ranks` reads: its share of each step's batch of 8, from an order of its own."""
        order = Order(train, context=24, packing="documents", seed=3, batch=8)
        share = 8 // ranks
        return [order[step][0][rank * share : (rank + 1) * share] for step in range(9)]

    alone = Order(train, context=24, packing="documents", seed=3, batch=8)
    shares = [rank_rows(rank) for rank in range(ranks)]
    assert alone[8] and alone.epoch >= 1, "the steps pass the border of an epoch"
    for step in range(9):
        assert np.array_equal(np.concatenate([share[step] for share in shares]), alone[step][0])
