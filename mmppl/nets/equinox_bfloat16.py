"""Products of networks in bfloat16, on NumPyro, beside weights and sums in single precision."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

__all__ = ["Halved", "factors", "in_bfloat16", "is_in_bfloat16", "single"]

_SEEN: ContextVar[list | None] = ContextVar("mmppl_bfloat16", default=None)


@contextmanager
def in_bfloat16() -> Iterator[list]:
    """Takes products of networks in bfloat16 within the context.

    Yields:
        A list, which is not empty once a network has had such a product.
    """
    seen: list = []
    token = _SEEN.set(seen)
    try:
        yield seen
    finally:
        _SEEN.reset(token)


def is_in_bfloat16() -> bool:
    """Tells whether :func:`in_bfloat16` holds."""
    return _SEEN.get() is not None


def factors(*arrays: Any) -> tuple:
    """Factors of a product, and what is added to it: in bfloat16 where :func:`in_bfloat16` holds.

    Example:
        >>> with in_bfloat16():
        ...     str(factors(jnp.ones(2))[0].dtype)
        'bfloat16'
    """
    seen = _SEEN.get()
    if seen is None:
        return arrays
    seen.append(True)
    return tuple(x.astype(jnp.bfloat16) if _is(x, jnp.float32) else x for x in arrays)


def single(tree: Any) -> Any:
    """Arrays in bfloat16 as single precision; others as they are."""
    return jax.tree.map(lambda x: x.astype(jnp.float32) if _is(x, jnp.bfloat16) else x, tree)


def _is(x: Any, dtype: Any) -> bool:
    return isinstance(x, jax.Array) and x.dtype == dtype


class Halved(eqx.Module):
    """A network of the user's, in bfloat16 as a whole: its weights, what it is given, and what it makes of them.

    What it returns is in single precision. Attributes are the network's.
    """

    module: Callable

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        module, args, kwargs = jax.tree.map(lambda x: factors(x)[0], (self.module, args, kwargs))
        return single(module(*args, **kwargs))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "module":
            raise AttributeError(name)
        return getattr(self.module, name)
