"""Orders the chat model's own answers by ROUGE-L against the summary that the author wrote (preferences.yaml)."""

from typing import Any

from pipeline.evaluate.metrics.rouge_l import rouge_l
from pipeline.evaluate.score import first_line


def score(prompt: list[dict[str, str]], answer: str, row: dict[str, Any]) -> float:
    """F measure, 0 to 1, of the answer's first line; `row` is what `collect` wrote about the prompt."""
    return rouge_l(first_line(answer), row["reference"])
