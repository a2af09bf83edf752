"""Data of a run folder, and of the command line."""

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from mmppl.batch import Batch
from mmppl.covariates import check_covariates
from mmppl.data import Dataset, load
from mmppl.data.files import is_file
from mmppl.data.loading import NAMES
from mmppl.data.row_folders import MOST, is_row_folder
from mmppl.data.row_source import is_source
from mmppl.data.rows import rows_or_batch
from mmppl.errors import DataError, OptionError, RunError
from mmppl.inference import Fitted, Run
from mmppl.inference.training.checksums import data_digest
from mmppl.inference.training.held_out import hold_out
from mmppl.inference.training.prepared import BY_DEFAULT
from mmppl.inference.training.resuming import difference
from mmppl.inference.training.run_info import RunInfo
from mmppl.inference.training.survey import survey
from mmppl.models.loading import load as load_fitted

__all__ = ["TRAINED", "check_columns", "columns_info", "load_data", "load_run", "open_data", "run_info", "single"]

# What run.json says of a run that had all of the data's training part.
TRAINED = {"part": "train"}


def run_info(
    data: str | os.PathLike,
    root: str | os.PathLike | None = None,
    kinds: Mapping[str, str] | None = None,
    max_bytes: int | None = None,
    covariates: Mapping[str, str | None] | None = None,
) -> dict[str, Any]:
    """Entries of ``run.json`` by which :func:`load_data` finds the data again: pass them to ``fit(..., info=)``.

    Arguments:
        data: Name of the data, or path of a file.
        root: Folder of data that are not embedded.
        kinds: Kinds of modalities of a file, by name, where they were said.
        max_bytes: Size that a compressed ``.npz`` file may unpack to, where it was said.
        covariates: Columns or arrays of a file that are covariates, with their kinds where they were said.

    Example:
        >>> run_info("linear_gaussian")
        {'data': 'linear_gaussian', 'data_root': None}
    """
    name = os.fspath(data)
    where = {
        "data": str(Path(name).resolve()) if is_file(name) or (name not in NAMES and is_row_folder(name)) else name,
        "data_root": None if root is None else str(Path(root).resolve()),
    }
    said = {"kinds": dict(kinds or {}), "max_bytes": max_bytes, "file_covariates": dict(covariates or {})}
    return where | {name: value for name, value in said.items() if value}


def columns_info(dataset: Dataset) -> dict[str, Any]:
    """Entries of ``run.json`` by which :func:`check_columns` knows the columns of each modality and their order."""
    source = dataset.source
    if source is None or source.kind == "xarray":
        return {}
    columns = {name: [str(c) for c in source.columns[name]] for name in dataset.modalities}
    return {"file": source.kind, "columns": {name: found for name, found in columns.items() if len(found) > 1}}


def check_columns(info: RunInfo, dataset: Dataset) -> None:
    """Refuses rows whose columns are others, or in another order, than those of the data that a run was fitted to.

    Raises:
        DataError: If there is such a modality.
    """
    known, now = info.more.get("columns", {}), columns_info(dataset)
    if not now or now["file"] != info.more.get("file"):
        return
    for name, got in now["columns"].items():
        expected = known.get(name, got)
        if got != expected:
            place = next((i for i, pair in enumerate(zip(expected, got, strict=False)) if pair[0] != pair[1]), 0)
            raise DataError(
                f"Modality '{name}': expected the columns of the data that were fitted to, in their order; got "
                f"'{got[place]}' in place of '{expected[place]}'. Put them into that order."
            )


def single(batch: Batch) -> Batch:
    """The same rows with floats in single precision, that of the published systems' weights.

    Example:
        >>> str(single(Batch({"a": np.zeros((2, 3))}))["a"].dtype)
        'float32'
    """
    floats = {n: x.astype(np.float32) for n, x in batch.values.items() if np.issubdtype(x.dtype, np.floating)}
    return replace(batch, values={**batch.values, **floats})


def open_data(
    data: str | os.PathLike,
    root: str | os.PathLike | None = None,
    kinds: Mapping[str, str] | None = None,
    max_bytes: int | None = None,
    covariates: Mapping[str, str | None] | None = None,
) -> Dataset:
    """The data by name or path as published systems take them, in single precision.

    Raises:
        OptionError, DataError: As :func:`mmppl.data.load`, and if a name, which is no file, comes with ``max_bytes``.
    """
    if max_bytes is not None and not is_file(data):
        raise OptionError(f"Expected a file with max_bytes={max_bytes}; got data '{data}', which are no file.")
    more: dict[str, Any] = {} if max_bytes is None else {"max_bytes": max_bytes}
    more |= {"covariates": covariates} if covariates else {}
    dataset = load(data, root=root, kinds=kinds, **more)
    train = dataset.train if is_source(dataset.train) else single(dataset.train)
    return replace(dataset, train=train, test=single(dataset.test))


def load_data(path: str | os.PathLike) -> Dataset:
    """The data that a run folder was fitted to.

    Arguments:
        path: The run folder.

    Raises:
        RunError: If the run does not say which, or they have changed since then, which is known of runs of the command
            line: they had the whole training part.
        OptionError, DataError: If they cannot be loaded.
    """
    info = Run(path).info()
    data, root = info.more.get("data"), info.more.get("data_root")
    if not isinstance(data, str) or not isinstance(root, str | None):
        raise RunError(
            f"'{path}' does not say which data it was fitted to. Take a run of 'mmppl fit', or fit with out= and info= "
            "mmppl.diagnostics.run_info(FILE), the file as the command line reads it."
        )
    said = [info.more.get(name) for name in ("kinds", "max_bytes", "file_covariates")]
    dataset = open_data(data, root, *said)
    now = {name: m.as_dict() for name, m in dataset.modalities.items()}
    if _kinds(now) != _kinds(info.modalities) or _moved(now, info.modalities):
        raise RunError(f"The data '{data}' have other modalities than when '{path}' was fitted. Fit it again.")
    if TRAINED.items() <= info.more.items():
        _check_unchanged(info, dataset)
    if not is_source(dataset.train):
        return dataset
    some = rows_or_batch(dataset.train, dataset.modalities, dataset.covariates)[:MOST]
    return replace(dataset, train=single(some))


def _check_unchanged(info: RunInfo, dataset: Dataset) -> None:
    """Refuses data that have changed since a run was fitted to all of their training part."""
    known = check_covariates(info.options.get("covariates") or {}, dataset.modalities)
    rows = rows_or_batch(dataset.train, dataset.modalities, known)
    held = info.validation or {}
    share = None if held.get(BY_DEFAULT) else held.get("share")
    train, _, _ = hold_out(share, rows, dataset.modalities, info.seed)
    now = data_digest(train) if isinstance(train, Batch) else survey(train, lambda _: None, partly=True).digest
    changed = difference(info.data_digest or {}, now)
    if changed:
        raise RunError(
            f"The data '{info.more['data']}' are not those that the run was fitted to: {changed}. What is tested may "
            "have been trained on. Put them back, or fit again."
        )


def load_run(path: str | os.PathLike) -> tuple[Fitted, Dataset]:
    """The fitted program of a run folder, and its data.

    Arguments:
        path: The run folder.

    Raises:
        RunError, OptionError, DataError, HostError: As :func:`mmppl.load` and :func:`load_data`.
    """
    return load_fitted(path), load_data(path)


def _kinds(modalities: dict[str, dict]) -> dict[str, list]:
    """Kind, shape and ids of modalities; how they are scored is the program's."""
    fields = ("kind", "shape", "vocabulary", "categories", "names")
    return {name: [m.get(field) for field in fields] for name, m in modalities.items()}


def _moved(now: dict[str, dict], held: dict[str, dict]) -> bool:
    """Tells whether coordinates of a modality have other names, where both say them."""
    pairs = ((m.get("coordinates"), held[name].get("coordinates")) for name, m in now.items())
    return any(None not in pair and pair[0] != pair[1] for pair in pairs)
