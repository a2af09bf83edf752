"""Pictures from files, as arrays; how many of the tuples that there are."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from mmppl.errors import DataError, OptionError

__all__ = ["PHOTOGRAPHS", "count", "read_picture", "read_pictures"]

PHOTOGRAPHS = (".jpg", ".jpeg", ".png")


def read_picture(file: Path, side: int | None = None, channels: int = 3) -> np.ndarray:
    """A picture of shape ``(C, H, W)``, float32 in [0, 1].

    Arguments:
        file: The file.
        side: Height and width wanted, in pixels; as it is if None.
        channels: 3 for colours, 1 for grey.

    Raises:
        DataError: If the file cannot be read as a picture.
    """
    try:
        with Image.open(file) as opened:
            picture = opened.convert("RGB" if channels == 3 else "L")
            if side is not None and picture.size != (side, side):
                picture = picture.resize((side, side), Image.Resampling.BILINEAR)
            rows = np.divide(np.asarray(picture), 255, dtype=np.float32)
    except (OSError, UnidentifiedImageError) as error:
        raise DataError(f"Cannot read the picture {file}: it is missing, corrupt or of another format.") from error
    return rows.reshape(*rows.shape[:2], channels).transpose(2, 0, 1)


def read_pictures(files: Sequence[Path], side: int | None = None) -> np.ndarray:
    """Pictures of one shape, ``(N, 3, H, W)``; see :func:`read_picture`.

    Raises:
        DataError: If a file cannot be read, or has another shape than the first.
    """
    first = read_picture(files[0], side)
    out = np.empty((len(files), *first.shape), np.float32)
    for row, file in enumerate(files):
        picture = read_picture(file, side)
        if picture.shape != first.shape:
            raise DataError(
                f"Expected a picture of shape {first.shape}, as in {files[0].name}; got {picture.shape}: {file}."
            )
        out[row] = picture
    return out


def count(num: int | None, available: int) -> int:
    """Number of tuples to take: ``num``, or all that are available.

    Raises:
        OptionError: If ``num`` is not positive, or more than there is.
    """
    if num is None:
        return available
    if not 1 <= num <= available:
        raise OptionError(f"Expected a number of tuples in [1, {available}]; got {num}.")
    return num
