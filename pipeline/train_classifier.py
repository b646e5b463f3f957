"""Trains one fastText classifier in a process of its own: `python -m pipeline.train_classifier IN OUT SEED`.

With one thread fastText 0.9.2 fills only the first tenth of its input matrix with the seeded start values; the rest is
whatever the memory held (its own `DenseMatrix::uniform`), so a second training in one process starts from the first
one's weights. In a fresh process, and with every large block mapped anew (MALLOC_MMAP_THRESHOLD_, set by `train`), the
rest is zero: equal rows give equal bytes, and words seen in training still start at random.
"""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def train(lines: Path, model: Path, seed: int) -> None:
    """Trains on fastText's own format and writes the model. Raises RuntimeError with what fastText said."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, "-m", "pipeline.train_classifier", str(lines), str(model), str(seed)],
        env={**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536", "PYTHONPATH": path},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        raise RuntimeError(f"fastText failed with status {done.returncode}: {done.stderr[-2000:]}")


def main(lines: str, model: str, seed: str) -> None:
    """The training itself."""
    import fasttext

    fasttext.train_supervised(
        lines, minn=3, maxn=5, wordNgrams=2, dim=16, lr=0.3, epoch=20, bucket=100_000,
        thread=1, seed=int(seed), verbose=0,
    ).save_model(model)  # fmt: skip


if __name__ == "__main__":
    main(*sys.argv[1:])
