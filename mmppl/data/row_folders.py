"""Folders of `.npy` files as data sets whose training rows stay on the disk."""

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from mmppl.data.arrays import Said
from mmppl.data.dataset import Dataset, split_rows
from mmppl.data.row_files import NPY, RowFiles, open_rows
from mmppl.data.rows import Rows
from mmppl.errors import DataError

__all__ = ["PartOfRows", "is_row_folder", "load_row_folder"]

# Rows for testing are a batch, of so many at most; the table of what was read is of the first.
MOST, SEEN = 10_000, 1000


def is_row_folder(path: str | os.PathLike) -> bool:
    """Tells whether a path is that of a folder that is no ``.zarr``.

    Example:
        >>> is_row_folder(""), is_row_folder("polydigits")
        (False, False)
    """
    return bool(os.fspath(path).strip()) and os.path.isdir(path) and not Path(path).suffix


class PartOfRows:
    """Some rows of a source, as a source of its own: its rows are numbered anew, which those of a Rows.part are not.

    Arguments:
        rows: The source.
        which: Places of the rows in it.

    Example:
        >>> part = PartOfRows(np.arange(10.0) ** 2, np.array([3, 5, 7]))
        >>> len(part), part[np.array([0, 2])].tolist()
        (3, [9.0, 49.0])
    """

    def __init__(self, rows: RowFiles, which: np.ndarray):
        self.rows, self.which = rows, which

    def __len__(self) -> int:
        return len(self.which)

    def __getitem__(self, places: np.ndarray) -> dict[str, np.ndarray]:
        return self.rows[self.which[places]]


def load_row_folder(
    path: str | os.PathLike,
    *,
    seed: int = 0,
    kinds: Mapping[str, str] | None = None,
    covariates: Said | None = None,
) -> Dataset:
    """A data set of a folder of ``<name>.npy`` files: four fifths of its rows, by a seed, are a source to train on.

    The others are for testing, 10,000 of them at most.

    Arguments:
        path: The folder.
        seed: Seed of the split.
        kinds: Kinds of modalities by name, where the rules of :mod:`mmppl.data.kinds` would take them for others.
        covariates: Arrays ``(N,)`` that are covariates, as in :func:`~mmppl.data.from_pandas`.

    Raises:
        DataError: If it has no such files, one cannot be read, or they differ in length.
    """
    folder = Path(path)
    if not any(folder.glob(f"*{NPY}")):
        raise DataError(f"Expected a folder of <name>.npy files, one for each modality; '{folder}' has none.")
    rows = open_rows(folder, kinds=kinds, covariates=covariates)
    train, test = split_rows(len(rows), seed)
    found = Rows(rows, rows.modalities, rows.covariates)
    return Dataset(
        folder.name,
        rows.modalities,
        PartOfRows(rows, np.sort(train)),
        found[np.sort(test[:MOST])],
        rows=found[:SEEN],
        covariates=rows.covariates,
    )
