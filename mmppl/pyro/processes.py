"""Processes of a fit on several devices: forked on this machine, or started by torchrun, joined by gloo."""

import os
import signal
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager

import numpy as np
import torch
import torch.distributed as dist

from mmppl.errors import OptionError, TrainingError
from mmppl.inference.threads import ignored_warnings

__all__ = ["Forked", "Together", "check_can_fork", "processes"]

# Seconds for which the others' ends are waited for.
PATIENCE = 30.0
LOOPBACK = {"linux": "lo", "darwin": "lo0"}


class Together:
    """This process among those of a fit.

    Arguments:
        number: Number of processes; 1 for no others.
    """

    def __init__(self, number: int):
        self.number = number
        self.rank = dist.get_rank() if number > 1 else 0

    def shares(self, rows: int, parts: int) -> list[slice]:
        """This process's rows of a batch, in so many parts."""
        size, first = rows // self.number // parts, self.rank * parts
        return [slice(start * size, (start + 1) * size) for start in range(first, first + parts)]

    def add(self, numbers: Sequence[float]) -> np.ndarray:
        """Sums of numbers over all processes, in double precision."""
        total = torch.tensor(np.asarray(numbers, np.float64))
        _all_reduce(total)
        return total.numpy()

    def add_gradients(self, params: Sequence[torch.Tensor]) -> None:
        """Puts sums over all processes in place of gradients; one that no process has stays None."""
        there = self.add([float(p.grad is not None) for p in params])
        own = [p for p, number in zip(params, there, strict=True) if number]
        for p in own:
            p.grad = torch.zeros_like(p) if p.grad is None else p.grad
        for dtype in dict.fromkeys(p.dtype for p in own):
            some = [p for p in own if p.dtype == dtype]
            flat = torch.cat([p.grad.reshape(-1) for p in some])
            _all_reduce(flat)
            for p, grad in zip(some, flat.split([p.numel() for p in some]), strict=True):
                p.grad = grad.reshape(p.shape)


def _all_reduce(tensor: torch.Tensor) -> None:
    try:
        dist.all_reduce(tensor)
    except RuntimeError as error:
        raise TrainingError(
            "Another process of the fit has ended, and this one with it. What was saved before is kept: go on with "
            "resume=True (--resume)."
        ) from error


def processes(number: int) -> AbstractContextManager[int]:
    """Joins so many processes, each of which runs what is within; this one's rank. Forked ones end with the context.

    Arguments:
        number: Number of processes.

    Raises:
        OptionError: If torchrun has started another number, or there can be no processes here.
        TrainingError: If another process ends before its time.
    """
    if dist.is_initialized() or "WORLD_SIZE" in os.environ:
        return _launched(number)
    check_can_fork(number, f" Start {number} processes: torchrun --nproc-per-node {number}.")
    return _forked(number)


@contextmanager
def _forked(number: int) -> Iterator[int]:
    """The same among processes that this one forks."""
    with tempfile.TemporaryDirectory(prefix="mmppl-") as folder:
        forked = Forked(number)
        try:
            _join(number, forked.rank, f"file://{folder}/join")
            yield forked.rank
        except BaseException as error:
            forked.end(error)
            raise
        forked.end(None)


def check_can_fork(number: int, instead: str = "") -> None:
    """Refuses more processes than this machine has cores, or to fork one that cannot be.

    Raises:
        OptionError: With what to do instead.
    """
    if not hasattr(os, "fork") or torch.cuda.is_initialized():
        raise OptionError(f"Expected devices=1 in a process that cannot be forked; got {number}.{instead}")
    cores = os.cpu_count() or 1
    if number > cores:
        raise OptionError(f"Expected devices (--devices) of at most {cores}, the cores of this machine; got {number}.")


@contextmanager
def _launched(number: int) -> Iterator[int]:
    """The same among processes of a launcher."""
    ours = not dist.is_initialized()
    found = int(os.environ.get("WORLD_SIZE", "1")) if ours else dist.get_world_size()
    if found != number:
        raise OptionError(f"Expected devices={found}, as many as there are processes of torchrun; got {number}.")
    if ours:
        dist.init_process_group("gloo")
    try:
        yield dist.get_rank()
    finally:
        if ours:
            dist.destroy_process_group()


def _join(number: int, rank: int, where: str) -> None:
    before = os.environ.get("GLOO_SOCKET_IFNAME")
    os.environ.setdefault("GLOO_SOCKET_IFNAME", LOOPBACK.get(sys.platform, "lo"))
    try:
        dist.init_process_group("gloo", init_method=where, rank=rank, world_size=number)
    finally:
        if before is None:
            del os.environ["GLOO_SOCKET_IFNAME"]


class Forked:
    """Processes that were forked from this one, which is the first of them."""

    def __init__(self, number: int):
        self.rank = 0
        self.children: dict[int, tuple[int, int]] = {}  # process and pipe, by rank
        self.codes: dict[int, int] = {}  # of those that have ended
        sys.stdout.flush()
        sys.stderr.flush()
        for rank in range(1, number):
            read, write = os.pipe()
            with ignored_warnings():  # of threads in this process: of ours none runs, of others none is needed
                child = os.fork()
            if not child:
                os.close(read)
                self.rank, self.told = rank, write
                self.children = {}
                torch.set_num_threads(1)  # threads of the first process are not in this one
                warnings.simplefilter("ignore")  # the first process says them
                return
            os.close(write)
            self.children[rank] = child, read

    def end(self, error: BaseException | None) -> None:
        """Ends the others, or this process if it is not the first.

        Raises:
            TrainingError: If another one has failed.
        """
        if self.rank:
            if error is not None and not isinstance(error.__cause__, RuntimeError):
                os.write(self.told, f"{type(error).__name__}: {error}".encode()[:4000])
            os._exit(error is not None)
        failed = [text for rank in self.children if (text := self._reaped(rank, error))]
        if dist.is_initialized():
            dist.destroy_process_group()
        if failed and (error is None or isinstance(error.__cause__, RuntimeError)):
            raise TrainingError(
                f"{failed[0]}, so all processes of the fit have ended. What was saved before is kept: go on with "
                "resume=True (--resume)."
            ) from error

    def ended(self, rank: int) -> int | None:
        """Exit code of another process, minus the signal where one ended it; None while it runs."""
        if rank not in self.codes:
            found, status = os.waitpid(self.children[rank][0], os.WNOHANG)
            if not found:
                return None
            self.codes[rank] = os.waitstatus_to_exitcode(status)
        return self.codes[rank]

    def _reaped(self, rank: int, error: BaseException | None) -> str | None:
        """Waits for a process, and says how it failed, if it did by itself."""
        child, told = self.children[rank]
        lost = error is not None and isinstance(error.__cause__, RuntimeError)
        end = time.monotonic() + (PATIENCE if error is None else 2.0 if lost else 0.0)
        while (code := self.ended(rank)) is None:
            if time.monotonic() > end:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
                os.close(told)
                return None
            time.sleep(0.01)
        said = os.read(told, 4000).decode(errors="replace")
        os.close(told)
        if code < 0:
            return f"Process {rank + 1} of {len(self.children) + 1} was ended by {signal.Signals(-code).name}"
        return f"Process {rank + 1} of {len(self.children) + 1} failed, {said or 'without a word'}" if code else None
