"""On every machine but the first: takes part in a stage when the driver on the first has come to it.

    python -m pipeline.cluster.follow pretrain --recipe storyworld --runs /runs --hosts 10.0.0.1,10.0.0.2 --rank 1

Waits on the shared storage for the driver's claim of this stage, saying so now and then, and then starts this
machine's share (pipeline.cluster.node). Ends at once where the artifact is sealed already, and with an error where
nothing came in --patience seconds: the stages before this one take their time.
"""

import argparse
import math
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from pipeline import artifact
from pipeline.chain import CHAIN
from pipeline.cluster import node
from pipeline.cluster.jobs import sealed
from pipeline.recipe import load
from pipeline.run import Plan, plan
from pipeline.stage import UserError

POLL = 2.0  # seconds
SAYS = 300.0  # seconds between two words about what is waited for


def wait(todo: Plan, patience: float) -> bool:
    """Waits until the driver has claimed the stage; False where the artifact is there. Raises UserError."""
    started, said = time.monotonic(), -math.inf
    while artifact.claimed(todo.folder) != todo.fingerprint:
        if sealed(todo):
            return False
        now = time.monotonic()
        if now - started > patience:
            raise UserError(
                f"{todo.run.name}/{todo.stage.name}: waited {patience:.0f} s for the driver to come to this stage "
                f"({todo.folder / artifact.CLAIM}). Is it running on the first machine, with the same recipe and "
                f"storage? --patience gives it longer."
            )
        if now - said >= SAYS:
            sys.stderr.write(f"[{todo.run.name}/{todo.stage.name}] waits for the driver on the first machine\n")
            sys.stderr.flush()
            said = now
        time.sleep(POLL)
    return True


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m pipeline.cluster.follow", description=str(__doc__).splitlines()[0]
    )
    parser.add_argument("stage", choices=[stage.name for stage in CHAIN if stage.distributed])
    parser.add_argument("--recipe", default="storyworld")
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--patience", type=float, default=86_400.0, help="seconds to wait for the driver: a day")
    args, rest = parser.parse_known_args(argv)
    try:
        run = load(args.recipe, CHAIN)
        if run.owner(args.stage) is None:
            raise UserError(f"{run.name} leaves '{args.stage}' out: there is nothing to take part in.")
        todo = plan(args.stage, run, args.runs)
        found = wait(todo, args.patience)
    except UserError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    return node.main([str(todo.folder), *rest]) if found else 0


if __name__ == "__main__":
    sys.exit(main())
