"""Files of torch as numpy arrays."""

from pathlib import Path

import numpy as np
import torch

from mmppl.errors import DataError

__all__ = ["read_tensors"]


def read_tensors(file: Path) -> list[np.ndarray]:
    """The tensors of a sequence that ``torch.save`` wrote, in order; what else stands there is left out.

    Raises:
        DataError: If the file holds objects that would have to be unpickled, or no sequence.
    """
    try:
        held = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # a zip, pickle or runtime error, by what is wrong with the file
        raise DataError(
            f"Cannot read {file} as tensors alone. If you trust it, load it by torch.load(weights_only=False) and "
            f"write {file.stem}.npz by mmppl.data.write_npz."
        ) from error
    if not isinstance(held, tuple | list):
        raise DataError(f"Expected a sequence of tensors in {file}; got {type(held).__name__}.")
    return [value.numpy() for value in held if isinstance(value, torch.Tensor)]
