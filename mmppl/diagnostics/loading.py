"""Run folders back into programs with their weights, and into the data they were fitted to."""

import os
from dataclasses import asdict, replace
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from mmppl import models
from mmppl.batch import Batch, Modality
from mmppl.data import Dataset, load
from mmppl.errors import MMPPLError, OptionError, RunError
from mmppl.inference import Fitted, Run

__all__ = ["BACKENDS", "face", "load_data", "load_fitted", "load_run", "open_data", "run_info", "single"]

BACKENDS = ("numpyro", "pyro")


def face(backend: str) -> ModuleType:
    """The face of a host by name; only this one is imported.

    Raises:
        OptionError: If the name is unknown.
        HostError: If the host is not installed.
    """
    if backend not in BACKENDS:
        raise OptionError(f"Unknown backend '{backend}'; expected one of {', '.join(BACKENDS)}.")
    return import_module(f"mmppl.{backend}")


def run_info(data: str | os.PathLike, root: str | os.PathLike | None, dataset: Dataset) -> dict[str, Any]:
    """What ``run.json`` must say of the data for :func:`load_run`: pass it to ``fit(..., info=)``.

    Arguments:
        data: Name of the data, or path of a ``.npz`` file.
        root: Folder of data that are not embedded.
        dataset: The data.

    Example:
        >>> run_info("linear_gaussian", None, load("linear_gaussian"))["modalities"]["a"]["shape"]
        [3]
    """
    name = os.fspath(data)
    return {
        "data": str(Path(name).resolve()) if Path(name).suffix == ".npz" else name,
        "data_root": None if root is None else str(Path(root).resolve()),
        "modalities": {n: asdict(m) | {"shape": list(m.shape)} for n, m in dataset.modalities.items()},
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


def load_fitted(path: str | os.PathLike) -> Fitted:
    """The program of a run folder with its weights; the data are not needed.

    Arguments:
        path: A run folder written by ``mmppl fit``, or by ``fit`` with :func:`run_info`.

    Raises:
        RunError: If the folder is not a run, is half-written, of another version, or does not fit its own weights.
        HostError: If its host is not installed.
    """
    run = Run(path)
    info = run.info()
    try:
        modalities = {n: Modality(**m) for n, m in info["modalities"].items()}
        name, backend, options, seed = info["model"], info["backend"], info["options"], info["seed"]
    except (KeyError, TypeError, AttributeError) as error:
        raise RunError(
            f"'{path}' cannot be loaded: {error} in its run.json. Fit with the command line, or "
            "pass info=run_info(...) to fit."
        ) from error
    weights, history = run.weights(), run.history()
    ppl = face(backend)
    try:
        program = models.make(name, modalities, ppl=ppl, seed=seed, **options)
    except OptionError as error:
        raise RunError(f"'{path}' is a run of another version: {error}") from error
    fitted = Fitted(program, weights, history)
    try:
        fitted.model  # noqa: B018  bound now, so that weights of another program are found here
    except MMPPLError:
        raise
    except (KeyError, ValueError, TypeError, RuntimeError) as error:
        raise RunError(
            f"The weights in '{path}' do not fit its run.json ({_first_line(error)}). Fit it again."
        ) from error
    return fitted


def load_data(path: str | os.PathLike) -> Dataset:
    """The data that a run folder was fitted to.

    Raises:
        RunError: If the run does not say which, or they have other modalities now.
        OptionError, DataError: If they cannot be loaded.
    """
    info = Run(path).info()
    if "data" not in info or "modalities" not in info:
        raise RunError(f"'{path}' does not say which data it was fitted to. Fit with info=run_info(...).")
    dataset = open_data(info["data"], info.get("data_root"))
    if run_info(info["data"], None, dataset)["modalities"] != info["modalities"]:
        raise RunError(f"The data '{info['data']}' have other modalities than when '{path}' was fitted. Fit it again.")
    return dataset


def load_run(path: str | os.PathLike) -> tuple[Fitted, Dataset]:
    """The fitted program of a run folder, and its data.

    Raises:
        RunError, OptionError, DataError, HostError: As :func:`load_fitted` and :func:`load_data`.
    """
    return load_fitted(path), load_data(path)


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0][:200]
