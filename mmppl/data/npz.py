"""The `.npz` contract: one array per modality, ``<name>__present`` and ``label`` optional; nothing is unpickled."""

import os
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mmppl._backend import get_backend
from mmppl.batch import Batch, Modality
from mmppl.data.archives import MOST_UNPACKED, check_archive
from mmppl.data.dataset import Dataset, split_rows
from mmppl.errors import DataError, ModalityError

__all__ = ["infer_modalities", "load_npz", "read_npz", "write_npz"]

PRESENT = "__present"
LABEL = "label"


def read_npz(path: str | os.PathLike, max_bytes: int = MOST_UNPACKED) -> Batch:
    """Reads a batch from a ``.npz`` file.

    Arrays of rank 4 are images ``(N, C, H, W)``: uint8 is read as x / 255, floats as they are, both as float32. Float
    arrays of rank 2 are vectors ``(N, D)``, integer arrays of rank 2 are token ids ``(N, L)``. ``<name>__present`` is
    a boolean vector ``(N,)`` (all present where it is left out), ``label`` a vector ``(N,)``. Values that are not
    present are read as zero, whatever stands there.

    Arguments:
        path: The file.
        max_bytes: Size that a compressed file may unpack to; one that is not compressed is as large as it is.

    Raises:
        DataError: If the file is missing, corrupt, not a ``.npz``, unpacks to more than ``max_bytes`` or holds anything
            but plain arrays; if arrays do not fit the contract; if a value that is present is NaN or Inf;
            if the labels have another length.
        ModalityError: If modalities have different numbers of rows, or a mask is not a boolean vector.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = write_npz(f"{folder}/two.npz", {"x": np.full((2, 1, 4, 4), 51, np.uint8), "label": np.arange(2)})
        ...     batch = read_npz(f"{folder}/two.npz")
        >>> batch["x"].shape, float(batch["x"].max()), batch.label.tolist()
        ((2, 1, 4, 4), 0.20000000298023224, [0, 1])
    """
    arrays = read_arrays(path, max_bytes)
    label = arrays.pop(LABEL, None)
    present = {key.removesuffix(PRESENT): arrays.pop(key) for key in list(arrays) if key.endswith(PRESENT)}
    orphans = sorted(set(present) - set(arrays))
    if orphans:
        raise DataError(f"{path}: '{orphans[0]}{PRESENT}' has no array '{orphans[0]}' beside it.")
    if not arrays:
        raise DataError(f"Expected at least one modality in {path}; got none.")
    if label is not None and label.ndim != 1:
        raise DataError(f"Expected '{LABEL}' of shape (N,) in {path}; got {label.shape}.")
    values = {name: _read_value(name, value) for name, value in arrays.items()}
    batch = Batch(values, present, label)
    return batch.validate(infer_modalities(batch), allow_empty_rows=True)


def read_arrays(path: str | os.PathLike, max_bytes: int = MOST_UNPACKED) -> dict[str, np.ndarray]:
    """All arrays of a ``.npz`` file, read without pickle.

    Arguments:
        path: The file.
        max_bytes: Size that a compressed file may unpack to.

    Raises:
        DataError: If the file is missing, corrupt, not a ``.npz`` or holds pickled objects or anything else; or if its
            arrays are larger than it says or than ``max_bytes``.
    """
    if not Path(path).is_file():
        raise DataError(f"Expected a .npz file; got {path}, which is not a file.")
    try:
        # Opened here: numpy leaves its own handle open when the archive is broken.
        with open(path, "rb") as file:
            check_archive(file, path, max_bytes)
            with np.load(file, allow_pickle=False) as archive:
                return {key: archive[key] for key in archive.files}
    except DataError:
        raise
    except MemoryError as error:
        raise DataError(f"Expected arrays of {path} that fit into memory; {error}.") from error
    except (
        OSError,
        EOFError,
        ValueError,
        TypeError,
        AttributeError,
        KeyError,
        NotImplementedError,
        RuntimeError,
        SyntaxError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        # A foreign file may look like a pickle to numpy, or like a bare .npy, which is no context manager.
        detail = "it holds pickled objects" if "Object arrays" in str(error) else "it is corrupt or of another format"
        raise DataError(
            f"Expected a .npz file of plain arrays; got {path}: {detail}. Write it with write_npz."
        ) from error


def write_npz(path: str | os.PathLike, data: Batch | Mapping[str, Any], force: bool = False) -> Path:
    """Writes a batch, or arrays by name, to a ``.npz`` file, whole or not at all.

    Arguments:
        path: The file to write.
        data: A batch of any host's arrays, or arrays by name (with ``<name>__present`` and ``label`` if wanted).
        force: Whether to replace a file that exists.

    Returns:
        The path written.

    Raises:
        DataError: If the path exists and ``force`` is False, its folder does not exist, or an array holds objects.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_npz(f"{folder}/a.npz", Batch({"v": np.ones((3, 2))})).name
        'a.npz'
    """
    path = Path(path)
    if path.exists() and not force:
        raise DataError(f"Expected a new path; got {path}, which exists. Pass force (--force) to replace it.")
    if not path.parent.is_dir():
        raise DataError(f"Expected a path in a folder that exists; got {path}. Make the folder first.")
    arrays = {key: get_backend(value).to_numpy(value) for key, value in _columns(data).items()}
    for key, value in arrays.items():
        if value.dtype.hasobject:
            raise DataError(f"Expected plain arrays; got objects in '{key}', which a .npz would have to pickle.")
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            np.savez(file, **arrays)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return path


def infer_modalities(batch: Batch) -> dict[str, Modality]:
    """The modalities of a batch of numpy arrays, from rank and dtype; a vocabulary is the largest token id plus one."""
    out = {}
    for name, value in batch.values.items():
        how: dict[str, Any] = {}
        if value.ndim == 4:
            how = {"kind": "image", "likelihood": "laplace", "scale": 0.75}
        elif np.issubdtype(value.dtype, np.integer):
            how = {"kind": "tokens", "vocabulary": int(value.max(initial=0)) + 1}
        try:
            out[name] = Modality(value.shape[1:], **how)
        except ModalityError as error:
            raise ModalityError(f"Modality '{name}': {error}") from None
    return out


def load_npz(path: str | os.PathLike, seed: int, max_bytes: int = MOST_UNPACKED) -> Dataset:
    """A data set from one file, split by ``seed``: four fifths of the rows for training, the rest for testing.

    Arguments:
        path: The file.
        seed: Seed of the split.
        max_bytes: Size that a compressed file may unpack to.
    """
    batch = read_npz(path, max_bytes)
    train, test = split_rows(len(batch), seed)
    return Dataset(Path(path).stem, infer_modalities(batch), batch[train], batch[test])


def _columns(data: Batch | Mapping[str, Any]) -> dict[str, Any]:
    if not isinstance(data, Batch):
        return dict(data)
    if LABEL in data.values:
        raise DataError(f"A modality cannot be called '{LABEL}' in a .npz file; rename it.")
    columns = dict(data.values) | {f"{name}{PRESENT}": mask for name, mask in data.present.items()}
    return columns if data.label is None else columns | {LABEL: data.label}


def _read_value(name: str, value: np.ndarray) -> np.ndarray:
    floats, integers = np.issubdtype(value.dtype, np.floating), np.issubdtype(value.dtype, np.integer)
    if value.ndim == 4 and value.dtype == np.uint8:
        return np.divide(value, 255, dtype=np.float32)
    if value.ndim == 4 and floats:
        return value.astype(np.float32, copy=False)
    if value.ndim == 2 and floats:
        return value
    if value.ndim == 2 and integers:
        return value.astype(np.int64, copy=False)
    raise DataError(
        f"Modality '{name}': expected an image (rank 4, uint8 or float), a vector (rank 2, float) or token ids "
        f"(rank 2, integer); got dtype {value.dtype} and shape {value.shape}."
    )
