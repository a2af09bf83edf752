"""The backends of arrays: one small protocol, and NumPy, torch or JAX by the type of the arguments."""

from importlib import import_module
from typing import Any

from mmppl._backend.protocol import Backend

__all__ = ["Backend", "get_backend"]

_BY_PACKAGE = {"torch": "torch", "jax": "jax", "jaxlib": "jax", "numpy": "numpy"}


def get_backend(*arrays: Any) -> Backend:
    """The backend of the first array among the arguments; plain Python scalars are passed over.

    A torch tensor or a JAX array wins over numpy arrays that stand beside it.

    Example:
        >>> import numpy as np
        >>> get_backend(1.0, np.ones(3)).xp.__name__
        'array_api_compat.numpy'
    """
    found = None
    for array in arrays:
        for base in type(array).__mro__:
            package = _BY_PACKAGE.get(base.__module__.partition(".")[0])
            if package is not None:
                break
        else:
            continue
        if package != "numpy":
            return import_module(f"mmppl._backend.{package}").BACKEND
        found = package
    if found is None:
        kinds = sorted({type(a).__name__ for a in arrays})
        raise TypeError(f"Expected a numpy, torch or JAX array; got {kinds}. Pass at least one array.")
    return import_module(f"mmppl._backend.{found}").BACKEND
