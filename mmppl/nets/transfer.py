"""Weights by flat name as numpy arrays: the form of a checkpoint, the same for both hosts."""

from collections.abc import Mapping

import numpy as np

from mmppl.errors import DataError, OptionError

__all__ = ["check_arrays", "check_dtype", "check_input", "check_weights", "not_finite"]


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


def check_arrays(
    expected: Mapping[str, np.ndarray], given: Mapping[str, np.ndarray], whose: str, *, extra: bool = False
) -> None:
    """Checks arrays before a host is handed them: names, shapes, kinds of numbers, and that floats are finite.

    A float may be infinite or not a number where the expected one is too, as in a mask that a network keeps.

    Arguments:
        expected: Arrays as the host has them.
        given: What is to take their place.
        whose: What they are, for messages.
        extra: Whether there may be more than expected.

    Raises:
        DataError: Names the array and what is wrong with it.

    Example:
        >>> check_arrays({"a": np.zeros(2)}, {"a": np.zeros(3)}, "the weights")
        Traceback (most recent call last):
            ...
        mmppl.errors.DataError: Expected 'a' of the weights to have shape (2,); got (3,). It is another program's.
    """
    missing, more = sorted(set(expected) - set(given)), sorted(set(given) - set(expected))
    if missing or (more and not extra):
        raise DataError(
            f"Expected other names of {whose}; got {len(missing)} missing, {missing[:3]}, and {len(more)} too many, "
            f"{more[:3]}. It is another program's."
        )
    for name, own in expected.items():
        value = np.asarray(given[name])
        if value.shape != own.shape:
            raise DataError(
                f"Expected '{name}' of {whose} to have shape {own.shape}; got {value.shape}. It is another program's."
            )
        if _kind(value) != _kind(own):
            raise DataError(f"Expected '{name}' of {whose} to be of type {own.dtype}; got {value.dtype}.")
        bad = not_finite(value, own)
        if bad:
            raise DataError(f"Expected '{name}' of {whose} to be finite; got {bad} values that are NaN or infinite.")


def not_finite(value: np.ndarray, before: np.ndarray | None = None) -> int:
    """The number of values that are NaN or infinite, and were not so before.

    Example:
        >>> not_finite(np.array([np.inf, np.nan, 0.0]), np.array([np.inf, 0.0, 0.0]))
        1
    """
    if _kind(value) != "f" or np.isfinite(value).all():
        return 0
    bad = ~np.isfinite(value)
    return int((bad if before is None or before.shape != value.shape else bad & np.isfinite(before)).sum())


def _kind(value: np.ndarray) -> str:
    """Kind of numbers: floats of any precision are one kind, integers are another."""
    return {"u": "i"}.get(value.dtype.kind, value.dtype.kind)


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
