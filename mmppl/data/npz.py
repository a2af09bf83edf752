"""The `.npz` contract: one array per modality, what stands beside it optional; nothing is unpickled."""

import os
import reprlib
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mmppl.batch import Batch, Modality
from mmppl.checks import ANYTHING, at_least, checked
from mmppl.data.archives import MOST_UNPACKED, check_archive
from mmppl.data.arrays import COORDINATES, KIND, LABEL, PRESENT, UNITS, Said, batch_of, said_of, with_covariates
from mmppl.data.dataset import Dataset
from mmppl.data.kinds import numpy_of
from mmppl.data.source import named
from mmppl.errors import DataError
from mmppl.writing import whole

__all__ = ["load_npz", "names_and_units", "read_npz", "write_npz"]


@checked(max_bytes=at_least(0))
def read_npz(
    path: str | os.PathLike,
    *,
    kinds: Mapping[str, str] | None = None,
    modalities: Mapping[str, Modality] | None = None,
    max_bytes: int = MOST_UNPACKED,
    covariates: Said | None = None,
) -> Batch:
    """Reads a batch from a ``.npz`` file.

    What an array is follows from its type and shape, by the rules of :mod:`mmppl.data.kinds`: integers ``(N,)`` and
    texts are categories, integers ``(N, L)`` counts, uint8 ``(N, C, H, W)`` or ``(N, H, W)`` images, read as x / 255.
    ``<name>__kind``, a text, says otherwise. ``<name>__coordinates`` are names of the coordinates of a vector or of
    counts, ``<name>__units`` a text, or one for each of them. ``<name>__present`` is boolean, of rows ``(N,)`` or of
    the array's shape (all present where it is left out), ``label`` a vector ``(N,)``. Values that are not present are
    read as zero, whatever stands there. A float that is NaN is a missing element.

    Arguments:
        path: The file.
        kinds: Kinds by name, which go before those that the file says.
        modalities: What its modalities are, where it is known: those of a program that the rows are for.
        max_bytes: Size that a compressed file may unpack to; one that is not compressed is as large as it is.
        covariates: Arrays ``(N,)`` that are covariates, as in :func:`~mmppl.data.from_pandas`.

    Raises:
        DataError: If the file is missing, corrupt, not a ``.npz``, unpacks to more than ``max_bytes`` or holds anything
            but plain arrays; if arrays do not fit the contract; if a value that is present is Inf;
            if the labels have another length.
        ModalityError: If modalities have different numbers of rows, or a mask is not boolean, of rows or of the array's
            shape.
        OptionError: If a kind is unknown.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = write_npz(f"{folder}/two.npz", {"x": np.full((2, 1, 4, 4), 51, np.uint8), "label": np.arange(2)})
        ...     batch = read_npz(f"{folder}/two.npz")
        >>> batch["x"].shape, float(batch["x"].max()), batch.label.tolist()
        ((2, 1, 4, 4), 0.20000000298023224, [0, 1])
    """
    arrays, beside, said = _apart(read_arrays(path, max_bytes), covariates, path)
    batch, _ = batch_of(arrays, kinds=kinds, modalities=modalities, where=os.fspath(path))
    return with_covariates(batch, beside, said)[0]


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


@checked(data=ANYTHING)
def write_npz(
    path: str | os.PathLike,
    data: Batch | Mapping[str, Any],
    force: bool = False,
    *,
    modalities: Mapping[str, Modality] | None = None,
) -> Path:
    """Writes a batch, or arrays by name, to a ``.npz`` file, whole or not at all.

    Arguments:
        path: The file to write.
        data: A batch of any host's arrays, or arrays by name (with ``<name>__present`` and ``label`` if wanted).
        force: Whether to replace a file that exists; one that is no ``.npz`` is not replaced.
        modalities: What the modalities are: then ``<name>__kind`` is written too, names and units of coordinates, and
            categories under their names.

    Returns:
        The path written.

    Raises:
        DataError: If the path exists and ``force`` is False, its folder does not exist, an array holds objects or has a
            mask, or the file cannot be written, as on a full disk.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_npz(f"{folder}/a.npz", Batch({"v": np.ones((3, 2))})).name
        'a.npz'
    """
    path = Path(path)
    check_free(path, force)
    named_by_text = isinstance(data, Batch) or isinstance(data, Mapping) and all(isinstance(name, str) for name in data)
    if not named_by_text or not len(data):
        raise DataError(f"Expected data to be a Batch with rows, or arrays by name; got {reprlib.repr(data)}.")
    arrays: dict[str, Any] = {key: numpy_of(value, f"'{key}'") for key, value in _columns(data).items()}
    declared = {name: m for name, m in (modalities or {}).items() if name in arrays}
    arrays = named(arrays, declared) | names_and_units(arrays, declared)
    arrays |= {f"{name}{KIND}": np.array(m.kind) for name, m in declared.items()}
    for key, value in arrays.items():
        if value.dtype.hasobject:
            raise DataError(f"Expected plain arrays; got objects in '{key}', which a .npz would have to pickle.")
    with whole(path) as part, part.open("wb") as file:
        np.savez(file, **arrays)
    return path


def names_and_units(names: Iterable[str], modalities: Mapping[str, Modality]) -> dict[str, np.ndarray]:
    """Names and units of coordinates as they stand beside arrays, of the modalities of these names that have any.

    Example:
        >>> bill = Modality((2,), coordinates=("length", "depth"), units="mm")
        >>> {key: array.tolist() for key, array in names_and_units(["bill"], {"bill": bill}).items()}
        {'bill__coordinates': ['length', 'depth'], 'bill__units': 'mm'}
    """
    out: dict[str, np.ndarray] = {}
    for name in names:
        if name in modalities:
            beside = {COORDINATES: modalities[name].coordinates, UNITS: modalities[name].units}
            out |= {f"{name}{ending}": np.array(said) for ending, said in beside.items() if said is not None}
    return out


def check_free(path: Path, force: bool) -> None:
    """Refuses a path that :func:`write_npz` would refuse.

    Raises:
        DataError: If it exists and may not be replaced, or has no folder to be in.
    """
    if path.exists() and not force:
        raise DataError(f"Expected a new path; got {path}, which exists. Pass force (--force) to replace it.")
    if path.is_file() and not zipfile.is_zipfile(path):
        raise DataError(f"'{path}' is no .npz file, so it is not replaced; choose another path.")
    if not path.parent.is_dir():
        raise DataError(f"Expected a path in a folder that exists; got {path}. Make the folder first.")


@checked(max_bytes=at_least(0))
def load_npz(
    path: str | os.PathLike,
    seed: int,
    kinds: Mapping[str, str] | None = None,
    max_bytes: int = MOST_UNPACKED,
    covariates: Said | None = None,
) -> Dataset:
    """A data set from one file, split by ``seed``: four fifths of the rows for training, the rest for testing.

    Arguments:
        path: The file.
        seed: Seed of the split.
        kinds: Kinds by name, which go before those that the file says.
        max_bytes: Size that a compressed file may unpack to.
        covariates: Arrays ``(N,)`` that are covariates, as in :func:`~mmppl.data.from_pandas`.
    """
    arrays, beside, said = _apart(read_arrays(path, max_bytes), covariates, path)
    batch, modalities = batch_of(arrays, kinds=kinds, where=os.fspath(path))
    batch, known = with_covariates(batch, beside, said)
    return Dataset.of_rows(Path(path).stem, modalities, batch, seed, covariates=known)


def _apart(arrays: dict[str, np.ndarray], covariates: Said | None, path: str | os.PathLike) -> tuple[dict, dict, dict]:
    """Arrays of modalities, those of covariates, and what is said of these."""
    said = said_of(covariates)
    unknown = [name for name in said if name not in arrays]
    if unknown:
        raise DataError(f"Expected covariates among the arrays {list(arrays)} of {path}; got {unknown}.")
    return {n: x for n, x in arrays.items() if n not in said}, {n: arrays[n] for n in said}, said


def _columns(data: Batch | Mapping[str, Any]) -> dict[str, Any]:
    if not isinstance(data, Batch):
        return dict(data)
    if LABEL in data.values:
        raise DataError(f"A modality cannot be called '{LABEL}' in a .npz file; rename it.")
    columns = dict(data.values) | {f"{name}{PRESENT}": mask for name, mask in data.masks.items()}
    return columns if data.label is None else columns | {LABEL: data.label}
