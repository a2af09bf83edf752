"""Numbers that the arrays of a host can hold."""

from typing import Any

import numpy as np

from mmppl.errors import DataError

__all__ = ["check_representable"]


def check_representable(what: str, value: Any, integers: Any, floats: Any) -> None:
    """Refuses an array of numpy whose numbers the host's arrays would turn into others.

    Arguments:
        what: The modality or the labels, for messages.
        value: The array; one of a host is taken as it is.
        integers: The host's ``iinfo`` of integers.
        floats: The host's ``finfo`` of floats.

    Raises:
        DataError: If integers are beyond the host's, which would go round to other ones, or finite floats are, which
            would become infinite.

    Example:
        >>> check_representable("Labels", np.array([2**31]), np.iinfo("i8"), np.finfo("f4"))
        >>> check_representable("Labels", np.array([2**31]), np.iinfo("i4"), np.finfo("f4"))
        Traceback (most recent call last):
            ...
        mmppl.errors.DataError: Labels: expected integers within [-2147483648, 2147483647], ... got 2147483648...
    """
    if not isinstance(value, np.ndarray) or not value.size:
        return
    if value.dtype.kind in "iu" and not np.can_cast(value.dtype, f"i{integers.bits // 8}"):
        low, high = int(value.min()), int(value.max())
        if low < integers.min or high > integers.max:
            raise DataError(
                f"{what}: expected integers within [{integers.min}, {integers.max}], the host's; got "
                f"{high if high > integers.max else low}. Give them as floats, or number them anew."
            )
    elif value.dtype.kind == "f" and value.dtype.itemsize * 8 > floats.bits:
        size = np.abs(value, where=np.isfinite(value), out=np.zeros_like(value)).max()
        if size > floats.max:
            raise DataError(
                f"{what}: expected floats of size at most {float(floats.max):.4g}, the host's largest; got {size:.4g}, "
                "which would become infinite. Divide them by a unit, or use double precision."
            )
