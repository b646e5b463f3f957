"""Extending a tokenizer: old ids keep their meaning, a domain's text gets shorter, embeddings begin as means."""

import json

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, normalizers
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from pipeline import chat, vocabulary
from pipeline.stage import UserError
from pipeline.tokenizer import kinds
from pipeline.tokenizer.recipe import Recipe
from pipeline.tokenizer.train import wrap
from tests.test_tokenizer import SPELT_OUT, make_recipe, stories, write_corpus

ADDED = 30  # new tokens; the domain has a few more merges in it
DOMAIN = ["The pharmacokinetics of acetylsalicylic acid.", "Acetylsalicylic acid, its pharmacokinetics and dosage."]


def base_tokenizer(folder, **keys):
    """A tokenizer of stories, which knows nothing of medicine."""
    found = wrap(kinds.train(Recipe(vocab_size=330, **keys), iter([stories(0, 200)])))
    found.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return write_corpus(
        tmp_path_factory.mktemp("domain") / "corpus", [*DOMAIN * 40, SPELT_OUT], [*DOMAIN * 3, SPELT_OUT]
    )


@pytest.fixture(scope="module")
def made(corpus, tmp_path_factory):
    folder = tmp_path_factory.mktemp("extend")
    base = base_tokenizer(folder / "base")
    recipe = Recipe(extend={"tokenizer": str(base), "new_tokens": ADDED})
    metrics = make_recipe(folder / "out", corpus, recipe)
    return base, folder / "out", metrics


def test_a_domains_text_gets_shorter_and_stays_exact(made):
    base, out, metrics = made
    old, new = AutoTokenizer.from_pretrained(base), AutoTokenizer.from_pretrained(out / "tokenizer")
    for text in (*DOMAIN, SPELT_OUT, "日本 naïve \n\n x"):
        ids = chat.encode_text(new, text)
        assert new.decode(ids, skip_special_tokens=False) == text
        assert len(ids) <= len(chat.encode_text(old, text))
    before = sum(len(chat.encode_text(old, text)) for text in [*DOMAIN * 3, SPELT_OUT]) / 7
    assert metrics["base_tokens_per_document"] == pytest.approx(before)
    assert metrics["tokens_per_document"] < 0.5 * before
    assert metrics["tokens_per_document_minus_base"] == pytest.approx(metrics["tokens_per_document"] - before)
    assert metrics["tokens_per_document_minus_base_high"] < 0
    entries = json.loads((out / "fertility.json").read_text())["tokenizers"]
    assert [entry["name"] for entry in entries] == ["this one", str(base)]


def test_old_ids_keep_their_meaning_and_a_text_without_the_domain_its_ids(made):
    base, out, _ = made
    old, new = AutoTokenizer.from_pretrained(base), AutoTokenizer.from_pretrained(out / "tokenizer")
    assert old.get_vocab().items() <= new.get_vocab().items()
    assert sorted(new.get_vocab().values()) == list(range(len(old) + ADDED))
    assert new.eos_token_id == old.eos_token_id and new.pad_token_id == old.pad_token_id
    text = "and a red ball, because her friend was happy"
    assert chat.encode_text(new, text) == chat.encode_text(old, text)


def test_a_new_token_is_made_of_what_stood_there_before(made):
    base, out, _ = made
    old, new = AutoTokenizer.from_pretrained(base), AutoTokenizer.from_pretrained(out / "tokenizer")
    pieces = vocabulary.read(out)
    assert sorted(pieces) == list(range(len(old), len(old) + ADDED))
    for number, parts in pieces.items():
        assert len(parts) > 1 and old.decode(parts) == new.decode([number])
    whole = next(i for i in pieces if new.decode([i]) == " pharmacokinetics")
    assert whole in chat.encode_text(new, DOMAIN[0])


def test_special_tokens_spelt_out_stay_text(made):
    _, out, _ = made
    new = AutoTokenizer.from_pretrained(out / "tokenizer")
    for token in chat.SPECIAL_TOKENS:
        assert new.convert_tokens_to_ids(token) not in chat.encode_text(new, f"x {token}{token}")


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("rows", [330, 352], ids=["exact", "padded"])
def test_embeddings_begin_as_the_mean_of_the_old_pieces(made, tmp_path, tied, rows):
    base, out, _ = made
    old_size = len(AutoTokenizer.from_pretrained(base))
    rows += old_size - 330
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=rows, hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
            tie_word_embeddings=tied,
        )
    )  # fmt: skip
    before = [t.weight.detach().clone() for t in (model.get_input_embeddings(), model.get_output_embeddings())]
    model.save_pretrained(tmp_path / "model")
    said = vocabulary.write(str(tmp_path / "model"), out, tmp_path / "grown")
    assert f"{ADDED} new tokens" in said
    grown = AutoModelForCausalLM.from_pretrained(tmp_path / "grown")
    tables = [grown.get_input_embeddings().weight, grown.get_output_embeddings().weight]
    assert tables[0].shape[0] == grown.config.vocab_size == old_size + ADDED
    for table, old in zip(tables, before, strict=True):
        assert torch.equal(table[:old_size], old[:old_size])
        for number, parts in vocabulary.read(out).items():
            assert torch.allclose(table[number], old[parts].mean(dim=0))
    assert (tables[0] is tables[1]) == tied
    assert len(AutoTokenizer.from_pretrained(tmp_path / "grown")) == old_size + ADDED
    with pytest.raises(UserError, match="is there already"):
        vocabulary.write(str(tmp_path / "model"), out, tmp_path / "grown")


def test_a_model_of_another_tokenizer_is_refused(made, tmp_path):
    _, out, _ = made
    GPT2LMHeadModel(GPT2Config(vocab_size=40, n_embd=8, n_layer=1, n_head=1)).save_pretrained(tmp_path / "model")
    with pytest.raises(UserError, match=r"is not of this model: .* has 40 embeddings"):
        vocabulary.write(str(tmp_path / "model"), out, tmp_path / "grown")
    assert not (tmp_path / "grown").exists()


def test_the_command_says_what_is_missing(made, tmp_path, capsys):
    _, out, _ = made
    words = ["--model", str(tmp_path / "nowhere"), "--out", str(tmp_path / "grown"), "--tokenizer"]
    assert vocabulary.main([*words, str(tmp_path)]) == 2
    assert "has no extension.json" in capsys.readouterr().err
    assert vocabulary.main([*words, str(out)]) == 2
    assert "cannot be loaded" in capsys.readouterr().err


def test_a_base_with_characters_and_byte_fallback_is_extended_within_words(corpus, tmp_path):
    """SentencePiece's form of BPE: no words are cut, a space is part of a token, unknown characters are bytes."""
    alphabet = ["<s>", "</s>", *(f"<0x{i:02X}>" for i in range(256)), "\u2581", *"TheAacidpharmkonetsylgo.,"]
    names = {piece: number for number, piece in enumerate(dict.fromkeys(alphabet))}
    toy = Tokenizer(models.BPE(names, [], byte_fallback=True, fuse_unk=True))
    toy.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    toy.decoder = decoders.Sequence(
        [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    PreTrainedTokenizerFast(tokenizer_object=toy, bos_token="<s>", eos_token="</s>").save_pretrained(tmp_path / "base")
    recipe = Recipe(extend={"tokenizer": str(tmp_path / "base"), "new_tokens": 40})
    metrics = make_recipe(tmp_path / "out", corpus, recipe)
    new = AutoTokenizer.from_pretrained(tmp_path / "out" / "tokenizer")
    tokens = new.convert_ids_to_tokens(sorted(i for i in vocabulary.read(tmp_path / "out")))
    learnt = [token for token in tokens if token not in chat.SPECIAL_TOKENS]
    assert "\u2581pharmacokinetics" in learnt
    assert not any("\u2581" in token[1:] or "<0x" in token for token in learnt), (
        "no token over two words, none of bytes"
    )
    assert metrics["exact_share"] == 1
    # It had no chat template and none of its tokens.
    assert new.chat_template and new.pad_token == chat.PAD and chat.end_of_turn_id(new) != new.eos_token_id
    assert vocabulary.read(tmp_path / "out")[new.convert_tokens_to_ids(chat.START_OF_TURN)]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda folder: base_tokenizer(folder, kind="unigram"), "is Unigram; only plain BPE can be extended"),
        (lambda folder: no_end(folder), r"has no end-of-text token"),
    ],
    ids=["unigram", "no end"],
)
def test_a_base_that_cannot_be_extended_is_named(corpus, tmp_path, make, words):
    make(tmp_path / "base")
    recipe = Recipe(extend={"tokenizer": str(tmp_path / "base"), "new_tokens": 5})
    with pytest.raises(UserError, match=words):
        make_recipe(tmp_path / "out", corpus, recipe)


def no_end(folder):
    PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE({"a": 0}, []))).save_pretrained(folder)
