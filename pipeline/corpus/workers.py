"""Tasks in several processes, any of which may die: killed where memory runs out, or by a crash inside a library.

The pool that datatrove's local executor uses waits forever for the task of a worker that died. So here each worker has
a pipe of its own, and its death is an answer too: one message that names the task and the file that it was reading.
"""

import signal
from collections import deque
from contextlib import suppress
from copy import deepcopy
from multiprocessing.pool import ExceptionWithTraceback  # type: ignore[attr-defined]
from pathlib import Path
from typing import Any

import multiprocess
from datatrove.executor.local import LocalPipelineExecutor

from pipeline.corpus.step import reading
from pipeline.stage import UserError

END = 10.0  # seconds that a worker has to end when it is told to


def work(executor: LocalPipelineExecutor, pipe: Any) -> None:
    """A worker: runs the tasks whose numbers come through the pipe until None does, and answers each."""
    pipeline = executor.pipeline
    while (rank := received(pipe)) is not None:
        executor.pipeline = deepcopy(pipeline)  # as datatrove does: a step's statistics are one task's
        try:
            executor._run_for_rank(rank)
        except Exception as error:  # noqa: BLE001 - raised again by `run`
            pipe.send(ExceptionWithTraceback(error, error.__traceback__))
        else:
            pipe.send(None)


def received(pipe: Any) -> int | None:
    """The next task; None also where the stage itself is gone."""
    try:
        return pipe.recv()
    except EOFError:
        return None


def run(executor: LocalPipelineExecutor, ranks: list[int], workers: int, folder: Path, what: str) -> None:
    """Runs these tasks. Raises what a task raises, and UserError where a worker dies; all workers end then.

    folder: where datatrove marks the tasks that are completed.
    """
    # Spawned workers are children of this process, so their CPU time and memory count in the manifest; those of
    # datatrove's default, a fork server, do not. `multiprocess` pickles steps that multiprocessing cannot.
    context = multiprocess.get_context("spawn")
    crew: list[Any] = []
    busy: dict[Any, tuple[Any, int]] = {}  # busy: the pipe of each worker that has a task -> the worker and the task
    waiting = deque(ranks)
    try:
        while waiting and len(crew) < workers:
            pipe, theirs = context.Pipe()
            process = context.Process(target=work, args=(executor, theirs), daemon=True)
            process.start()
            theirs.close()  # so that the pipe ends with the worker
            crew.append(process)
            busy[pipe] = process, waiting.popleft()
            send(pipe, busy[pipe][1])
        while busy:
            for pipe in multiprocess.connection.wait(list(busy)):
                process, rank = busy.pop(pipe)
                answer(pipe, process, rank, folder, what)
                following = waiting.popleft() if waiting else None
                send(pipe, following)
                if following is not None:
                    busy[pipe] = process, following
        for process in crew:
            process.join(END)
    finally:
        for process in crew:
            process.terminate()
            process.join()


def send(pipe: Any, rank: int | None) -> None:
    """Gives a worker its next task. That it is dead shows when its answer is waited for."""
    with suppress(ConnectionError):
        pipe.send(rank)


def answer(pipe: Any, process: Any, rank: int, folder: Path, what: str) -> None:
    """Takes a worker's answer: nothing, the task's exception, which is raised, or none, since the worker died."""
    try:
        error = pipe.recv()
    except (EOFError, ConnectionError):
        process.join()
        raise UserError(died(process.exitcode, rank, folder, what)) from None
    if error is not None:
        raise error


def died(status: int, rank: int, folder: Path, what: str) -> str:
    """What is said of a worker's death."""
    note = reading(folder, rank)
    file = f" while it read {note.read_text(encoding='utf-8')}" if note.exists() else ""
    cause = f"by {signal.Signals(-status).name}" if status < 0 else f"with status {status}"
    mend = "A library crashed: take that file out of its source, or report it to the library"
    if status == -signal.SIGKILL:
        mend = "So ends what takes more memory than there is: free some, or lower workers in corpus.yaml"
    return f"{what}: the process of task {rank} died ({cause}){file}. {mend}. Finished tasks are not done again."
