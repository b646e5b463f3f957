"""Expected calibration error as an `evaluate.Metric` that needs no network: how far confidence is from being right.

Guo et al. 2017, "On Calibration of Modern Neural Networks", equation 3: predictions are put into bins of equal width
by their confidence; the error is the mean over predictions of |share right - mean confidence| of their bin.
Use: `CalibrationError(keep_in_memory=True).compute(predictions=[confidence, ..], references=[1 or 0, ..])`.
"""

import datasets
import evaluate
import numpy as np

NUM_BINS = 10


def calibration_error(confidence: np.ndarray, right: np.ndarray, num_bins: int = NUM_BINS) -> np.ndarray:
    """The error of each row of (.., N) confidences in [0, 1] and of as many rights and wrongs, 1 and 0.

    Bins are open below and closed above, as in the paper; a confidence of 0 falls into the first.
    """
    bins = np.searchsorted(np.arange(1, num_bins) / num_bins, confidence, side="left")
    gap = right - confidence
    # |bin's share| x |mean right - mean confidence| is |sum of the gaps in the bin| / N.
    sums = np.stack([np.where(bins == number, gap, 0.0).sum(axis=-1) for number in range(num_bins)])
    return np.abs(sums).sum(axis=0) / confidence.shape[-1]


class CalibrationError(evaluate.Metric):
    """compute() gives {"calibration_error": in [0, 1]}."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=f"Expected calibration error over {NUM_BINS} bins of equal width.",
            citation="Guo et al. 2017, On Calibration of Modern Neural Networks.",
            inputs_description="predictions: confidences in [0, 1]; references: 1 where it is right, or 0.",
            features=datasets.Features(
                {"predictions": datasets.Value("float64"), "references": datasets.Value("int32")}
            ),
        )

    def _compute(self, predictions: list[float], references: list[int]) -> dict[str, float]:
        confidence, right = np.asarray(predictions, dtype=np.float64), np.asarray(references, dtype=np.float64)
        if ((confidence < 0) | (confidence > 1)).any() or not np.isin(right, (0, 1)).all():
            raise ValueError("calibration_error: predictions must be confidences in [0, 1], references 0 or 1")
        return {"calibration_error": float(calibration_error(confidence, right))}
