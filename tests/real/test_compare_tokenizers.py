"""The comparison of tokenizers for real: toy corpus, two kinds, their base models; a second call makes nothing."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
TOY = ROOT / "tests" / "toy"
pytestmark = [pytest.mark.real, pytest.mark.timeout(900)]


def command(runs: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *words, "--recipe", str(TOY), "--runs", str(runs)],
        cwd=ROOT, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip


def test_two_kinds_end_in_bits_per_byte_and_are_not_made_twice(tmp_path):
    for stage in ("collect", "corpus"):
        done = command(tmp_path, "pipeline.run", stage)
        assert done.returncode == 0, done.stderr
    words = ["pipeline.compare_tokenizers", "--kinds", "bpe", "char", "--tokens", "8192"]
    done = command(tmp_path, *words)
    assert done.returncode == 0, done.stderr
    bpe, char = json.loads((tmp_path / "toy" / "compare-tokenizers" / "table.json").read_text())
    assert (bpe["kind"], bpe["vocabulary_size"], bpe["tokens"]) == ("bpe", 512, 8192)
    assert char["tokens"] > bpe["tokens"] and char["flops"] == pytest.approx(bpe["flops"], rel=0.15)
    for row in (bpe, char):
        assert 1 < row["bits_per_byte_low"] < row["bits_per_byte"] < row["bits_per_byte_high"] < 8
    again = command(tmp_path, *words)
    assert again.returncode == 0 and again.stdout == done.stdout
    assert again.stderr.count("is up to date") == 4 and "starts" not in again.stderr
