"""Arrays that measures take: real numbers, all of them finite."""

from typing import Any

import numpy as np

from mmppl.errors import DataError

__all__ = ["numbers"]


def numbers(what: str, values: Any) -> np.ndarray:
    """An array of floats in double precision.

    Arguments:
        what: What it is, for messages.
        values: Numbers, of any shape.

    Raises:
        DataError: If there is a mask, if they are no real numbers, or if some are not finite.

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
    if not np.isfinite(array).all():
        raise DataError(f"Expected {what} to be finite; got NaN or Inf. Look at where they come from first.")
    return array
