"""Run folders back into fitted programs."""

import os
from importlib import import_module
from typing import cast

import numpy as np

from mmppl.batch import Modality
from mmppl.errors import DataError, MMPPLError, OptionError, RunError
from mmppl.inference import Fitted, History, Program, Run
from mmppl.inference.host import PPL
from mmppl.inference.training.run_info import RunInfo
from mmppl.models.catalogue import make

__all__ = ["BACKENDS", "load", "ppl_of"]

BACKENDS = ("numpyro", "pyro")


def ppl_of(backend: str) -> PPL:
    """Imports ``mmppl.numpyro`` or ``mmppl.pyro`` by the name of the host; only this one is imported.

    Raises:
        OptionError: If the name is unknown.
        HostError: If the host is not installed.
    """
    if backend not in BACKENDS:
        raise OptionError(f"Unknown backend '{backend}'; expected one of {', '.join(BACKENDS)}.")
    return cast(PPL, import_module(f"mmppl.{backend}"))


def load(path: str | os.PathLike, program: Program | None = None, *, ppl: PPL | None = None) -> Fitted:
    """Reads back what ``fit(out=path)``, ``Fitted.save(path)`` or ``mmppl fit`` wrote; the data are not needed.

    Arguments:
        path: The run folder.
        program: The program, where it is a user-defined one; a published system is declared anew from what the folder
            says of it.
        ppl: ``mmppl.numpyro`` or ``mmppl.pyro``, where a published system is to run on another host than the one that
            fitted it: parameters have the same names and meaning on both. None for the same host.

    Returns:
        The program with its weights and history. Its objective is the program's own.

    Raises:
        RunError: If the folder is not a run, is half-written, of another version, does not fit its own weights, or
            holds a user-defined program and none is given.
        OptionError: If a program and a host are given, as a program has its host.
        HostError: If its host is not installed.

    Example:
        >>> import tempfile
        >>> import mmppl.pyro as mm  # or mmppl.numpyro
        >>> from mmppl import models
        >>> from mmppl.data import load as load_data
        >>> from mmppl.inference import fit
        >>> data = load_data("linear_gaussian")
        >>> program = models.mvae(data.modalities, ppl=mm, latent_dim=2, hidden=8)
        >>> fitted = fit(program, data.train[:256], epochs=1, batch_size=64, progress=False)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     fitted.save(f"{folder}/run")
        ...     loaded = load(f"{folder}/run")
        >>> loaded.program.name, loaded.weights.keys() == fitted.weights.keys()
        ('mvae', True)
    """
    if program is not None and ppl is not None:
        raise OptionError("Expected program= or ppl=, as a program has its host; got both. Leave ppl out.")
    run = Run(path)
    info = run.info()
    if program is None:
        program = _declared(path, info, ppl)
    label = None if info.label is None else np.asarray(info.label)
    weights, history = run.weights_and_history()
    fitted = Fitted(program, weights, History(history), label)
    try:
        fitted.model  # noqa: B018  bound now, so that weights of another program are found here
    except DataError as error:
        raise RunError(
            f"The weights in '{path}' do not fit its run.json: {error} Where an option's default has changed since, "
            "give load(path, program) a program with what it was; else fit it again."
        ) from error
    except MMPPLError:
        raise
    except (KeyError, ValueError, TypeError, RuntimeError) as error:
        raise RunError(
            f"The weights in '{path}' do not fit its run.json ({_first_line(error)}). Fit it again."
        ) from error
    return fitted


def _declared(path: str | os.PathLike, info: RunInfo, ppl: PPL | None) -> Program:
    """The published system that a run folder names."""
    if info.model == "custom":
        raise RunError(f"'{path}' holds a user-defined program. Pass it: load(path, program=...).")
    modalities = {name: Modality(**fields) for name, fields in info.modalities.items()}
    try:
        return make(info.model, modalities, ppl=ppl or ppl_of(info.backend), seed=info.seed, **info.options)
    except (OptionError, TypeError) as error:
        raise RunError(f"'{path}' is a run of another version: {error}") from error


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0][:200]
