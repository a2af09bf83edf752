"""Names of modalities: which ones can be written, drawn and told apart everywhere."""

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

from mmppl.errors import ModalityError, OptionError

__all__ = ["RULE", "TAKEN", "allowed", "check_names", "checked_subsets", "names_in_arviz"]

RULE = (
    "texts of printable characters other than / \\ , + and $, without spaces at the ends or a leading underscore, with "
    "words between dots"
)
# What stands beside modalities: the plate of the data, dimensions in ArviZ, and what numpy's savez calls its own.
DIMENSIONS = ("chain", "draw", "datum", "observation", "modality")
TAKEN = ("batch", *DIMENSIONS, "file", "allow_pickle")
ENDINGS = ("__present", "__kind", "__coordinates", "__units", ".npy")
_DIMENSION = re.compile(r"(.*)_(dim_\d+(_units)?|observation)")
_OF_A_LATENT = re.compile(r"(.*)_(dim_\d+|latent)")


def check_names(names: Iterable[Any]) -> None:
    r"""Refuses names of modalities that could not be told apart later on.

    A name goes into sites and parameters of a program, files of arrays and of ArviZ, options of the command line and
    names of subsets ("a+b"). So names are texts of printable characters other than ``/``, ``\``, ``,``, ``+`` and
    ``$``, without spaces at the ends, without a leading underscore, with words between dots; they do not end in
    ``__present``, ``__kind``, ``__coordinates``, ``__units`` or ``.npy``; they are none of ``batch``, ``chain``,
    ``draw``, ``datum``, ``observation``, ``modality``, ``file`` and ``allow_pickle``; and none is the name of another
    one's dimension in ArviZ, such as ``a_dim_0`` and ``a_observation`` beside ``a``.

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


def checked_subsets(subsets: Iterable[Sequence[str]]) -> list[tuple[str, ...]]:
    """Subsets of modalities, each a tuple of names.

    Raises:
        OptionError: If a text stands in place of one, whose letters would be taken for names.

    Example:
        >>> checked_subsets([["ink", "word"], ()])
        [('ink', 'word'), ()]
    """
    out = []
    for subset in [subsets] if isinstance(subsets, str) else subsets:
        if isinstance(subset, str):
            raise OptionError(f"Expected subsets, each of names, such as [({subset!r},)]; got {subset!r}.")
        out.append(tuple(subset))
    return out


def allowed(name: str) -> bool:
    """Tells whether a modality can be called so.

    Example:
        >>> allowed("rna"), allowed("a, b"), allowed("batch")
        (True, False, False)
    """
    try:
        check_names([name])
    except ModalityError:
        return False
    return True


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


def names_in_arviz(latents: Iterable[str]) -> dict[str, str]:
    """Names of latents as variables of ArviZ, by site: netCDF has no ``/``, in whose place is a dot.

    Arguments:
        latents: Names of all latents.

    Raises:
        OptionError: If a name is one of ``chain``, ``draw``, ``datum``, ``observation`` and ``modality``, that of
            another one's dimension, such as ``z_latent`` beside ``z``, that of another one, or empty.

    Example:
        >>> names_in_arviz(["z", "decoder/kernel"])
        {'z': 'z', 'decoder/kernel': 'decoder.kernel'}
    """
    out = {name: name.replace("/", ".") for name in latents}
    told = list(out.values())
    for name, own in out.items():
        dimension = _OF_A_LATENT.fullmatch(own)
        if not own or own in DIMENSIONS or told.count(own) > 1 or (dimension and dimension[1] in told):
            raise OptionError(
                f"Expected names of latents other than {', '.join(DIMENSIONS)}, other than each other's where '/' is a "
                f"dot, and other than those of dimensions, such as z_latent beside z; got {name!r}, which ArviZ has no "
                "place for. Rename the site."
            )
    return out
