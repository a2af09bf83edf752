"""Arrays that measures take: real numbers, all of them finite."""

from typing import Any

import numpy as np

from mmppl.checks import LARGEST
from mmppl.errors import DataError

__all__ = ["numbers"]


def numbers(what: str, values: Any) -> np.ndarray:
    """An array of floats in double precision.

    Arguments:
        what: What it is, for messages.
        values: Numbers, of any shape.

    Raises:
        DataError: If there is a mask, they are no real numbers, or some are not finite or beyond 3.4e38.

    Example:
        >>> numbers("latents", [1, 2])
        array([1., 2.])
    """
    try:
        array = np.asanyarray(values)
    except ValueError as error:
        raise DataError(f"Expected {what} to be an array of numbers; got a {type(values).__name__}: {error}") from error
    if isinstance(array, np.ma.MaskedArray) or array.dtype.kind not in "biuf":
        mask = ", with a mask" if isinstance(array, np.ma.MaskedArray) else ""
        raise DataError(
            f"Expected {what} to be an array of real numbers without a mask; got dtype {array.dtype} of shape "
            f"{array.shape}{mask}."
        )
    array = array.astype(float, copy=False)
    if not (np.abs(array) <= LARGEST).all():
        raise DataError(f"Expected {what} to be finite, and at most {LARGEST:g}; got NaN, Inf or larger ones.")
    return array
