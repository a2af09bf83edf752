"""Networks in bfloat16, on Pyro, by torch's autocast: what they return is in single precision again."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from pyro.nn import PyroModule
from torch.nn import Module
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.utils._pytree import tree_map_only

__all__ = ["in_bfloat16"]

_CALLS: ContextVar["_Calls | None"] = ContextVar("mmppl_bfloat16", default=None)


class _Calls:
    """Calls of modules under way: the outermost one is autocast, unless it is a program."""

    def __init__(self) -> None:
        self.modules: list[Module] = []
        self.cast: Any = None
        self.seen = False

    def begin(self, module: Module) -> None:
        if not self.modules:
            if isinstance(module, PyroModule):
                return
            device = next((p.device.type for p in module.parameters()), "cpu")
            self.cast = torch.autocast(device, dtype=torch.bfloat16)
            self.cast.__enter__()
            self.seen = True
        self.modules.append(module)

    def end(self, module: Module, output: Any) -> Any:
        if not self.modules or self.modules[-1] is not module:
            return output
        self.modules.pop()
        if self.modules:
            return output
        self.cast.__exit__(None, None, None)
        return tree_map_only(torch.Tensor, _single, output)


def _single(x: torch.Tensor) -> torch.Tensor:
    return x.float() if x.dtype == torch.bfloat16 else x


@contextmanager
def in_bfloat16() -> Iterator["_Calls"]:
    """Takes products of networks in bfloat16 within the context, whatever called them.

    A module of Pyro's own, which is a part of a program, is not a network; those within it are.

    Yields:
        An object whose ``seen`` tells whether there was a network.
    """
    calls = _Calls()

    def before(module: Module, _: Any) -> None:
        # A hook is the whole process's, where another thread may be training.
        if _CALLS.get() is calls:
            calls.begin(module)

    def after(module: Module, _: Any, output: Any) -> Any:
        return calls.end(module, output) if _CALLS.get() is calls else output

    token = _CALLS.set(calls)
    hooks = register_module_forward_pre_hook(before), register_module_forward_hook(after)
    try:
        yield calls
    finally:
        if calls.modules:  # what a network raised has left it under way
            calls.cast.__exit__(None, None, None)
        for hook in hooks:
            hook.remove()
        _CALLS.reset(token)
