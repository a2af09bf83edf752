"""Data of a run folder, and of the command line."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from mmppl.batch import Batch
from mmppl.data import Dataset, load
from mmppl.errors import RunError
from mmppl.inference import Fitted, Run
from mmppl.models.loading import load as load_fitted

__all__ = ["load_data", "load_run", "open_data", "run_info", "single"]


def run_info(data: str | os.PathLike, root: str | os.PathLike | None = None) -> dict[str, Any]:
    """Entries of ``run.json`` by which :func:`load_data` finds the data again: pass them to ``fit(..., info=)``.

    Arguments:
        data: Name of the data, or path of a ``.npz`` file.
        root: Folder of data that are not embedded.

    Example:
        >>> run_info("linear_gaussian")
        {'data': 'linear_gaussian', 'data_root': None}
    """
    name = os.fspath(data)
    return {
        "data": str(Path(name).resolve()) if Path(name).suffix == ".npz" else name,
        "data_root": None if root is None else str(Path(root).resolve()),
    }


def single(batch: Batch) -> Batch:
    """The same rows with floats in single precision, that of the published systems' weights.

    Example:
        >>> str(single(Batch({"a": np.zeros((2, 3))}))["a"].dtype)
        'float32'
    """
    floats = {n: x.astype(np.float32) for n, x in batch.values.items() if np.issubdtype(x.dtype, np.floating)}
    return replace(batch, values={**batch.values, **floats})


def open_data(data: str | os.PathLike, root: str | os.PathLike | None = None) -> Dataset:
    """The data by name or path as published systems take them, in single precision.

    Raises:
        OptionError, DataError: As :func:`mmppl.data.load`.
    """
    dataset = load(data, root=root)
    return replace(dataset, train=single(dataset.train), test=single(dataset.test))


def load_data(path: str | os.PathLike) -> Dataset:
    """The data that a run folder was fitted to.

    Raises:
        RunError: If the run does not say which, or they have other modalities now.
        OptionError, DataError: If they cannot be loaded.
    """
    info = Run(path).info()
    data, root = info.more.get("data"), info.more.get("data_root")
    if not isinstance(data, str) or not isinstance(root, str | None):
        raise RunError(f"'{path}' does not say which data it was fitted to. Fit with info=run_info(...).")
    dataset = open_data(data, root)
    now = {name: m.as_dict() for name, m in dataset.modalities.items()}
    if _kinds(now) != _kinds(info.modalities):
        raise RunError(f"The data '{data}' have other modalities than when '{path}' was fitted. Fit it again.")
    return dataset


def load_run(path: str | os.PathLike) -> tuple[Fitted, Dataset]:
    """The fitted program of a run folder, and its data.

    Raises:
        RunError, OptionError, DataError, HostError: As :func:`mmppl.load` and :func:`load_data`.
    """
    return load_fitted(path), load_data(path)


def _kinds(modalities: dict[str, dict]) -> dict[str, list]:
    """Kind, shape and vocabulary of modalities; how they are scored is the program's."""
    return {name: [m.get(field) for field in ("kind", "shape", "vocabulary")] for name, m in modalities.items()}
