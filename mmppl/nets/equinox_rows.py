"""Rows that are divided among devices, in products of networks and chains on NumPyro."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding

__all__ = ["divided", "division", "flattened", "rows_at", "spread"]

_DIVIDED: ContextVar[NamedSharding | None] = ContextVar("mmppl_divided", default=None)
_AXIS: ContextVar[int] = ContextVar("mmppl_axis_of_rows", default=0)


@contextmanager
def divided(how: NamedSharding) -> Iterator[None]:
    """Says how rows are divided among devices within the context, in which networks are traced."""
    token = _DIVIDED.set(how)
    try:
        yield
    finally:
        _DIVIDED.reset(token)


def division() -> NamedSharding | None:
    """Sharding of rows within :func:`divided`; None outside of it."""
    return _DIVIDED.get()


@contextmanager
def rows_at(axis: int) -> Iterator[None]:
    """Says within the context which axis of a network's input is that of the rows."""
    token = _AXIS.set(max(axis, 0))
    try:
        yield
    finally:
        _AXIS.reset(token)


def flattened(x: jax.Array, events: int) -> tuple[jax.Array, Callable[[jax.Array], jax.Array]]:
    """An array with one leading axis, and what gives a product of it its leading axes back.

    Where rows are divided they come first: of an axis that is not the first XLA would gather the rows on every device
    before it flattens them, and each would go through the whole product.

    Arguments:
        x: An array ``(*lead, *event)``.
        events: Number of axes of the event.

    Example:
        >>> flat, back = flattened(jnp.zeros((5, 2, 3)), 1)
        >>> flat.shape, back(jnp.zeros((10, 4))).shape
        ((10, 3), (5, 2, 4))
    """
    number, axis = x.ndim - events, _AXIS.get()
    if _DIVIDED.get() is None or not 0 < axis < number:
        lead = x.shape[:number]
        return x.reshape(-1, *x.shape[number:]), lambda out: out.reshape(*lead, *out.shape[1:])
    x = jnp.moveaxis(x, axis, 0)
    first = x.shape[:number]
    flat = x.reshape(-1, *x.shape[number:])
    return flat, lambda out: jnp.moveaxis(out.reshape(*first, *out.shape[1:]), 0, axis)


def spread(x: jax.Array) -> jax.Array:
    """The array with its first axis, as of chains, divided like rows, where these are and its length can be."""
    how = _DIVIDED.get()
    if how is None or len(x) % how.num_devices:
        return x
    return jax.lax.with_sharding_constraint(x, how)
