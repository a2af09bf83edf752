"""Rows added to a batch so that few numbers of rows are compiled."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from mmppl.batch import Batch
from mmppl.inference.shipped import is_shipped
from mmppl.numpyro.bound import unbound

__all__ = ["Padding", "padding"]

# Rows times draws below which work is small beside a compilation.
SMALL = 2048


class Padding(NamedTuple):
    """Copies of the last row, which answer for nothing and are taken away again.

    Arguments:
        number: Rows that there are, N.
        extra: Rows that are added.

    Example:
        >>> pad = Padding(2, 1)
        >>> pad.rows(np.array([3.0, 4.0])), pad.cut({"z": np.zeros((5, 3))})["z"].shape
        (array([3., 4., 4.]), (5, 2))
    """

    number: int
    extra: int

    def batch(self, batch: Batch) -> Batch:
        """The batch with the rows added."""
        return batch[np.minimum(np.arange(self.number + self.extra), self.number - 1)] if self.extra else batch

    def rows(self, array: Any, axis: int = 0) -> Any:
        """An array with the rows added."""
        return np.take(array, np.minimum(np.arange(self.number + self.extra), self.number - 1), axis)

    def latents(self, hidden: Mapping[str, Any]) -> dict[str, Any]:
        """Latents ``(K, N, *event)`` with the rows added."""
        return {name: self.rows(np.asarray(z), 1) for name, z in hidden.items()} if self.extra else dict(hidden)

    def cut(self, found: Mapping[str, Any], axis: int = 1) -> dict[str, Any]:
        """Arrays ``(K, N, *event)`` without the rows that were added."""
        own = (*[slice(None)] * axis, slice(self.number))
        return {name: np.asarray(x)[own] for name, x in found.items()} if self.extra else dict(found)


def padding(model: Callable, number: int, draws: int = 1) -> Padding:
    """Rows to add to a batch of a model that ships, whose rows are each by itself; none to any other.

    Up to 2,048 rows times draws, the numbers of rows are 16, 64, 256, 1024; beyond, they are at most half as much
    again.

    Arguments:
        model: A model with its weights.
        number: Rows, N.
        draws: Draws of each, K.
    """
    if not (is_shipped(unbound(model)) and number):
        return Padding(number, 0)
    few = next(size for size in (4**k for k in range(2, 40)) if size >= number)
    if few * draws > SMALL:
        power = 1 << (number - 1).bit_length()
        few = power * 3 // 4 if power > 3 and number <= power * 3 // 4 else power
    return Padding(number, few - number)
