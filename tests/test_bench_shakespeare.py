"""The one scoring function that both sides of `python -m bench.shakespeare` are measured by."""

import math

import pytest
import torch

from bench.shakespeare import WINDOW, score


def test_a_model_that_knows_nothing_pays_the_logarithm_of_its_vocabulary():
    assert score(lambda rows: torch.zeros(*rows.shape, 65), [3] * 1000) == pytest.approx(math.log(65))


def test_windows_do_not_overlap_and_each_token_is_predicted_from_those_before_it_in_its_own():
    seen: list[torch.Tensor] = []

    def follows(rows: torch.Tensor) -> torch.Tensor:
        """Sure that each token is one more than the one before."""
        seen.append(rows)
        return 50.0 * torch.nn.functional.one_hot(rows + 1, 500).float()

    ids = list(range(3 * WINDOW + 10))
    assert score(follows, ids) == pytest.approx(0.0, abs=1e-6)
    assert torch.cat(seen).flatten().tolist() == ids[: 3 * WINDOW], "each token once, what is left over not at all"
    assert score(follows, ids[::-1]) > 10.0
