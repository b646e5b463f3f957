"""The comparison of tokenizers: each kind gets the recipe's vocabulary and the same compute, through the driver."""

import json
from pathlib import Path

import pytest
import yaml

from pipeline import artifact, compare_tokenizers
from pipeline.chain import CHAIN
from pipeline.compare_tokenizers import KINDS, equal_compute, main, numbers, pretrain_keys, tokenizer_keys
from pipeline.pretrain.recipe import Recipe as Pretrain
from pipeline.recipe import load
from pipeline.tokenizer.recipe import Recipe as Tokenizer

MODEL = {
    "model_type": "llama", "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
    "num_attention_heads": 2, "tie_word_embeddings": True, "vocab_size": 4096,
}  # fmt: skip
PRETRAIN = {"model": MODEL, "context": 16, "batch_size": 2, "steps": 50, "short_first": 8}
VOCABULARY = {"bpe": 700, "unigram": 700, "wordpiece": 700, "byte": 260, "char": 90}


@pytest.fixture
def recipe(tmp_path) -> Path:
    folder = tmp_path / "mine"
    folder.mkdir()
    files = {
        "recipe": {"seed": 3},
        "collect": {"storyworld": {}},
        "corpus": {},
        "tokenizer": {"vocab_size": 700, "digits": "single", "lowercase": True, "compare": ["elsewhere"]},
        "pretrain": PRETRAIN,
    }
    for name, keys in files.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(keys))
    return folder


@pytest.fixture
def driver(monkeypatch, recipe, tmp_path):
    """A driver that seals what it is asked for at once, and the words that it was asked with."""
    asked = []
    runs = tmp_path / "runs"
    planned = compare_tokenizers.run.plan("corpus", load(str(recipe), CHAIN), runs)
    seal(runs / "mine" / "corpus", {}, planned.fingerprint)

    def made(words):
        stage, name = words[0], Path(words[2]).name
        kind = name.rpartition("-")[2]
        derived = load(words[2], CHAIN)
        assert derived.seed == 3 and derived.base.name == "mine"
        asked.append((stage, kind, derived.own[stage]))
        heldout = {f"heldout_bits_per_byte{end}": 1.5 for end in ("", "_low", "_high")}
        metrics = {
            "tokenizer": {
                "vocabulary_size": VOCABULARY[kind], "bytes_per_token": 2.0, "tokens_per_word": 1.2,
                "single_character_share": 0.1, "unused_vocabulary_share": 0.2, "exact_share": 0.5,
            },
            "pretrain": {"parameters": 9000, "seconds": 1.0, **heldout},
        }  # fmt: skip
        seal(runs / name / stage, metrics[stage], "0" * 64)
        return 0

    monkeypatch.setattr(compare_tokenizers.run, "main", made)
    return asked


def seal(folder, metrics, fingerprint):
    folder.mkdir(parents=True)
    artifact.seal(folder, {"fingerprint": fingerprint, "metrics": metrics})


def test_every_kind_gets_the_recipes_vocabulary_and_the_same_compute(recipe, driver, tmp_path, capsys):
    assert main(["--recipe", str(recipe), "--runs", str(tmp_path / "runs"), "--tokens", "64000"]) == 0
    assert [(stage, kind) for stage, kind, _ in driver] == [(s, k) for k in KINDS for s in ("tokenizer", "pretrain")]
    rows = json.loads((tmp_path / "runs" / "mine" / "compare-tokenizers" / "table.json").read_text())
    for row in rows:
        assert row["flops"] == pytest.approx(rows[0]["flops"], rel=0.001)
        assert row["flops_per_token"] == numbers(Pretrain(**PRETRAIN), VOCABULARY[row["kind"]])["flops_per_token"]
    tokens = {row["kind"]: row["tokens"] for row in rows}
    assert tokens["bpe"] == tokens["unigram"] == 64000 < tokens["byte"] < tokens["char"]
    for stage, kind, own in driver:
        if stage == "tokenizer":
            assert (own.kind, own.lowercase, own.compare) == (kind, True, ())
            assert own.vocab_size == (None if kind == "byte" else 700)
            assert own.digits == ("together" if kind in ("byte", "char") else "single")
        else:
            assert (own.tokens, own.steps, own.short_first) == (tokens[kind], None, None)
            assert "vocab_size" not in own.model and own.model["hidden_size"] == 32
    shown = capsys.readouterr().out
    assert "| wordpiece | 700 |" in shown and "1.500 [1.500, 1.500]" in shown
    assert "Of bpe, unigram, wordpiece, byte, char the bits say less" in shown


def test_the_kinds_asked_for_alone_are_made(recipe, driver, tmp_path):
    words = ["--recipe", str(recipe), "--runs", str(tmp_path / "runs"), "--kinds", "char", "bpe", "char"]
    assert main(words) == 0
    assert [kind for stage, kind, _ in driver if stage == "pretrain"] == ["char", "bpe"]
    assert driver[1][2].tokens == 50 * 2 * 16, "the recipe's own budget, for the first"


def test_a_failed_stage_ends_the_comparison_with_its_status(recipe, driver, monkeypatch, tmp_path):
    monkeypatch.setattr(compare_tokenizers.run, "main", lambda words: 143)
    assert main(["--recipe", str(recipe), "--runs", str(tmp_path / "runs")]) == 143
    assert not (tmp_path / "runs" / "mine" / "compare-tokenizers" / "table.json").exists()


@pytest.mark.parametrize(
    ("words", "without", "message"),
    [
        (["--tokens", "31"], None, "--tokens 31 is less than one step"),
        ([], "pretrain", "has no pretrain.yaml of its own making"),
        (["--runs", "elsewhere"], None, "make corpus RECIPE=mine"),
    ],
)
def test_what_cannot_be_compared_is_told_at_once(recipe, driver, tmp_path, capsys, words, without, message):
    if without:
        (recipe / f"{without}.yaml").unlink()
    assert main(["--recipe", str(recipe), "--runs", str(tmp_path / "runs"), *words]) == 2
    assert message in capsys.readouterr().err
    assert not driver


def test_whole_steps_are_trained_and_at_least_one():
    recipe = Pretrain(**PRETRAIN)
    assert equal_compute(recipe, flops=1000 * 10.0, flops_per_token=10.0) == 992
    assert equal_compute(recipe, flops=1.0, flops_per_token=10.0) == 32


def test_derived_recipes_are_valid_for_every_kind_and_for_the_dial():
    for kind in KINDS:
        Tokenizer(**tokenizer_keys({"vocab_size": 700, "digits": "single", "model": {"hidden_size": 3}}, kind))
    keys = pretrain_keys(Pretrain(size="800k", context=168), tokens=100_000)
    assert keys == {"size": "800k", "context": 168, "tokens": 100_000}
