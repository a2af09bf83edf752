"""A network bound to its name in a program."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

__all__ = ["BoundNet", "another_run", "evaluated_anew", "evaluated_once", "registered_in", "registered_once"]

_MEMO: ContextVar[dict | None] = ContextVar("mmppl_memo", default=None)
_CALLS = "calls of this run"
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
        leaves: list[Any] = []
        asked = (self.name, _identity((args, sorted(kwargs.items())), leaves))
        # A program may call a network of dropout twice, for two outcomes; its runs have the same two.
        calls = memo.setdefault(_CALLS, {})
        number = calls[asked] = calls.get(asked, 0) + 1
        key = (*asked, number)
        if key not in memo:
            # The arguments are kept beside the result, so that their identities stay taken.
            memo[key] = (self.module(*args, **kwargs), leaves)
        return memo[key][0]

    def __getattr__(self, name: str) -> Any:
        """Attributes and methods of the network are read from it; they are not answered from memory."""
        if name.startswith("__") or name == "module":
            raise AttributeError(name)
        return getattr(self.module, name)

    def __getitem__(self, place: Any) -> Any:
        """A part of the network, as of a sequence of layers."""
        return self.module[place]

    def __len__(self) -> int:
        """Number of the network's parts."""
        return len(self.module)

    def __bool__(self) -> bool:
        """A network is one, however many parts it has."""
        return True


def _identity(x: Any, leaves: list[Any]) -> Any:
    """Identity of an argument, container by container; torch counts what is written into a tensor in place."""
    if isinstance(x, list | tuple):
        return type(x), *(_identity(part, leaves) for part in x)
    if isinstance(x, dict):
        return dict, *((name, _identity(part, leaves)) for name, part in x.items())
    leaves.append(x)
    try:
        return id(x), getattr(x, "_version", None)
    except RuntimeError:  # a tensor of inference mode, which has no count
        return id(x), None


@contextmanager
def evaluated_once() -> Iterator[None]:
    """Memoises network calls within the context, by the identity of their arguments.

    An objective asks the guide about many subsets of the same batch; each encoder then runs once, forward and
    backward, and its weights become parameters of the host once. Calls within one run of a program are each their own;
    see :func:`another_run`.
    """
    token = _MEMO.set({})
    known = _REGISTERED.get()
    try:
        with registered_in({} if known is None else known):
            yield
    finally:
        _MEMO.reset(token)


def another_run() -> None:
    """Begins a run of a program, whose first call of a network is answered as that of the runs before, and so on."""
    memo = _MEMO.get()
    if memo is not None:
        memo.pop(_CALLS, None)


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
