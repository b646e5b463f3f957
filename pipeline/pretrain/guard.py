"""Guards: what is wrong with a step, told before its update could spoil the weights."""

import math
from collections import deque
from collections.abc import Sequence

WINDOW = 128  # losses that a new one is held against; with fewer there is no judging yet
SIGMAS = 6.0
MAX_IN_A_ROW = 3  # steps whose loss or gradient is no number, then the run stops

NOT_FINITE = "not finite"
SPIKE = "spike"


class Guard:
    """Judges each step by its loss and its gradient's norm. `losses` are those of the last steps, oldest first.

    A spike is a loss more than six standard deviations above the mean of the last 128: the rule of OLMo-core's
    optim/skip_step_optimizer.py. It joins the window all the same: where the text becomes harder for good, four steps
    are left out until the new level is an ordinary one.
    """

    def __init__(self, losses: Sequence[float] = ()) -> None:
        self.losses = deque(losses, maxlen=WINDOW)

    def fault(self, loss: float, gradient_norm: float) -> str | None:
        """NOT_FINITE, SPIKE, or None where the update may be made. loss: nats per token of the whole batch."""
        if not math.isfinite(loss) or not math.isfinite(gradient_norm):
            return NOT_FINITE
        spike = len(self.losses) == WINDOW and loss > self.highest()
        self.losses.append(loss)
        return SPIKE if spike else None

    def highest(self) -> float:
        """The largest loss that is no spike."""
        mean = math.fsum(self.losses) / len(self.losses)
        return mean + SIGMAS * math.sqrt(math.fsum((loss - mean) ** 2 for loss in self.losses) / len(self.losses))


def stuck(steps: Sequence[int]) -> bool:
    """Whether the last of these steps were MAX_IN_A_ROW ones, each after the other."""
    last = list(steps[-MAX_IN_A_ROW:])
    return len(last) == MAX_IN_A_ROW and last[-1] - last[0] == MAX_IN_A_ROW - 1
