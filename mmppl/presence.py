"""Masks of what is there, of rows and of elements, and values with zeros where it is not."""

from typing import Any

import numpy as np

from mmppl._backend import get_backend
from mmppl.errors import MissingWarning, ModalityError
from mmppl.warn import warn

Array = Any

__all__ = [
    "check_no_mask",
    "checked",
    "hidden",
    "is_no_value",
    "missing_as_nan",
    "of_rows",
    "say_absent",
    "say_missing",
]


def is_no_value(x: Any) -> bool:
    """Tells whether an object in an array stands for what is missing: None, NaN, or what pandas has for it.

    Example:
        >>> [is_no_value(x) for x in (None, float("nan"), "nan", 0)]
        [True, True, False, False]
    """
    try:
        return x is None or bool(x != x)
    except TypeError:  # pandas.NA, which does not say whether it is equal to itself
        return True
    except ValueError:  # an array
        return False


def check_no_mask(what: str, value: Any) -> None:
    """Refuses a masked array of numpy, whose mask would be lost on the way to a host.

    Raises:
        ModalityError: If it is one.
    """
    if isinstance(value, np.ma.MaskedArray):
        raise ModalityError(
            f"Expected {what} without a mask; got a masked array. Give its values, x.filled(0), and present=, "
            "~np.ma.getmaskarray(x)."
        )


def say_missing(name: str, shape: tuple[int, ...], number: int) -> None:
    """Warns that values of a modality are taken as missing, and how many.

    Warns:
        MissingWarning: In any case.
    """
    size = int(np.prod(shape))
    warn(
        f"Modality '{name}': {number} of {size} values ({100 * number / size:.1f}%) are NaN, and taken as missing.",
        MissingWarning,
    )


def say_absent(name: str) -> None:
    """Warns that no row of the training data has a modality.

    Warns:
        MissingWarning: In any case.
    """
    warn(
        f"Modality '{name}' has no value in the training data: nothing can be learned of it. Leave it out, or give "
        "rows that have it.",
        MissingWarning,
    )


def checked(name: str, value: Array, mask: Any, own: Any) -> tuple[Array, Array | None]:
    """Masks of rows ``(*, N)`` and, where it is known, of elements, as arrays of the value's backend."""
    check_no_mask(f"modality '{name}'", value)
    check_no_mask(f"present['{name}']", mask)
    backend, num = get_backend(value), value.shape[0]
    mask, own = (None if x is None else backend.asarray(x) for x in (mask, own))
    if mask is not None and value.ndim > 1 and mask.shape == value.shape:
        mask, own = None, mask if own is None else mask & own
    rows = mask is not None and mask.shape[-1:] == (num,)
    for given, right in ((mask, rows), (own, own is not None and own.shape == value.shape)):
        if given is not None and not (right and "bool" in str(given.dtype)):
            shapes = f"({num},)" + (f" or, of elements, {tuple(value.shape)}" if value.ndim > 1 else "")
            raise ModalityError(
                f"Expected present['{name}'] to be boolean of shape {shapes}; got {given.dtype} {tuple(given.shape)}."
            )
    if mask is None:
        like = {"device": value.device} if hasattr(value, "device") else {}
        mask = backend.xp.ones(num, dtype=backend.xp.bool, **like)
    return mask, own


def missing_as_nan(name: str, value: Array, rows: Array, own: Array | None) -> tuple[Array, Array | None, int]:
    """Masks of rows and of elements, less what is NaN where only rows are said to be there, and how many these are.

    Values that cannot be looked at, as under JAX's transformations, are taken as they are.

    Warns:
        MissingWarning: If there are any.
    """
    backend = get_backend(value)
    xp = backend.xp
    if own is not None or rows.ndim > 1 or not xp.isdtype(value.dtype, "real floating"):
        return rows, own, 0
    if not backend.is_concrete(value) or not backend.is_concrete(rows):
        return rows, own, 0
    gone = xp.isnan(value) & of_rows(rows, value)
    number = int(xp.sum(xp.astype(gone, xp.int32)))
    if not number:
        return rows, None, 0
    say_missing(name, value.shape, number)
    event = tuple(range(1, value.ndim))
    lost = xp.all(gone, axis=event) if event else gone
    partly = bool(xp.any(xp.any(gone, axis=event) & ~lost)) if event else False
    return rows & ~lost, ~gone if partly else None, number


def hidden(value: Array, rows: Array, own: Array | None) -> tuple[Array, Array, Array | None]:
    """The value with zeros where it is not there, the mask of rows that have any element, and that of elements."""
    xp = get_backend(value).xp
    if rows.ndim > 1:
        return value, rows, own  # several subsets at once: each is applied where it is used
    if own is None:
        return xp.where(of_rows(rows, value), value, xp.zeros_like(value)), rows, None
    if value.ndim == 1:
        rows = rows & own
        return xp.where(rows, value, xp.zeros_like(value)), rows, None
    own = own & of_rows(rows, value)
    return xp.where(own, value, xp.zeros_like(value)), xp.any(own, axis=tuple(range(1, own.ndim))), own


def of_rows(rows: Array, value: Array) -> Array:
    """A mask of rows with an axis for each of an event."""
    return get_backend(value).xp.reshape(rows, (rows.shape[0],) + (1,) * (value.ndim - 1))
