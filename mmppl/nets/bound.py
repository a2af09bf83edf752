"""A network bound to its name in a program."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

__all__ = ["BoundNet", "evaluated_anew", "evaluated_once", "registered_in", "registered_once"]

_MEMO: ContextVar[dict | None] = ContextVar("mmppl_memo", default=None)
_REGISTERED: ContextVar[dict | None] = ContextVar("mmppl_registered", default=None)


@dataclass(frozen=True)
class BoundNet:
    """A host's network under its name: what ``mm.net`` returns. Call it, and read its attributes, like the network's.

    Arguments:
        name: The name of its parameters in the program.
        module: The host's network, an ``nn.Module`` or an Equinox module.
    """

    name: str
    module: Any

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        memo = _MEMO.get()
        if memo is None:
            return self.module(*args, **kwargs)
        key = (self.name, *(id(arg) for arg in args), *((name, id(arg)) for name, arg in sorted(kwargs.items())))
        if key not in memo:
            # The arguments are kept beside the result, so that their identities stay taken.
            memo[key] = (self.module(*args, **kwargs), args, kwargs)
        return memo[key][0]

    def __getattr__(self, name: str) -> Any:
        """Attributes and methods of the network are read from it; they are not answered from memory."""
        if name.startswith("__") or name == "module":
            raise AttributeError(name)
        return getattr(self.module, name)


@contextmanager
def evaluated_once() -> Iterator[None]:
    """Memoises network calls within the context, by the identity of their arguments.

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
    """Disables the memo of network calls within the context: in loops, whose arguments are always new."""
    token = _MEMO.set(None)
    try:
        yield
    finally:
        _MEMO.reset(token)


@contextmanager
def registered_in(memory: dict) -> Iterator[None]:
    """Registers the weights of a network with the host once within the context; ``memory`` holds what that gave."""
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
