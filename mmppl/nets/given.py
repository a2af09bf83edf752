"""Networks of a user's own, as they are given to a host's ``net``."""

import inspect
from typing import Any

from mmppl.errors import OptionError

__all__ = ["check_network"]

# What to do about networks of packages that a host's ``net`` does not take.
ADVICE = {
    "flax": "Flax goes with mmppl.numpyro, by flax_module or nnx_module of numpyro.contrib.module.",
    "torch": "Networks of torch go with mmppl.pyro.",
    "equinox": "Networks of Equinox go with mmppl.numpyro.",
}


def check_network(name: str, module: Any, expected: str, is_one: bool, others: tuple[str, ...]) -> None:
    """Refuses what is no network of the host.

    Arguments:
        name: Name of its parameters.
        module: What was given.
        expected: What the host takes, in words.
        is_one: Whether the host takes it, if it is of none of the other packages.
        others: Packages among ``flax``, ``torch`` and ``equinox`` whose networks the host does not take.

    Raises:
        OptionError: If it is no network, or one of another package; it says what to do.
    """
    packages = {cls.__module__.partition(".")[0] for cls in type(module).__mro__}
    found = next((other for other in others if other in packages), None)
    is_class = inspect.isclass(module)
    if is_one and not found and not is_class:
        return
    if is_class:
        advice = "Make one of that class, with its sizes."
    elif hasattr(module, "layers") and hasattr(module, "in_shape"):
        advice = "It describes a network: mm.build(spec) makes it."
    elif found:
        advice = ADVICE[found]
    elif callable(module):
        advice = "A function needs no net: make its parameters by the host's own param."
    else:
        advice = "A number or array that is learned is a parameter: make it by the host's own param."
    got = f"the class {module.__name__}" if is_class else f"a value of type {type(module).__name__}"
    raise OptionError(f"Network '{name}': expected {expected}; got {got}. {advice}")
