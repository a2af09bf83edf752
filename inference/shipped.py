"""Callables of the systems that ship, of which what a user's own would be asked is known."""

from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from typing import Any

__all__ = ["functions_in", "is_shipped", "mark_shipped"]

MARK = "_mmppl_shipped"


def mark_shipped(program: Any) -> None:
    """Says of a callable that it is of a system that ships, made of its own networks alone.

    Then every row is by itself, axes of particles and terms may be put before its plate, and its likelihoods have
    gradients.
    """
    holder = _holder(program)
    with suppress(AttributeError):  # one that takes no attributes is asked
        object.__setattr__(holder, MARK, id(holder))


def is_shipped(program: Any) -> bool:
    """Tells whether that was said of a callable."""
    holder = _holder(program)
    # A function that wraps another one may have a copy of its mark, and is another.
    return getattr(holder, MARK, None) == id(holder)


def functions_in(options: Mapping[str, Any]) -> list[str]:
    """Names of the options that hold functions or networks of a user's own.

    Example:
        >>> functions_in({"latent_dim": 2, "encoders": {"a": abs}, "coders": {}})
        ['encoders']
    """
    return [name for name, value in options.items() if _holds(value) or (name == "coders" and value)]


def _holder(program: Any) -> Any:
    """The function or object to which a callable belongs."""
    while isinstance(program, partial):
        program = program.func
    return getattr(program, "__self__", program)


def _holds(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(map(_holds, value.values()))
    return any(map(_holds, value)) if isinstance(value, list | tuple) else callable(value)
