"""A program's weights: found by running it, named, and given back to it, in a store of their own."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np
import pyro
import torch
from pyro import poutine
from pyro.nn import PyroModule
from torch.distributions import transform_to

from mmppl._backend.torch import BACKEND
from mmppl.batch import Batch
from mmppl.errors import OptionError
from mmppl.inference.shipped import is_shipped, mark_shipped
from mmppl.nets.bound import registered_in
from mmppl.nets.transfer import check_arrays
from mmppl.pyro.autoguides import check_amortized
from mmppl.pyro.networks import DIVIDER, Apart, buffers_of, evaluated, given_by_host, load, load_parts, originals
from mmppl.pyro.posterior import seeded
from mmppl.pyro.primitives import as_batch, own_modules
from mmppl.pyro.threads import alone

__all__ = ["Store", "array", "bind", "public"]


class Store:
    """Parameters and networks of a fit's own, so that fits meet neither in Pyro's global store nor in a program.

    Networks that a program gives to ``pyro.module`` itself, not to ``mm.net``, stay the program's: ``shared``. So do
    the parts of Pyro's own modules that keep buffers: ``parts``, beside the beginning of their names.
    """

    def __init__(self) -> None:
        self.state: dict = {"params": {}, "constraints": {}}
        self.modules: dict[str, torch.nn.Module] = {}
        self.shared: dict[str, torch.nn.Module] = {}
        self.parts: list[tuple[str, PyroModule]] = []  # with the beginning of their public names
        self.theirs: dict[int, torch.nn.Module] = {}  # every module that is the program's, by ``id``
        self.apart: Apart | None = None
        self.known: dict = {}  # networks whose parameters the store has; to ask it again takes a tenth of a step

    @property
    def networks(self) -> dict[str, torch.nn.Module]:
        """All networks by name."""
        return {**self.shared, **self.modules}

    @contextmanager
    def open(self) -> Iterator[None]:
        if self.apart is None:
            originals()
        with self.apart or nullcontext(), pyro.get_param_store().scope(self.state), own_modules(self.modules):
            yield

    def set_apart(self) -> None:
        """Gives the program's modules weights of this store's own while it is open, which no other fit moves."""
        self.apart = apart = Apart(self.theirs.values())
        self.state["params"] = {name: apart.copies.get(id(x), x) for name, x in self.state["params"].items()}

    def register(self, program: Any, batch: Batch) -> None:
        """Runs the guide and the model once, so that every parameter and network is in the store; nothing moves.

        Raises:
            OptionError: If a network makes parameters when it is called, or two arrays have one name.
        """
        batch = as_batch(batch[:1])
        with self.open(), torch.no_grad(), evaluated(restore_buffers=True) as met, registered_in(self.known):
            trace = poutine.trace(program.guide).get_trace(batch)
            poutine.trace(poutine.replay(program.model, trace=trace)).get_trace(batch)
        params = self.state["params"]
        self.shared = given_by_host(met.values(), params, self.modules)
        found = [part for part in met.values() if isinstance(part, PyroModule) and part._buffers]
        self.parts = [(f"{part._pyro_name}.".lstrip("."), part) for part in found]
        ours = {id(part) for network in self.modules.values() for part in network.modules()}
        roots = [part for part in (program.model, program.guide) if isinstance(part, torch.nn.Module)]
        every = (part for root in (*met.values(), *self.shared.values(), *roots) for part in root.modules())
        self.theirs = {id(part): part for part in every if id(part) not in ours}
        for name, module in self.modules.items():
            late = [n for n, p in module.named_parameters() if p.requires_grad and f"{name}{DIVIDER}{n}" not in params]
            if late:
                raise OptionError(
                    f"Network '{name}' makes {late[:3]} when it is called, so that Pyro cannot know them. Call it once "
                    "on an example, before the program."
                )
        names = Counter(map(public, params))
        names.update(
            f"{name}.{path}" for name, network in self.networks.items() for path in buffers_of(name, network, params)
        )
        names.update(f"{part._pyro_name}.{buffer}".lstrip(".") for part in found for buffer in part._buffers)
        twice = [name for name, number in names.items() if number > 1]
        if twice:
            raise OptionError(f"Expected a name of its own for every array; got {twice[:3]} twice. Rename a network.")

    def buffers(self) -> dict[str, np.ndarray]:
        """Values that networks keep beside parameters, by public name."""
        out: dict[str, np.ndarray] = {}
        for name, network in self.networks.items():
            out |= {f"{name}.{path}": array(x) for path, x in buffers_of(name, network, self.state["params"]).items()}
        for prefix, part in self.parts:
            out |= {f"{prefix}{buffer}": array(x) for buffer, x in part._buffers.items() if x is not None}
        return out

    def load(self, values: Mapping[str, np.ndarray]) -> None:
        """Gives networks their buffers, by public name."""
        load(self.networks, self.state["params"], values)
        load_parts(self.parts, values)


@alone.in_programs
def bind(program: Any, weights: Mapping[str, np.ndarray], batch: Batch) -> tuple[Callable, Callable]:
    """The program's model and guide with these weights: ordinary Pyro callables with a store of their own.

    Raises:
        OptionError: If the guide is an automatic one with parameters of each row, or the weights are others.
    """
    check_amortized(program.guide, as_batch(batch))
    store = Store()
    with seeded(0):
        store.register(program, batch)
    store.set_apart()
    with store.open(), torch.no_grad():
        params = pyro.get_param_store()
        own = {public(name): array(value) for name, value in params.items()} | store.buffers()
        check_arrays(own, weights, f"the weights of '{program.name}'", extra=True)
        for name in list(params):
            given = torch.tensor(np.asarray(weights[public(name)]))
            held = params._params[name]
            if isinstance(held, torch.nn.Parameter):  # a module holds this very tensor, and looks in no store
                held.copy_(transform_to(params._constraints[name]).inv(given))
            else:
                params[name] = given
        store.load(weights)
    for module in store.modules.values():
        module.eval()

    def within(fn: Callable) -> Callable:
        @alone.within_handlers
        def bound(*args: Any, **kwargs: Any) -> Any:
            with store.open(), evaluated() if store.theirs else nullcontext():
                return fn(*args, **kwargs)

        if is_shipped(fn):
            mark_shipped(bound)
        return bound

    return within(program.model), within(program.guide)


def public(name: str) -> str:
    """The name of a parameter that both hosts share."""
    return name.replace(DIVIDER, ".")


def array(x: torch.Tensor) -> np.ndarray:
    """A copy in numpy, which has no bfloat16."""
    return BACKEND.to_numpy(x.float() if x.dtype == torch.bfloat16 else x)
