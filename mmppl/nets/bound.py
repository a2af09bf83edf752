"""A network bound to its name in a program."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

__all__ = ["BoundNet", "detached", "evaluated_anew", "evaluated_once", "registered_in", "registered_once"]

_MEMO: ContextVar[dict | None] = ContextVar("mmppl_memo", default=None)
_REGISTERED: ContextVar[dict | None] = ContextVar("mmppl_registered", default=None)
_DETACH: ContextVar[Callable | None] = ContextVar("mmppl_detach", default=None)


@dataclass(frozen=True)
class BoundNet:
    """A host's network under its name: what ``mm.net`` returns. Call it like the network.

    Arguments:
        name: The name of its parameters in the program.
        module: The host's network, an ``nn.Module`` or an Equinox module.
    """

    name: str
    module: Any

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        memo, detach = _MEMO.get(), _DETACH.get()
        if memo is None:
            out = self.module(*args, **kwargs)
        else:
            key = (self.name, *map(id, args), *((name, id(value)) for name, value in kwargs.items()))
            if key not in memo:
                # The arguments are kept beside the result, so that their identities stay taken.
                memo[key] = (self.module(*args, **kwargs), args, kwargs)
            out = memo[key][0]
        return out if detach is None else detach(out)


@contextmanager
def evaluated_once() -> Iterator[None]:
    """Within, a network called again on the very same arrays answers from memory.

    An objective asks the guide about many subsets of the same batch; each encoder then runs once, forward and
    backward, and its weights become parameters of the host once.
    """
    token = _MEMO.set({})
    known = _REGISTERED.get()
    try:
        with registered_in({} if known is None else known):
            yield
    finally:
        _MEMO.reset(token)


@contextmanager
def evaluated_anew() -> Iterator[None]:
    """Within, networks forget what they were called on: where a loop calls them on ever other arrays."""
    token = _MEMO.set(None)
    try:
        yield
    finally:
        _MEMO.reset(token)


@contextmanager
def registered_in(memory: dict) -> Iterator[None]:
    """Within, the weights of a network become parameters of the host once; ``memory`` holds what that gave."""
    token = _REGISTERED.set(memory)
    try:
        yield
    finally:
        _REGISTERED.reset(token)


def registered_once(name: str, module: Any, register: Callable[[str, Any], Any]) -> Any:
    """``register(name, module)``, or what it gave before within :func:`registered_in`."""
    memory = _REGISTERED.get()
    if memory is None:
        return register(name, module)
    key = (name, id(module))
    if key not in memory:
        # The module is kept beside the result, so that its identity stays taken.
        memory[key] = (register(name, module), module)
    return memory[key][0]


@contextmanager
def detached(stop_gradient: Callable) -> Iterator[None]:
    """Within, what networks return carries no gradient to their parameters."""
    token = _DETACH.set(stop_gradient)
    try:
        yield
    finally:
        _DETACH.reset(token)
