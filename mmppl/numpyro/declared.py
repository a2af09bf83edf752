"""Distributions as pytrees of JAX, and the error where one declares too little of itself."""

from collections.abc import Iterator
from contextlib import contextmanager

import jax
from numpyro.distributions import Distribution

from mmppl.errors import OptionError

__all__ = ["taken_apart"]


@contextmanager
def taken_apart(base: Distribution) -> Iterator[None]:
    """Context manager that turns a missing attribute of an unflattened distribution into advice on what to declare.

    Raises:
        OptionError: If the distribution, or one within it, does not declare all that it needs.
    """
    try:
        yield
    except AttributeError as error:
        for fn in _within(base):
            again = jax.tree.unflatten(jax.tree.structure(fn), jax.tree.leaves(fn))
            lost = [name for name in vars(fn) if not hasattr(again, name)]
            if lost:
                raise OptionError(
                    f"Expected a base that JAX can take apart and put together; got {type(fn).__name__}, which loses "
                    f"{lost}. Name its arrays and distributions in pytree_data_fields, the rest in pytree_aux_fields."
                ) from error
        raise


def _within(fn: Distribution) -> Iterator[Distribution]:
    """A distribution, and those that it holds as attributes."""
    yield fn
    for part in vars(fn).values():
        if isinstance(part, Distribution):
            yield from _within(part)
