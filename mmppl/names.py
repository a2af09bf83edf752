"""Names of modalities: which ones can be written, drawn and told apart everywhere."""

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from mmppl.errors import ModalityError, OptionError

__all__ = ["RULE", "check_names", "check_names_of_latents"]

RULE = (
    "texts of printable characters other than / \\ , + and $, without spaces at the ends or a leading underscore, with "
    "words between dots"
)
# What stands beside modalities: the plate of the data, dimensions in ArviZ, and what numpy's savez calls its own.
DIMENSIONS = ("chain", "draw", "datum", "observation", "modality")
TAKEN = ("batch", *DIMENSIONS, "file", "allow_pickle")
ENDINGS = ("__present", "__kind", ".npy")
_DIMENSION = re.compile(r"(.*)_(dim_\d+|observation)")
_OF_A_LATENT = re.compile(r"(.*)_(dim_\d+|latent)")


def check_names(names: Iterable[Any]) -> None:
    r"""Refuses names of modalities that could not be told apart later on.

    A name goes into sites and parameters of a program, files of arrays and of ArviZ, options of the command line and
    names of subsets ("a+b"). So names are texts of printable characters other than ``/``, ``\``, ``,``, ``+`` and
    ``$``, without spaces at the ends, without a leading underscore, with words between dots; they do not end in
    ``__present``, ``__kind`` or ``.npy``; they are none of ``batch``, ``chain``, ``draw``, ``datum``, ``observation``,
    ``modality``, ``file`` and ``allow_pickle``; and none is the name of another one's dimension in ArviZ, such as
    ``a_dim_0`` and ``a_observation`` beside ``a``.

    Arguments:
        names: Names of all modalities.

    Raises:
        ModalityError: If a name is refused; it says which.

    Example:
        >>> check_names(["rna", "rna.raw", "Oberfläche 2"])
        >>> check_names(["a/b"])
        Traceback (most recent call last):
            ...
        mmppl.errors.ModalityError: Expected names of modalities to be texts of ... words between dots; got 'a/b'. ...
    """
    _check(tuple((name, isinstance(name, str)) for name in names))


@lru_cache(maxsize=256)
def _check(names: tuple[tuple[Any, bool], ...]) -> None:
    known = {name for name, _ in names}
    for name, is_text in names:
        if not is_text or not name.isprintable() or re.search(r"[/\\,+$]", name) or name != name.strip():
            fits = False
        else:
            fits = all(name.split(".")) and not name.startswith("_")
        if not fits:
            kind = "" if is_text else f", of type {type(name).__name__}"
            raise ModalityError(f"Expected names of modalities to be {RULE}; got {name!r}{kind}. Rename it.")
        if name in TAKEN or name.endswith(ENDINGS):
            raise ModalityError(
                f"Expected names of modalities other than {', '.join(TAKEN)} that do not end in {', '.join(ENDINGS)}; "
                f"got {name!r}, which has another meaning in files. Rename it."
            )
        dimension = _DIMENSION.fullmatch(name)
        if dimension and dimension[1] in known:
            raise ModalityError(
                f"Expected names of modalities other than those of dimensions; got {name!r} beside {dimension[1]!r}, "
                "one of whose dimensions is called so in ArviZ. Rename it."
            )


def check_names_of_latents(names: Iterable[str]) -> None:
    """Refuses names of latents that ArviZ and netCDF have no place for.

    A name is any text without ``/`` that is none of ``chain``, ``draw``, ``datum``, ``observation`` and ``modality``,
    nor the name of another one's dimension, such as ``z_latent`` beside ``z``.

    Arguments:
        names: Names of all latents.

    Raises:
        OptionError: If a name is refused; it says which.

    Example:
        >>> check_names_of_latents(["z", "rna.w"])
    """
    known = set(names)
    for name in known:
        dimension = _OF_A_LATENT.fullmatch(name)
        if not name or "/" in name or name in DIMENSIONS or (dimension and dimension[1] in known):
            raise OptionError(
                f"Expected names of latents without '/', other than {', '.join(DIMENSIONS)} and other than those of "
                f"dimensions, such as z_latent beside z; got {name!r}, which ArviZ has no place for. Rename the site."
            )
