"""Objects that are equal where their settings are."""

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np

from mmppl.display import plain_repr

__all__ = ["ByValue", "fixed"]


class ByValue:
    """Base of what is told apart by its class and its attributes, so that what is compiled for one serves its equals.

    Where an attribute has no hash, an object is equal to itself alone.

    Example:
        >>> class Grid(ByValue):
        ...     def __init__(self, number):
        ...         self.times = np.linspace(0.0, 1.0, number)
        >>> Grid(3) == Grid(3), Grid(3) == Grid(4), len({Grid(3), Grid(3)})
        (True, False, 1)
    """

    def __repr__(self) -> str:
        return plain_repr(self)

    def _settings(self) -> Hashable | None:
        settings = type(self), *((name, fixed(value)) for name, value in sorted(vars(self).items()))
        try:
            hash(settings)
        except TypeError:
            return None
        return settings

    def __eq__(self, other: object) -> bool:
        if self is other or not isinstance(other, ByValue):
            return self is other
        own = self._settings()
        return own is not None and own == other._settings()

    def __hash__(self) -> int:
        own = self._settings()
        return object.__hash__(self) if own is None else hash(own)


def fixed(value: Any) -> Any:
    """The value as one that has a hash, if what it holds has one.

    Example:
        >>> hash(fixed({"scale": [1, 2.0]})) == hash(fixed({"scale": [1, 2.0]})), fixed([1]) == fixed([True])
        (True, False)
    """
    if isinstance(value, Mapping):
        return "mapping", *((name, fixed(part)) for name, part in value.items())
    if isinstance(value, list | tuple):
        return type(value), *map(fixed, value)
    if isinstance(value, np.ndarray):
        return value.shape, value.dtype.str, value.tobytes()
    return type(value), value  # 1, 1.0 and True are not the same setting
