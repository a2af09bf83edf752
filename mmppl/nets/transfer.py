"""Weights by flat name as numpy arrays: the form of a checkpoint, the same for both hosts."""

from collections.abc import Mapping

import numpy as np

from mmppl.errors import DataError, OptionError

__all__ = ["check_dtype", "check_input", "check_weights"]


def check_weights(expected: Mapping[str, tuple[int, ...]], given: Mapping[str, np.ndarray]) -> None:
    """Checks that ``given`` has the names and shapes of ``expected``.

    Raises:
        DataError: Names the weights that are missing, not expected, or of another shape.
    """
    missing, extra = sorted(set(expected) - set(given)), sorted(set(given) - set(expected))
    if missing or extra:
        raise DataError(f"Expected the weights of this net; got {missing} missing and {extra} too many. Same spec?")
    for name, shape in expected.items():
        if tuple(given[name].shape) != tuple(shape):
            raise DataError(f"Expected weight '{name}' of shape {shape}; got {given[name].shape}. Same spec?")


def check_dtype(dtype: str) -> None:
    """Checks the dtype of the weights of a new net.

    Raises:
        OptionError: If it is neither ``"float32"`` nor ``"float64"``.
    """
    if dtype not in ("float32", "float64"):
        raise OptionError(f"Expected dtype 'float32' or 'float64'; got {dtype!r}. Name one of them.")


def check_input(shape: tuple[int, ...], event: tuple[int | None, ...]) -> None:
    """Checks that an array of shape ``shape`` holds events of shape ``event`` under any leading axes; None is any size.

    Raises:
        DataError: If its last axes are others.
    """
    last = tuple(shape[len(shape) - len(event) :])
    if len(shape) < len(event) or any(b not in (a, None) for a, b in zip(last, event, strict=True)):
        wanted = ", ".join(("*", *("M" if size is None else str(size) for size in event)))
        raise DataError(f"Expected an input of shape ({wanted}); got {tuple(shape)}. Check the net's in_shape.")
