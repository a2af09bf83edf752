"""A program's weights: found by running it, named, and given back to it, in a store of their own."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import pyro
import torch
from pyro import poutine

from mmppl.batch import Batch
from mmppl.pyro.posterior import seeded
from mmppl.pyro.primitives import as_batch, own_modules

__all__ = ["CHAINS", "Store", "bind", "load_buffers", "public", "register"]

CHAINS = "chains"


class Store:
    """Parameters and networks of a fit's own, so that fits meet neither in Pyro's global store nor in a program."""

    def __init__(self) -> None:
        self.state: dict = {"params": {}, "constraints": {}}
        self.modules: dict[str, torch.nn.Module] = {}

    @contextmanager
    def open(self) -> Iterator[None]:
        with pyro.get_param_store().scope(self.state), own_modules(self.modules):
            yield


def bind(program: Any, weights: Mapping[str, np.ndarray], batch: Batch) -> tuple[Callable, Callable]:
    """The program's model and guide with these weights: ordinary Pyro callables with a store of their own."""
    store = Store()
    with store.open(), seeded(0):
        register(program, batch)
        with torch.no_grad():
            for name, value in pyro.get_param_store().items():
                given = torch.tensor(np.asarray(weights[public(name)]))
                if "$$$" in name:
                    value.copy_(given)
                else:
                    pyro.get_param_store()[name] = given
        for name, module in store.modules.items():
            load_buffers(module, weights, name)
            module.eval()

    def within(fn: Callable) -> Callable:
        def bound(*args: Any, **kwargs: Any) -> Any:
            with store.open():
                return fn(*args, **kwargs)

        return bound

    return within(program.model), within(program.guide)


def register(program: Any, batch: Batch) -> None:
    """Runs the guide and the model once, so that every parameter and network is in the store."""
    batch = as_batch(batch[:1])
    with torch.no_grad():
        trace = poutine.trace(program.guide).get_trace(batch)
        poutine.trace(poutine.replay(program.model, trace=trace)).get_trace(batch)


def load_buffers(module: Any, weights: Mapping[str, np.ndarray], name: str) -> None:
    """Buffers of a module, the chains of an energy among them, which it has only once it was trained."""
    if f"{name}.{CHAINS}" in weights:
        module.register_buffer(CHAINS, torch.tensor(weights[f"{name}.{CHAINS}"]))


def public(name: str) -> str:
    """The name of a parameter that both hosts share."""
    return name.replace("$$$", ".")
