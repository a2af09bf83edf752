"""Networks within a program: how they run where nothing is trained, and what they keep that is no parameter."""

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch.nn import Module, Parameter, RNNBase
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.nn.parameter import is_lazy

from mmppl.errors import OptionError

__all__ = [
    "Apart",
    "Buffers",
    "buffers_of",
    "copied",
    "entered",
    "evaluated",
    "given_by_host",
    "load",
    "load_parts",
    "originals",
    "ready",
    "evaluation_mode",
    "unmoved",
]

DIVIDER = "$$$"  # Pyro's, between the name of a network and that of a parameter in it
# What modules had before an Apart gave them others.
_ORIGINALS: WeakKeyDictionary[Module, tuple[dict, dict]] = WeakKeyDictionary()
_TAKE: ContextVar[Callable[[Module], None] | None] = ContextVar("mmppl_take", default=None)


class Buffers:
    """Buffers of modules as they are, restored in place, so that modules that share one still do."""

    def __init__(self, modules: Iterable[Module] = ()) -> None:
        self.held: list[tuple[Module, dict[str, tuple]]] = []
        for module in modules:
            self.take(module)

    def take(self, module: Module) -> None:
        """Adds the buffers of one module, without those of the modules in it."""
        own = {name: (b, None if b is None else b.detach().clone()) for name, b in module._buffers.items()}
        self.held.append((module, own))

    def stay_finite(self) -> bool:
        """Tells whether no buffer holds a NaN or an infinity that was finite before."""
        for module, own in self.held:
            for name, (_, before) in own.items():
                now = module._buffers.get(name)
                if before is None or now is None or not now.is_floating_point() or torch.isfinite(now).all():
                    continue
                if now.shape != before.shape or (torch.isfinite(before) & ~torch.isfinite(now)).any():
                    return False
        return True

    def give_back(self) -> None:
        """Gives every module the buffers that it had; one that it has had only since goes."""
        for module, own in self.held:
            for name in set(module._buffers) - set(own):
                del module._buffers[name]
            for name, (buffer, value) in own.items():
                module._buffers[name] = None if buffer is None else _written(buffer, value)


class Apart:
    """Parameters and buffers of their own that modules have from the context on, until :func:`originals`.

    They stay after the context, since a distribution that a program has made may run a module when it is asked for a
    density. Nothing is written in place, so that a graph made within may be followed back afterwards.

    Arguments:
        modules: The modules; what they have within is at first a copy of what they have.
    """

    def __init__(self, modules: Iterable[Module]) -> None:
        self.copies: dict[int, Parameter] = {}  # of parameters, by the ``id`` of each
        self.within = [
            (
                module,
                {name: None if x is None else self._copy(x) for name, x in module._parameters.items()},
                {name: None if x is None else x.detach().clone() for name, x in module._buffers.items()},
            )
            for module in modules
        ]
        self.depth = 0

    def _copy(self, x: Parameter) -> Parameter:
        if id(x) not in self.copies:
            self.copies[id(x)] = Parameter(x.detach().clone(), x.requires_grad)
        return self.copies[id(x)]

    def __enter__(self) -> None:
        self.depth += 1
        if self.depth == 1:
            for module, parameters, buffers in self.within:
                _ORIGINALS.setdefault(module, (dict(module._parameters), dict(module._buffers)))
                _exchange(module, parameters, buffers)

    def __exit__(self, *args: Any) -> None:
        self.depth -= 1
        for module, parameters, buffers in self.within:
            parameters.update(module._parameters)
            buffers.update(module._buffers)


def originals() -> None:
    """Gives modules the parameters and buffers back that they had before an :class:`Apart`."""
    for module, before in list(_ORIGINALS.items()):
        _exchange(module, *before)
    _ORIGINALS.clear()


def _exchange(module: Module, parameters: dict, buffers: dict) -> None:
    for held, values in ((module._parameters, parameters), (module._buffers, buffers)):
        held.clear()
        held.update(values)
    if isinstance(module, RNNBase):  # it has its weights in a list, too
        module._flat_weights = [getattr(module, name, None) for name in module._flat_weights_names]


@contextmanager
def evaluation_mode(modules: Iterable[Module]) -> Iterator[None]:
    """Puts modules in evaluation mode within the context."""
    modules = [module for module in modules if module.training]
    for module in modules:
        module.training = False
    try:
        yield
    finally:
        for module in modules:
            module.training = True


@contextmanager
def evaluated(*, restore_buffers: bool = False) -> Iterator[dict[int, Module]]:
    """Runs every network in evaluation mode within the context; afterwards each has its own mode again.

    Modules are met as they are called, so that those count too that a program gives to ``pyro.module`` itself.

    Arguments:
        restore_buffers: Whether the modules also get the buffers back that they came with.

    Yields:
        The modules met, by ``id``.
    """
    met: dict[int, Module] = {}
    training: list[Module] = []
    buffers = Buffers()

    def take(module: Module) -> None:
        if id(module) in met:
            return
        met[id(module)] = module
        if restore_buffers:
            buffers.take(module)
        if module.training:
            training.append(module)
            module.training = False

    try:
        with _called(take):
            yield met
    finally:
        buffers.give_back()
        for module in training:
            module.training = True


@contextmanager
def unmoved() -> Iterator[None]:
    """Runs networks on copies of their buffers within the context; afterwards each has its own buffers again.

    The buffers are not written back in place: a gradient may hold them.
    """
    held: dict[int, tuple[Module, dict[str, Any]]] = {}
    outer = _TAKE.get()

    def take(module: Module) -> None:
        if outer is not None:
            outer(module)
        if id(module) not in held and module._buffers:
            held[id(module)] = module, dict(module._buffers)
            for name, buffer in held[id(module)][1].items():
                module._buffers[name] = None if buffer is None else buffer.clone()

    try:
        with _called(take):
            yield
    finally:
        for module, buffers in held.values():
            module._buffers.clear()
            module._buffers.update(buffers)


@contextmanager
def _called(take: Callable[[Module], None]) -> Iterator[None]:
    """Calls ``take`` with every module before it runs, within the context."""

    def on_call(module: Module, _: Any) -> None:
        # A hook is the whole process's, where another thread may be training.
        if _TAKE.get() is take:
            take(module)

    token = _TAKE.set(take)
    hook = register_module_forward_pre_hook(on_call)
    try:
        yield
    finally:
        hook.remove()
        _TAKE.reset(token)


def entered(network: Module) -> Module:
    """A network that has just been made, in evaluation mode at once where :func:`evaluated` holds."""
    take = _TAKE.get()
    if take is not None:
        for module in network.modules():
            take(module)
    return network


def copied(network: Module) -> Module:
    """A copy of a network, also of one that keeps the outcome of a call, as the older spectral norm does."""
    held = (value for module in network.modules() for value in vars(module).values())
    memo = {id(x): x.detach().clone() for x in held if isinstance(x, torch.Tensor) and not x.is_leaf}
    return copy.deepcopy(network, memo)


def ready(name: str, network: Module) -> Module:
    """The network, if it has all its parameters.

    Raises:
        OptionError: If it makes some of them at its first call.
    """
    late = [n for n, x in (*network.named_parameters(), *network.named_buffers()) if is_lazy(x)]
    if late:
        raise OptionError(
            f"Network '{name}' makes {late[:3]} at its first call, so that Pyro cannot know them. Call it once on an "
            "example, before the program."
        )
    return network


def given_by_host(met: Iterable[Module], params: Mapping[str, torch.Tensor], own: Iterable[str]) -> dict[str, Module]:
    """Networks by name that a program gives to ``pyro.module`` itself, among the modules met.

    Arguments:
        met: The modules.
        params: The parameters of the store by the host's names, unconstrained.
        own: Names of networks that are known.
    """
    parts: dict[str, dict[str, torch.Tensor]] = {}
    for full, value in params.items():
        name, divider, path = full.partition(DIVIDER)
        if divider and name not in own:
            parts.setdefault(name, {})[path] = value
    out = {}
    for module in met if parts else ():
        has = dict(module.named_parameters())
        for name, wanted in parts.items():
            if name not in out and all(has.get(path) is value for path, value in wanted.items()):
                out[name] = module
    return out


def buffers_of(name: str, network: Module, params: Iterable[str]) -> dict[str, torch.Tensor]:
    """Values that a network keeps beside the parameters of the store, by name within it.

    These are its buffers, and parameters that ask for no gradient, which the host passes over.
    """
    fixed = {path: x for path, x in network.named_parameters() if f"{name}{DIVIDER}{path}" not in params}
    return fixed | dict(network.named_buffers())


def load(networks: Mapping[str, Module], params: Iterable[str], values: Mapping[str, np.ndarray]) -> None:
    """Gives networks their buffers; one that a network makes in training only, as chains, is made.

    Arguments:
        networks: By name.
        params: The host's names of the parameters of the store, which are left alone.
        values: Arrays by public name, which may be of other networks, too.
    """
    known = {full.replace(DIVIDER, ".") for full in params}
    for name, network in networks.items():
        for path in buffers_of(name, network, params):
            known.add(f"{name}.{path}")
            if f"{name}.{path}" in values:
                _put(network, path, values[f"{name}.{path}"])
    for full in set(values) - known:
        names = [name for name in networks if full.startswith(f"{name}.")]
        if names:
            name = max(names, key=len)
            _put(networks[name], full.removeprefix(f"{name}."), values[full])


def load_parts(parts: Iterable[tuple[str, Module]], values: Mapping[str, np.ndarray]) -> None:
    """Gives single modules, beside the beginning of their public names, the buffers of their own that they kept."""
    for prefix, part in parts:
        for buffer in list(part._buffers):
            if f"{prefix}{buffer}" in values:
                _put(part, buffer, values[f"{prefix}{buffer}"])


def _put(network: Module, path: str, value: np.ndarray) -> None:
    place, _, leaf = path.rpartition(".")
    try:
        owner = network.get_submodule(place)
    except AttributeError:  # weights of a deeper network; these are too many, not too few
        return
    tensor, buffer = torch.tensor(value), owner._buffers.get(leaf)
    if buffer is not None:
        owner._buffers[leaf] = _written(buffer, tensor)
    elif leaf in owner._parameters and owner._parameters[leaf] is not None:
        with torch.no_grad():
            owner._parameters[leaf].copy_(tensor)
    elif leaf in owner._buffers or not hasattr(owner, leaf):
        owner.register_buffer(leaf, tensor)


@torch.no_grad()
def _written(buffer: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """The buffer with a value: itself, if it has room for it."""
    if buffer.shape == value.shape and 0 not in buffer.stride():
        # What is as it was stays untouched: a graph may hold it for its backward pass.
        return buffer if torch.equal(buffer, value.to(buffer.device, buffer.dtype)) else buffer.copy_(value)
    return value.to(buffer.device, buffer.dtype)
