"""Toxicity, spam and machine text: what ships, and what training on like data gives, each text scored by a model that
was trained on the other four fifths (equal texts in the same fifth)."""

import csv
import io
import tempfile
from collections.abc import Sequence
from pathlib import Path

from datatrove.data import Document

from bench.corpus_data import Row, auc, f1, fold, json_of, only, text_of
from pipeline import text_classifier
from pipeline.corpus.boilerplate import without
from pipeline.corpus.recipe import Safety
from pipeline.corpus.safety import SafetyFilter
from pipeline.corpus.step import Ledger
from pipeline.labelled import Labelled

FOLDS = 5


def crossed(rows: Sequence[Labelled], bad: str, num_folds: int, groups: Sequence[str] | None = None) -> list[float]:
    """The probability of `bad` for each row; rows of one group (default: equal text) are in one fold."""
    folds = [fold(group, num_folds) for group in groups or [row.text for row in rows]]
    found = [0.0] * len(rows)
    with tempfile.TemporaryDirectory() as folder:
        for number in range(num_folds):
            seen = [row for row, its in zip(rows, folds, strict=True) if its != number]
            model = text_classifier.fit(seen, Path(folder) / f"{number}.bin", seed=0)
            for index, row in enumerate(rows):
                if folds[index] == number:
                    found[index] = text_classifier.scores(model, row.text, (bad,))[0]
    return found


def shipped(texts: Sequence[str]) -> tuple[list[float], list[bool]]:
    """(score, whether it is dropped) of each text, by the safety step of a recipe that says nothing about safety."""
    scores, dropped = [], []
    with tempfile.TemporaryDirectory() as folder:
        step = SafetyFilter(Path(folder), Safety(), Ledger(Path(folder), "safety"))
        for text in texts:
            doc = Document(text=text, id="", metadata={})
            dropped.append(step.filter(doc) is not True)
            scores.append(doc.metadata["scores"]["coarse"])
    return scores, dropped


def toxicity(data: Path, num_folds: int) -> list[Row]:
    """Hate and offensive language against neither: trained on such tweets, and as it ships."""
    table = list(csv.DictReader(io.StringIO(text_of(only(data, "hate_davidson/*.csv*")))))
    rows = [Labelled(text=row["tweet"], label="clean" if row["class"] == "2" else "toxic") for row in table]
    truth = [row.label == "toxic" for row in rows]
    trained = auc(crossed(rows, "toxic", num_folds), truth)
    scores, dropped = shipped([row.text for row in rows])
    hits = sum(a and b for a, b in zip(dropped, truth, strict=True))
    default = auc(scores, truth)
    on = f"hate_davidson, {len(rows)} tweets"
    return [
        Row(
            what="toxicity, AUC, trained on labelled text",
            on=f"{on}, {num_folds}-fold",
            value=f"{trained:.3f}",
            bar=">= 0.90",
            reached=trained >= 0.90,
            beside=f"what ships as default, without training: {default:.3f}",
        ),
        Row(
            what="toxicity, AUC, as it ships: the share of coarse words",
            on=on,
            value=f"{default:.3f}",
            beside=f"at its threshold {hits / sum(truth):.3f} of the toxic tweets go, and "
            f"{hits / max(1, sum(dropped)):.3f} of what goes is toxic; one coarse word in a text counts as none. "
            "The tweets were gathered by such words: expect less elsewhere",
        ),
    ]


def spam(data: Path, num_folds: int) -> Row:
    """Unwanted messages against wanted ones, at a probability of one half."""
    lines = text_of(only(data, "sms_spam/*.tsv*")).splitlines()[1:]
    rows = [
        Labelled(text=text, label="clean" if label == "ham" else "spam")
        for label, _, text in (line.partition("\t") for line in lines)
    ]
    truth = [row.label == "spam" for row in rows]
    score = f1([value > 0.5 for value in crossed(rows, "spam", num_folds)], truth)
    return Row(
        what="spam, F1, trained on labelled text",
        on=f"sms_spam, {len(rows)} messages, {num_folds}-fold",
        value=f"{score:.3f}",
        bar=">= 0.93",
        reached=score >= 0.93,
        beside="nothing against spam ships without training",
    )


def machine_text(data: Path, num_folds: int) -> Row:
    """Machine against human texts; a prompt's two texts are in one fold."""
    rows, groups = [], []
    for path in sorted((data / "ai_text_fastdetect").glob("*.json*")):
        pairs = json_of(path)
        for number, (human, machine) in enumerate(zip(pairs["original"], pairs["sampled"], strict=True)):
            rows += [Labelled(text=human, label="clean"), Labelled(text=machine, label="machine")]
            groups += [f"{path.name.split('_')[0]} {number}"] * 2
    truth = [row.label == "machine" for row in rows]
    phrases = auc([without(row.text)[1] for row in rows], truth)
    trained = auc(crossed(rows, "machine", num_folds, groups), truth)
    return Row(
        what="machine text, AUC",
        on=f"ai_text_fastdetect, {len(rows)} texts",
        value=f"{phrases:.3f} (boilerplate phrases, which ship)",
        beside=f"a classifier trained on these very generators: {trained:.3f}. The phrases find chat residue, not "
        "fluent machine text; a trained classifier knows its own generators and topics. Neither is a detector.",
    )


def measure(data: Path, num_folds: int = FOLDS) -> list[Row]:
    """Four lines."""
    return [*toxicity(data, num_folds), spam(data, num_folds), machine_text(data, num_folds)]
