"""Draws gathered block by block: in memory, or in a folder of `.npy` files for more than memory holds."""

import os
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np

from mmppl.errors import DataError
from mmppl.writing import whole

__all__ = ["DrawsFolder", "DrawsInMemory"]


class DrawsInMemory:
    """Arrays by name from blocks of rows in their order.

    Arguments:
        axis: The axis of the rows: 1 of ``(K, N, *event)``, 0 of ``(N, *event)``.

    Example:
        >>> with DrawsInMemory(1) as draws:
        ...     for start in (0, 2):
        ...         draws.add(start, {"a": np.zeros((3, 2, 5))})
        >>> draws.arrays()["a"].shape
        (3, 4, 5)
    """

    def __init__(self, axis: int) -> None:
        self.axis = axis
        self.parts: list[Mapping[str, np.ndarray]] = []

    def __enter__(self) -> "DrawsInMemory":
        return self

    def __exit__(self, *error: object) -> None:
        return None

    def add(self, start: int, block: Mapping[str, np.ndarray]) -> None:
        """Adds the arrays of a block, whose first row is number ``start``."""
        self.parts.append(block)

    def arrays(self) -> dict[str, np.ndarray]:
        """All of them together."""
        return {n: np.concatenate([part[n] for part in self.parts], axis=self.axis) for n in self.parts[0]}


class DrawsFolder:
    """The same in files ``<name>.npy`` of a folder that is made, whole or not at all.

    Arguments:
        path: The folder.
        number: Rows of all blocks.
        axis: As above.

    Raises:
        DataError: If it is there already, has no folder to be in, or cannot be written, as on a full disk.
    """

    def __init__(self, path: str | os.PathLike, number: int, axis: int):
        self.path, self.number, self.axis = Path(path), number, axis
        if self.path.exists():
            raise DataError(f"Expected out= (--out) to be a new folder; '{path}' is there. Choose another.")
        if not self.path.parent.is_dir():
            raise DataError(f"Expected out= (--out) in a folder that exists; got '{path}'. Make the folder first.")
        self.names: list[str] = []

    def __enter__(self) -> "DrawsFolder":
        self.writing: AbstractContextManager[Path] = whole(self.path)
        self.part = self.writing.__enter__()
        self.part.mkdir()
        return self

    def __exit__(self, *error: Any) -> None:
        self.writing.__exit__(*error)

    def add(self, start: int, block: Mapping[str, np.ndarray]) -> None:
        """Writes the arrays of a block, whose first row is number ``start``."""
        for name, array in block.items():
            file = self.part / f"{name}.npy"
            if not start:
                shape = tuple(self.number if i == self.axis else n for i, n in enumerate(array.shape))
                np.lib.format.open_memmap(file, mode="w+", dtype=array.dtype, shape=shape)
                self.names.append(name)
            # Mapped for every block alone, so that pages that were written do not count as memory held.
            rows = slice(start, start + array.shape[self.axis])
            np.load(file, mmap_mode="r+")[(slice(None),) * self.axis + (rows,)] = array

    def arrays(self) -> dict[str, np.ndarray]:
        """The arrays, memory-mapped."""
        return {name: np.load(self.path / f"{name}.npy", mmap_mode="r") for name in self.names}
