"""Toxicity, spam and machine text: what ships, and what training on like data gives, each text scored by a model that
was trained on the other four fifths (equal texts in the same fifth)."""

import csv
import io
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bench.corpus_data import Row, auc, f1, fold, json_of, only, text_of
from pipeline import coarse_words, text_classifier
from pipeline.corpus.boilerplate import without
from pipeline.labelled import Labelled

FOLDS = 5


def crossed(rows: Sequence[Labelled], bad: str, groups: Sequence[str] | None = None) -> list[float]:
    """The probability of `bad` for each row; rows of one group (default: equal text) are in one fold."""
    folds = [fold(group, FOLDS) for group in groups or [row.text for row in rows]]
    found = [0.0] * len(rows)
    with tempfile.TemporaryDirectory() as folder:
        for number in range(FOLDS):
            seen = [row for row, its in zip(rows, folds, strict=True) if its != number]
            model = text_classifier.fit(seen, Path(folder) / f"{number}.bin", seed=0)
            for index, row in enumerate(rows):
                if folds[index] == number:
                    found[index] = text_classifier.scores(model, row.text, (bad,))[0]
    return found


def toxicity(data: Path) -> Row:
    """Hate and offensive language against neither."""
    table = list(csv.DictReader(io.StringIO(text_of(only(data, "hate_davidson/*.csv*")))))
    rows = [Labelled(text=row["tweet"], label="clean" if row["class"] == "2" else "toxic") for row in table]
    truth = [row.label == "toxic" for row in rows]
    trained = auc(crossed(rows, "toxic"), truth)
    listed = coarse_words.words()
    hits = [sum(word in listed for word in coarse_words.WORD.findall(row.text.lower())) for row in rows]
    return Row(
        what="toxicity, AUC",
        on=f"hate_davidson, {len(rows)} tweets, {FOLDS}-fold",
        value=f"{trained:.3f}",
        bar=">= 0.90",
        reached=trained >= 0.90,
        beside=f"what ships without training, the list of coarse words: {auc(hits, truth):.3f} (tweets that were "
        "gathered by such words: expect less elsewhere)",
    )


def spam(data: Path) -> Row:
    """Unwanted messages against wanted ones, at a probability of one half."""
    lines = text_of(only(data, "sms_spam/*.tsv*")).splitlines()[1:]
    rows = [
        Labelled(text=text, label="clean" if label == "ham" else "spam")
        for label, _, text in (line.partition("\t") for line in lines)
    ]
    truth = [row.label == "spam" for row in rows]
    score = f1([value > 0.5 for value in crossed(rows, "spam")], truth)
    return Row(
        what="spam, F1",
        on=f"sms_spam, {len(rows)} messages, {FOLDS}-fold",
        value=f"{score:.3f}",
        bar=">= 0.93",
        reached=score >= 0.93,
    )


def machine_text(data: Path) -> Row:
    """Machine against human texts; a prompt's two texts are in one fold."""
    rows, groups = [], []
    for path in sorted((data / "ai_text_fastdetect").glob("*.json*")):
        pairs = json_of(path)
        for number, (human, machine) in enumerate(zip(pairs["original"], pairs["sampled"], strict=True)):
            rows += [Labelled(text=human, label="clean"), Labelled(text=machine, label="machine")]
            groups += [f"{path.name.split('_')[0]} {number}"] * 2
    truth = [row.label == "machine" for row in rows]
    phrases = auc([without(row.text)[1] for row in rows], truth)
    trained = auc(crossed(rows, "machine", groups), truth)
    return Row(
        what="machine text, AUC",
        on=f"ai_text_fastdetect, {len(rows)} texts",
        value=f"{phrases:.3f} (boilerplate phrases, which ship)",
        beside=f"a classifier trained on these very generators: {trained:.3f}. The phrases find chat residue, not "
        "fluent machine text; a trained classifier knows its own generators and topics. Neither is a detector.",
    )


def measure(data: Path) -> list[Row]:
    """Three lines."""
    return [toxicity(data), spam(data), machine_text(data)]
