"""Values of a batch, checked against what a program expects of its modalities."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from mmppl._backend import get_backend
from mmppl.errors import DataError, ModalityError
from mmppl.modality import Modality
from mmppl.names import check_names
from mmppl.presence import check_no_mask, is_no_value
from mmppl.sites import PLATE
from mmppl.warn import warn

__all__ = ["check_values", "checked_covariates", "few"]

IDS = {"tokens": "token ids", "category": "categories"}
MOST = 2**31 - 1  # of JAX's integers, which larger ones go round without a word


def check_values(name: str, modality: Modality, value: np.ndarray, there: np.ndarray) -> None:
    """Checks type and range of a modality's values ``(N, *event)`` where they are there.

    Raises:
        ModalityError: If the type is not that of the kind.
        DataError: If a value is not finite, out of range, or none that the likelihood scores.
    """
    integer, floating = (np.issubdtype(value.dtype, kind) for kind in (np.integer, np.floating))
    if modality.ids:
        fits, wanted = integer, f"integer {IDS[modality.kind]}"
    else:
        fits, wanted = (floating, "floats") if modality.kind != "counts" else (integer or floating, "counts")
    if not fits:
        raise ModalityError(f"Modality '{name}': expected {wanted}; got dtype {value.dtype}.")
    if modality.ids:
        bad, what = (value < 0) | (value >= modality.ids), f"{IDS[modality.kind]} outside [0, {modality.ids})"
    else:
        bad, what = ~np.isfinite(value), "NaN or Inf"
        if integer and not np.can_cast(value.dtype, np.int32):
            bad, what = (value > MOST) | (value < -MOST), f"integers above {MOST} (give them as floats)"
    rows = _rows_with(bad, there)
    if rows.size:
        raise DataError(f"Modality '{name}': {what} where present, in rows {few(rows)}.")
    rows = _rows_with(modality.scoring.wrong(value), there)
    if rows.size and modality.kind == "image" and modality.unsaid:
        warn(
            f"Modality '{name}': expected {modality.scoring.wanted} of an image; got others where present, in rows "
            f"{few(rows)}. They are taken as they are, for a likelihood of the program's own; say which by "
            "Modality(..., likelihood=)."
        )
    elif rows.size:
        raise DataError(
            f"Modality '{name}': expected {modality.scoring.wanted} for likelihood '{modality.likelihood}'; got others "
            f"where present, in rows {few(rows)}."
        )


def checked_covariates(given: Any, num: int) -> dict[str, Any]:
    """Covariates by name as arrays ``(N,)`` or ``(N, K)`` in which nothing is missing.

    Raises:
        ModalityError: If they are not given by name.
        DataError: If one has another shape, or lacks a value.
    """
    if not isinstance(given, Mapping):
        raise ModalityError(f"Expected covariates to be arrays by name; got a {type(given).__name__}.")
    try:
        # A covariate is no site, and "batch" is what single-cell data call the one that they have most often.
        check_names(name for name in given if name != PLATE)
    except ModalityError as error:
        raise ModalityError(str(error).replace("modalities", "covariates")) from None
    out = {}
    for name, value in given.items():
        check_no_mask(f"covariate '{name}'", value)
        value = np.asarray(value) if isinstance(value, list | tuple) else value
        shape = tuple(getattr(value, "shape", ()))
        if len(shape) not in (1, 2) or shape[0] != num:
            raise DataError(f"Covariate '{name}': expected an array ({num},), one value for each row; got {shape}.")
        missing = _missing(value)
        if missing.size:
            raise DataError(
                f"Covariate '{name}': expected a value in every row; got none in rows {few(missing)}. Fill them in, or "
                "make it a modality, which may be missing."
            )
        out[name] = value
    return out


def _missing(value: Any) -> np.ndarray:
    """Rows without a value; none of what cannot be looked at."""
    if isinstance(value, np.ndarray) and value.dtype.kind == "O":
        return np.flatnonzero([is_no_value(x) for x in value.reshape(-1)])
    if isinstance(value, np.ndarray) and value.dtype.kind not in "fc":
        return np.arange(0)
    backend = get_backend(value)
    if not backend.is_concrete(value) or not backend.xp.isdtype(value.dtype, "real floating"):
        return np.arange(0)
    x = backend.to_numpy(value)
    return np.flatnonzero(~np.isfinite(x).reshape(len(x), -1).all(1))


def few(rows: np.ndarray) -> str:
    """The first numbers of rows, and how many more there are.

    Example:
        >>> few(np.arange(7))
        '0, 1, 2, 3, 4 and 2 more'
    """
    shown = ", ".join(map(str, rows[:5]))
    return f"{shown} and {rows.size - 5} more" if rows.size > 5 else shown


def _rows_with(bad: np.ndarray, there: np.ndarray) -> np.ndarray:
    if not bad.any():  # as a rule, and most of the time is that of making further arrays
        return np.arange(0)
    return np.flatnonzero((bad & there).reshape(len(bad), -1).any(1))
