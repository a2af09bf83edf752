"""Tasks for rows of data, shared out among processes of this machine."""

import os
import tempfile
import time
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from signal import SIGKILL, Signals

import numpy as np

from mmppl.errors import InferenceError
from mmppl.pyro.processes import Forked, check_can_fork

__all__ = ["on_devices"]

Task = Callable[[], dict[str, np.ndarray]]
PATIENCE = 0.005  # seconds between looks for a result


def on_devices(number: int, tasks: Sequence[Task]) -> Generator[dict[str, np.ndarray], None, None]:
    """Runs tasks in so many processes, this one among them, and gives their arrays by name in the order of the tasks.

    Processes are forked; each takes every so many-th task, and hands its arrays over in a file.

    Arguments:
        number: Number of processes.
        tasks: The tasks.

    Raises:
        OptionError: If there can be no such processes here.
        InferenceError: If one is ended from outside.
    """
    used = min(number, max(len(tasks), 1))
    if number > 1:
        check_can_fork(number)
    return _alone(tasks) if used == 1 else _together(used, tasks)


def _alone(tasks: Sequence[Task]) -> Generator[dict[str, np.ndarray], None, None]:
    for task in tasks:
        yield task()


def _together(number: int, tasks: Sequence[Task]) -> Generator[dict[str, np.ndarray], None, None]:
    with tempfile.TemporaryDirectory(prefix="mmppl-") as folder:
        forked = Forked(number)
        if forked.rank:
            _run(forked, Path(folder), number, tasks)
        try:
            for i, task in enumerate(tasks):
                rank = i % number
                found = None if rank == 0 else _received(forked, rank, number, Path(folder) / str(i))
                # What a process has failed at fails here in the same way, and says so.
                yield task() if found is None else found
        finally:
            _end(forked)


def _run(forked: Forked, folder: Path, number: int, tasks: Sequence[Task]) -> None:
    """Runs the tasks of a process that was forked, which then ends."""
    failed: BaseException | None = None
    try:
        for i in range(forked.rank, len(tasks), number):
            found = tasks[i]()
            part = folder / f"{i}.part"
            with part.open("wb") as file:
                np.savez(file, np.array(list(found), np.str_), *found.values())
            part.replace(folder / str(i))
    except BaseException as error:
        failed = error
    forked.end(failed)


def _received(forked: Forked, rank: int, number: int, file: Path) -> dict[str, np.ndarray] | None:
    """Arrays of a task of another process; None if that has failed at it."""
    while not file.exists():
        ended = forked.ended(rank)
        if ended is not None and not file.exists():
            if ended < 0:
                raise InferenceError(
                    f"Process {rank + 1} of {number} was ended by {Signals(-ended).name}, and the others with it. See "
                    "that memory suffices for as many processes, and call it again."
                )
            return None
        time.sleep(PATIENCE)
    with np.load(file, allow_pickle=False) as arrays:
        names, *rest = (arrays[key] for key in arrays.files)
    file.unlink()
    return dict(zip(names.tolist(), rest, strict=True))


def _end(forked: Forked) -> None:
    """Ends the processes that were forked and are not over."""
    for rank, (child, told) in forked.children.items():
        if forked.ended(rank) is None:
            os.kill(child, SIGKILL)
            os.waitpid(child, 0)
        os.close(told)
