"""Data files by ending: tables, AnnData, MuData, zarr and `.npz`, read as data sets, and values written back."""

import os
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from mmppl.batch import Batch
from mmppl.checks import at_least, checked
from mmppl.data.anndata_objects import from_anndata, to_anndata
from mmppl.data.archives import MOST_UNPACKED
from mmppl.data.arrays import Said
from mmppl.data.dataset import Dataset
from mmppl.data.mudata_objects import from_mudata, to_mudata
from mmppl.data.npz import load_npz, read_npz
from mmppl.data.optional import need
from mmppl.data.pandas_frames import from_pandas, in_order, to_pandas
from mmppl.data.xarray_datasets import from_xarray, to_xarray
from mmppl.errors import DataError, MMPPLError, OptionError
from mmppl.modality import Modality
from mmppl.writing import whole

__all__ = ["ENDINGS", "is_file", "load_file", "texts_as_objects", "write_like"]

ENDINGS = (".npz", ".csv", ".parquet", ".h5ad", ".h5mu", ".zarr")
TABLES = (".csv", ".parquet")


def is_file(path: str | os.PathLike) -> bool:
    """Tells whether a name is one of a file, by its ending.

    Example:
        >>> is_file("cells.h5ad"), is_file("polydigits")
        (True, False)
    """
    return Path(path).suffix in ENDINGS


@checked(max_bytes=at_least(1))
def load_file(
    path: str | os.PathLike,
    *,
    seed: int = 0,
    kinds: Mapping[str, str] | None = None,
    modalities: Mapping[str, Modality] | None = None,
    max_bytes: int = MOST_UNPACKED,
    covariates: Said | None = None,
) -> Dataset:
    """A data set from one file by its ending, by the default views of ``from_pandas``, ``from_anndata`` and so on.

    Arguments:
        path: The file; a ``.zarr`` folder holds AnnData, MuData or an xarray data set.
        seed: Seed of the split into training and test rows.
        kinds: Kinds by modality, which go before the rules of :mod:`mmppl.data.kinds`.
        modalities: What the modalities are, where it is known: those of a program that the rows are for.
        max_bytes: Size that a compressed ``.npz`` file may unpack to.
        covariates: Columns, of ``obs`` too, or arrays that are covariates, as in :func:`~mmppl.data.from_pandas`.

    Raises:
        DataError: If the file is missing or cannot be read, or its values do not fit.
        PackageError: If a package is not installed that reads it.
    """
    path = Path(path)
    if path.suffix == ".npz":
        if modalities is None:
            return load_npz(path, seed, kinds, max_bytes, covariates)
        rows = read_npz(path, kinds=kinds, modalities=modalities, max_bytes=max_bytes, covariates=covariates)
        return Dataset.of_rows(path.stem, {n: modalities[n] for n in rows}, rows, seed, split=False)
    found = _opened(path)
    makers: Any = {"DataFrame": from_pandas, "AnnData": from_anndata, "MuData": from_mudata}
    make = makers.get(type(found).__name__, from_xarray)
    return make(found, kinds=kinds, modalities=modalities, covariates=covariates, name=path.stem, seed=seed)


def write_like(
    path: str | os.PathLike,
    given: str | os.PathLike,
    values: Batch | Mapping[str, Any],
    data: Dataset,
    *,
    interval: float | None = None,
) -> Path:
    """Writes a copy of a file, with values in their columns, layers or variables.

    Arguments:
        path: The file to write, of the same ending; tables may be of either, and be made of the arrays of a ``.npz``.
        given: The file that the rows were read from.
        values: As in :func:`~mmppl.data.source.imputations`.
        data: What :func:`load_file` made of it.
        interval: Level of central intervals of draws.

    Raises:
        OptionError: If the endings do not go together.
    """
    path, given = Path(path), Path(given)
    arrays_given = given.suffix == ".npz"
    if path.suffix not in (TABLES if arrays_given or given.suffix in TABLES else (given.suffix,)):
        ending = ".csv or .parquet" if arrays_given else f"{given.suffix}, as the one given does"
        raise OptionError(f"Expected a file that ends in {ending}, or in .npz; got {path}.")
    if arrays_given:
        with whole(path) as part:
            made = to_pandas(values, data, interval=interval)
            made.to_csv(part, index=False) if path.suffix == ".csv" else made.to_parquet(part)
        return path
    with nullcontext() if given.suffix in TABLES else texts_as_objects():
        arrays = values.values if isinstance(values, Batch) else values
        room = given.stat().st_size + 3 * sum(np.asarray(x).nbytes for x in arrays.values())
        return _written(path, _opened(given), values, data, interval, room if path.suffix in (".h5ad", ".h5mu") else 0)


def _written(path: Path, found: Any, values: Any, data: Dataset, interval: float | None, room: int) -> Path:
    kind = type(found).__name__
    with whole(path, room) as part:
        if kind == "DataFrame":
            made = to_pandas(values, data, interval=interval)
            pandas = need("pandas", "tables")
            found = pandas.DataFrame(in_order(dict(found) | dict(made), list(found)), index=found.index)
            rows_named = not isinstance(found.index, pandas.RangeIndex)
            found.to_csv(part, index=rows_named) if path.suffix == ".csv" else found.to_parquet(part)
        elif kind in ("AnnData", "MuData"):
            made = (to_anndata if kind == "AnnData" else to_mudata)(values, data, found, interval=interval)
            if path.suffix == ".zarr":
                made.write_zarr(part)
            else:
                made.write(part)
        else:
            found.assign(to_xarray(values, data, interval=interval).data_vars).to_zarr(part, consolidated=False)
    return path


def _opened(path: Path) -> Any:
    """Contents of a file, by the package that reads it."""
    if not path.exists():
        raise DataError(f"Expected a file; got '{path}', which is not there.")
    if path.suffix not in ENDINGS:
        raise DataError(f"Expected a file that ends in {', '.join(ENDINGS)}; got '{path}'.")
    try:
        if path.suffix == ".csv":
            return _with_index(_table(path))
        if path.suffix == ".parquet":
            need("pyarrow", "tables")
            return need("pandas", "tables").read_parquet(path)
        if path.suffix == ".h5ad":
            return need("anndata", "omics").read_h5ad(path)
        if path.suffix == ".h5mu":
            return need("mudata", "omics").read_h5mu(path)
        kind = need("zarr", "zarr").open_group(path, mode="r").attrs.get("encoding-type")
        if kind == "anndata":
            return need("anndata", "omics").read_zarr(path)
        if kind == "MuData":
            return need("mudata", "omics").read_zarr(path)
        return need("xarray", "zarr").open_zarr(path, chunks=None, consolidated=False).load()
    except MMPPLError:
        raise
    except Exception as error:  # each package has errors of its own for what is not a file of its kind
        raise DataError(
            f"Expected a {path.suffix} file; got {path}, which cannot be read ({_brief(error)}).{_remedy(error)}"
        ) from error


def _table(path: Path) -> Any:
    """A .csv, in which whole numbers stay whole where others in their column are missing."""
    pandas = need("pandas", "tables")
    frame = pandas.read_csv(path)
    if len(frame.columns) == 1 and re.search("[;\t]", str(frame.columns[0])):
        raise DataError(
            f"Expected columns of {path} parted by commas; got one column, {frame.columns[0]!r:.60}. Read it by "
            "pandas.read_csv(path, sep=..., decimal=...) for from_pandas, or write it with commas."
        )
    gaps = [c for c in frame.columns if frame[c].dtype.kind == "f" and frame[c].isna().any() and frame[c].notna().any()]
    whole = [c for c in gaps if (frame[c].dropna() % 1 == 0).all() and (frame[c].dropna().abs() < 2**53).all()]
    if whole:
        texts = pandas.read_csv(path, dtype=dict.fromkeys(whole, str))  # 3, as of eggs, or 3.0, as of a length
        whole = [c for c in whole if texts[c].dropna().str.strip().str.fullmatch(r"[+-]?\d+").all()]
    return frame.astype(dict.fromkeys(whole, "Int64"))


def _with_index(frame: Any) -> Any:
    """A table whose first column has no name, as an index is written, with it as names of the rows: no modality."""
    return (
        frame.set_index(frame.columns[0]).rename_axis(None) if frame.columns[:1].isin(["Unnamed: 0"]).any() else frame
    )


@contextmanager
def texts_as_objects() -> Iterator[None]:
    """Context manager in which pandas keeps texts as objects, which every version of anndata can write."""
    with warnings.catch_warnings():
        # It goes in pandas 4, which anndata cannot be used with yet.
        warnings.filterwarnings("ignore", "The 'future.infer_string' option")
        with need("pandas", "tables").option_context("future.infer_string", False):
            yield


def _remedy(error: Exception) -> str:
    return " Save it as UTF-8." if isinstance(error, UnicodeDecodeError) else ""


def _brief(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0][:200]
