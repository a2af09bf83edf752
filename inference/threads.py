"""Threads and handlers: both hosts keep one stack of handlers for the process, so programs run one at a time."""

import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import wraps
from inspect import isfunction
from typing import ParamSpec, TypeVar

from mmppl.errors import OptionError, ThreadError

__all__ = ["OneAtATime", "ignored_warnings"]

P = ParamSpec("P")
T = TypeVar("T")

WHY = (
    "Another thread ran a program of {host} by the host's own means meanwhile, whose handlers are one stack for all "
    "threads, so that neither result could be trusted. Run such programs in one thread, or in processes; mmppl's own "
    "functions may be called from any number of threads."
)
WITHIN = (
    "Expected mmppl's functions outside handlers of {host}; got one within {names}, which would change its result. Put "
    "handlers around a model or guide, not around what mmppl does with it; where they are another thread's, run such "
    "programs in one thread, or in processes."
)
# Handlers that change no result of mmppl's, whose draws are of its own seeds.
HARMLESS = {"seed", "block", "trace", "SeedMessenger", "BlockMessenger", "TraceMessenger"}

_FILTERS = threading.RLock()


@contextmanager
def ignored_warnings(category: type[Warning] = Warning) -> Iterator[None]:
    """Ignores warnings of a category within; Python's filters are the process's, so threads take turns."""
    with _FILTERS, warnings.catch_warnings():
        warnings.simplefilter("ignore", category)
        yield


class OneAtATime:
    """Runs functions that run a host's programs one at a time, whichever thread they are called from.

    A function may call another. A caller's handlers do not reach into it: those that would change what it does are
    refused. What a user runs in handlers of their own cannot wait for its turn, as these handlers
    are then already on the stack of the thread before it; so it is refused, and the one before it fails as well.

    Arguments:
        host: The host's name, for messages.
        stack: Its stack of handlers.
        context: A context for every function called from outside.

    Example:
        >>> alone = OneAtATime("a host", [])
        >>> alone(max)(1, 2)
        2
    """

    def __init__(
        self, host: str, stack: list, context: Callable[[], AbstractContextManager[None]] = nullcontext
    ) -> None:
        self.host, self.stack, self.context = host, stack, context
        self.lock = threading.RLock()
        self.depth = 0
        self.disturbed = False

    def __call__(self, fn: Callable[P, T]) -> Callable[P, T]:
        """The function, which waits until no other runs.

        Raises:
            OptionError: From the function, if it is called within handlers.
        """
        return self._waiting(fn, refused=True)

    def in_programs(self, fn: Callable[P, T]) -> Callable[P, T]:
        """As :meth:`__call__`, of a function that only makes or reads programs, so that a program may call it."""
        return self._waiting(fn, refused=False)

    def _waiting(self, fn: Callable[P, T], refused: bool) -> Callable[P, T]:
        @wraps(fn)
        def waiting(*args: P.args, **kwargs: P.kwargs) -> T:
            with self.lock:
                if self.depth:
                    with self._watched():
                        return fn(*args, **kwargs)
                names = [type(handler).__name__ for handler in self.stack]
                if refused and not HARMLESS.issuperset(names):
                    named = ", ".join(dict.fromkeys(names))
                    raise OptionError(WITHIN.format(host=self.host, names=named))
                with self._without_handlers(), self._watched(), self.context():
                    return fn(*args, **kwargs)

        return waiting

    @contextmanager
    def _without_handlers(self) -> Iterator[None]:
        """Context manager that takes the caller's handlers off the stack."""
        held, self.stack[:] = list(self.stack), []
        try:
            yield
        finally:
            self.stack[:0] = held

    def methods(self, cls: type[T]) -> type[T]:
        """The class, whose methods wait until no other function runs."""
        for name, fn in list(vars(cls).items()):
            if isfunction(fn) and (name == "__init__" or not name.startswith("_")):
                setattr(cls, name, self(fn))
        return cls

    def within_handlers(self, fn: Callable[P, T]) -> Callable[P, T]:
        """The function, which is called in a user's own handlers: it does not wait.

        Raises:
            ThreadError: From the function, if another thread runs one meanwhile.
        """

        @wraps(fn)
        def at_once(*args: P.args, **kwargs: P.kwargs) -> T:
            if not self.lock.acquire(blocking=False):
                self.disturbed = True
                raise ThreadError(WHY.format(host=self.host))
            try:
                with self._watched():
                    return fn(*args, **kwargs)
            finally:
                self.lock.release()

        return at_once

    @contextmanager
    def _watched(self) -> Iterator[None]:
        """Watches, while it is held, that no other thread comes between."""
        self.depth += 1
        outermost = self.depth == 1
        if outermost:
            self.disturbed = False
        before = list(self.stack)
        try:
            yield
        except Exception as error:
            if outermost and self._is_disturbed(before):
                raise ThreadError(WHY.format(host=self.host)) from error
            raise
        else:
            if outermost and self._is_disturbed(before):
                raise ThreadError(WHY.format(host=self.host))
        finally:
            self.depth -= 1

    def _is_disturbed(self, before: list) -> bool:
        now = list(self.stack)
        return self.disturbed or len(now) != len(before) or any(a is not b for a, b in zip(now, before, strict=True))
