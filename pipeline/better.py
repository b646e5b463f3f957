"""Which way a metric of the evaluation is better: the one place where it is known."""

import re
from typing import Literal

Word = Literal["better", "worse", "higher", "lower", "within noise"]

HIGHER = (
    "wishes_met", "gold", "well_formed", "rouge_l", "reward", "win_rate", "judged_win_rate", "judge_agreement",
    "instructions_followed", "checks_followed", "refused",
    "acc", "exact_match", "f1", "bleu", "mcc", "preference_accuracy",
)  # fmt: skip
LOWER = (
    "bits_per_byte", "perplexity", "word_perplexity", "byte_perplexity", "calibration_error", "brier_score", "ter",
    "toxic", "toxicity", "over_refused", "verbatim_words",
)  # fmt: skip


def sense(metric: str, over: str = "") -> int:
    """1 where higher is better, -1 where lower is, 0 where neither is, as of a length, or where it is not known.

    A metric may have more words behind its name (a source, a judge, a filter of the harness), and that of a benchmark
    has the benchmark's, `over`, in front.
    """
    benchmark = re.sub(r"\W+", "_", over.lower()).strip("_")
    name = metric.removeprefix(f"{benchmark}_") if over else metric
    for names, way in ((HIGHER, 1), (LOWER, -1)):
        if any(name == known or name.startswith(f"{known}_") for known in names):
            return way
    return 0


def word(low: float, high: float, way: int) -> Word:
    """What a difference with the 95 % interval [low, high] is, of a metric whose `sense` is way."""
    if low <= 0 <= high:
        return "within noise"
    if way == 0:
        return "higher" if low > 0 else "lower"
    return "better" if (low > 0) == (way > 0) else "worse"
