"""Folders of `.npy`, zarr and HDF5 as sources of rows: read as rows are asked for, never whole."""

import os
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from mmppl.batch import Batch
from mmppl.covariates import Covariate, infer_covariates
from mmppl.data.arrays import BESIDE, COORDINATES, LABEL, PRESENT, UNITS, Said, batch_of, said_of
from mmppl.data.optional import need
from mmppl.errors import DataError
from mmppl.modality import Modality

__all__ = ["RowFiles", "open_rows", "write_rows"]

NPY = ".npy"
H5 = (".h5", ".hdf5")
SEEN = 1000
# Room for the header of a file whose number of rows is not known until its end.
HEADER = 192


class RowFiles:
    """Arrays of one length in files, by name, as a source of rows; see :func:`open_rows`.

    Arguments:
        arrays: What has a shape ``(N, *event)``, a dtype and rows by an array of places, by name.
        where: Where they are, for messages.
        kinds: Kinds of modalities, by name.
        covariates: Which arrays are covariates.
        beside: Names and units of coordinates, ``<name>__coordinates`` and ``<name>__units``, as texts.

    Raises:
        DataError: If there is none, their lengths differ, or a covariate is none of them.
    """

    def __init__(
        self,
        arrays: Mapping[str, Any],
        where: str,
        kinds: Mapping[str, str] | None = None,
        covariates: Said | None = None,
        beside: Mapping[str, np.ndarray] | None = None,
    ):
        self.beside = dict(beside or {})
        self.arrays, self.where, self.kinds = dict(arrays), where, dict(kinds or {})
        self.said = said_of(covariates)
        unknown = [name for name in self.said if name not in self.arrays]
        if unknown:
            raise DataError(f"Expected covariates among the arrays {list(self.arrays)} of '{where}'; got {unknown}.")
        lengths = {name: int(array.shape[0]) if array.shape else -1 for name, array in self.arrays.items()}
        if not lengths:
            raise DataError(f"Expected arrays (N, ...) in '{where}'; got none.")
        first, number = next(iter(lengths.items()))
        for name, length in lengths.items():
            if length != number or length < 0:
                raise DataError(
                    f"Expected as many rows in '{name}' as in '{first}' of '{where}', {number}; got shape "
                    f"{tuple(self.arrays[name].shape)}."
                )
        self.number = number

    def __repr__(self) -> str:
        what = (f"{name} {tuple(x.shape[1:])}" for name, x in self.arrays.items())
        return f"RowFiles '{self.where}': {self.number:,} rows of {', '.join(what)}"

    def __len__(self) -> int:
        return self.number

    def __getitem__(self, places: np.ndarray | slice) -> dict[str, np.ndarray]:
        """Arrays of some rows by name."""
        if isinstance(places, slice):
            places = np.arange(*places.indices(self.number))
        return {name: _some(array, np.asarray(places)) for name, array in self.arrays.items()}

    @cached_property
    def modalities(self) -> dict[str, Modality]:
        """Modalities, by the first 1,000 rows and the rules of :mod:`mmppl.data.kinds`."""
        seen = self[: min(SEEN, self.number)]
        arrays = {name: x for name, x in seen.items() if name not in self.said}
        return batch_of({**arrays, **self.beside}, kinds=self.kinds, where=self.where)[1]

    @cached_property
    def covariates(self) -> dict[str, Covariate]:
        """Covariates, by all rows, which are read of these arrays alone."""
        found = {name: what for name, what in self.said.items() if isinstance(what, Covariate)}
        arrays = {name: _some(self.arrays[name], np.arange(self.number)) for name in self.said if name not in found}
        return {name: (found | infer_covariates(arrays, self.said)[1])[name] for name in self.said}


def open_rows(
    path: str | os.PathLike, *, kinds: Mapping[str, str] | None = None, covariates: Said | None = None
) -> RowFiles:
    """Opens arrays ``(N, *event)`` in files, one for each modality, as a source of rows, of which nothing is read yet.

    Beside an array may be its ``<name>__present``, ``<name>__coordinates`` and ``<name>__units``, and ``label``, as in
    a ``.npz`` file.

    Arguments:
        path: A folder of ``<name>.npy`` files, which are memory-mapped; a ``.zarr`` folder of arrays; or a ``.h5`` or
            ``.hdf5`` file of data sets.
        kinds: Kinds of modalities by name, where :mod:`mmppl.data.kinds` would take them for others.
        covariates: Arrays ``(N,)`` that are covariates, as in :func:`~mmppl.data.from_pandas`.

    Returns:
        A source with ``len``, rows by places, ``modalities``, as the first 1,000 rows tell them, and ``covariates``.

    Raises:
        DataError: If the path is none of these, cannot be read, arrays differ in length, or a covariate is none.
        PackageError: If a package is not installed that reads it.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     np.save(f"{folder}/x.npy", np.ones((5, 2)))
        ...     rows = open_rows(folder)
        ...     len(rows), rows[np.array([1, 4])]["x"].shape, list(rows.modalities)
        (5, (2, 2), ['x'])
    """
    path = Path(path)
    if not path.exists():
        raise DataError(f"Expected a folder of .npy files, a .zarr folder or a .h5 file; '{path}' is not there.")
    try:
        if path.suffix in H5:
            file = need("h5py", "all").File(path, "r")
            found = {name: file[name] for name in file if hasattr(file[name], "shape")}
        elif path.suffix == ".zarr":
            found = dict(need("zarr", "zarr").open_group(path, mode="r").arrays())
        elif path.is_dir():
            found = {file.name.removesuffix(NPY): _Mapped(file) for file in sorted(path.glob(f"*{NPY}"))}
        else:
            raise DataError(f"Expected a folder of .npy files, a .zarr folder or a .h5 file; got '{path}'.")
    except (OSError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"'{path}' cannot be read as arrays: {error}.") from error
    beside = {name: _texts(x) for name, x in found.items() if name.endswith((COORDINATES, UNITS))}
    arrays = {name: x for name, x in found.items() if not name.endswith(BESIDE)}
    return RowFiles(arrays, str(path), kinds, covariates, beside)


def write_rows(folder: str | os.PathLike, batches: Iterable[Batch]) -> RowFiles:
    """Writes batches to a folder of ``.npy`` files, one after another, and opens it.

    Arguments:
        folder: The folder, made if need be; it may have no ``.npy`` files yet.
        batches: The batches, of the same modalities and covariates, with labels or without. Covariates are arrays like
            the others, by which a fit finds them; names of classes need be of one length, or codes.

    Raises:
        DataError: If the folder has such files, or batches differ in modalities, shapes or types.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     parts = (Batch({"x": np.full((2, 3), float(i))}) for i in range(4))
        ...     write_rows(folder, parts)[np.array([0, 7])]["x"].tolist()
        [[0.0, 0.0, 0.0], [3.0, 3.0, 3.0]]
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.glob(f"*{NPY}")):
        raise DataError(f"Expected a folder without .npy files; '{folder}' has some. Choose another.")
    written: dict[str, _Growing] = {}
    beside: tuple[str, ...] = ()
    with ExitStack() as stack:
        for number, batch in enumerate(batches):
            parts = {**batch.values, **{f"{name}{PRESENT}": mask for name, mask in batch.masks.items()}}
            if LABEL in parts:
                raise DataError(f"A modality cannot be called '{LABEL}' in files; rename it.")
            parts |= {} if batch.label is None else {LABEL: np.asarray(batch.label)}
            parts |= {name: _plain(array) for name, array in batch.covariates.items()}
            beside = tuple(batch.covariates)
            if not number:
                written = {name: stack.enter_context(_Growing(folder / f"{name}{NPY}", x)) for name, x in parts.items()}
            if set(parts) != set(written):
                raise DataError(f"Expected batches of {sorted(written)}; got {sorted(parts)} in batch {number}.")
            for name, array in parts.items():
                written[name].add(np.asarray(array))
    return open_rows(folder, covariates=beside)


def _texts(array: Any) -> np.ndarray:
    """Texts of an array in a file, which HDF5 holds as bytes."""
    found = np.asarray(array[...])
    flat = [x.decode() if isinstance(x, bytes) else str(x) for x in found.ravel().tolist()]
    return np.array(flat, str).reshape(found.shape)


class _Mapped:
    """A `.npy` file, mapped for every read alone, so that pages that were read do not count as memory held."""

    def __init__(self, file: Path):
        self.file = file
        try:
            found = np.load(file, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise DataError(
                f"'{file}' cannot be read as an array: {type(error).__name__}. Expected a file that np.save wrote of "
                "numbers or texts, not of objects."
            ) from error
        self.shape, self.dtype = found.shape, found.dtype

    def __getitem__(self, places: np.ndarray) -> np.ndarray:
        return np.load(self.file, mmap_mode="r", allow_pickle=False)[places]


class _Growing:
    """A `.npy` file that is written from its first row to its last, whose number its header says in the end."""

    def __init__(self, file: Path, like: np.ndarray):
        like = np.asarray(like)
        self.file, self.dtype, self.event, self.rows = open(file, "wb"), like.dtype, like.shape[1:], 0

    def __enter__(self) -> "_Growing":
        self.file.write(b"\0" * HEADER)
        return self

    def add(self, array: np.ndarray) -> None:
        if array.shape[1:] != self.event or array.dtype != self.dtype:
            raise DataError(
                f"Expected rows of shape {self.event} and type {self.dtype} in '{self.file.name}'; got "
                f"{array.shape[1:]} and {array.dtype}."
            )
        self.file.write(np.ascontiguousarray(array).tobytes())
        self.rows += len(array)

    def __exit__(self, *error: object) -> None:
        shape = (self.rows, *self.event)
        text = (
            f"{{'descr': {np.lib.format.dtype_to_descr(self.dtype)!r}, 'fortran_order': False, 'shape': {shape!r}, }}"
        )
        begin = np.lib.format.magic(1, 0)
        room = HEADER - len(begin) - 2
        self.file.seek(0)
        self.file.write(begin + room.to_bytes(2, "little") + text.ljust(room - 1).encode("latin1") + b"\n")
        self.file.close()


def _plain(array: Any) -> np.ndarray:
    """An array of numbers or texts, which objects are made."""
    array = np.asarray(array)
    return array.astype(np.str_) if array.dtype.kind == "O" else array


def _some(array: Any, places: np.ndarray) -> np.ndarray:
    """Rows of an array in a file, read in the order in which they lie there: HDF5 takes no other, disks like none."""
    order, back = np.unique(places, return_inverse=True)
    if isinstance(array, _Mapped):
        return array[places]
    if not len(order):
        return np.zeros((0, *array.shape[1:]), array.dtype)
    low, high = int(order[0]), int(order[-1]) + 1
    if high - low == len(order):
        found = array[low:high]
    elif hasattr(array, "oindex"):
        found = array.oindex[order]
    else:
        found = array[order]
    return np.asarray(found)[back]
