"""Arrays by name, of any host, where a batch is wanted."""

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any

import numpy as np

from mmppl.batch import Batch
from mmppl.coordinates import checked_coordinates, checked_units, with_columns
from mmppl.covariates import Covariate, infer_covariates
from mmppl.data.kinds import check_kinds, fit_to, infer_modality, numpy_of
from mmppl.errors import DataError, ModalityError, OptionError
from mmppl.modality import Modality
from mmppl.names import check_names
from mmppl.presence import of_rows, say_missing

__all__ = ["BESIDE", "LABEL", "PRESENT", "Said", "batch_of", "observed", "said_of", "taken", "with_covariates"]

Said = Sequence[str] | Mapping[str, str | Covariate | None]

PRESENT, KIND, LABEL = "__present", "__kind", "label"
COORDINATES, UNITS = "__coordinates", "__units"
# What says something of a modality as a whole, and is of no row.
BESIDE = (KIND, COORDINATES, UNITS)
READERS = {"DataFrame": "from_pandas", "AnnData": "from_anndata", "MuData": "from_mudata"}


def batch_of(
    arrays: Mapping[str, Any],
    *,
    kinds: Mapping[str, str] | None = None,
    modalities: Mapping[str, Modality] | None = None,
    declared: Mapping[str, Modality] | None = None,
    where: str = "arrays",
) -> tuple[Batch, dict[str, Modality]]:
    """A batch of arrays by name, and what its modalities are, by :mod:`mmppl.data.kinds` where it is not said.

    Beside arrays ``(N, ...)`` there may be ``<name>__present``, a boolean vector or array of that shape,
    ``<name>__kind``, a text, ``<name>__coordinates``, the names of a vector's coordinates, ``<name>__units``, a text or
    one for each of them, and ``label``, a vector, unless that is a modality.

    Arguments:
        arrays: The arrays, numpy's, of any host, or sparse matrices.
        kinds: Kinds by name, which go before those that the arrays say.
        modalities: What the modalities are, where it is known: those of a program. The arrays may lack some.
        declared: What some of them are, where only that is known.
        where: What the arrays are from, for messages.

    Raises:
        DataError: If an array is not what it is said to be, or the arrays do not fit together.
        ModalityError: If a name is refused, or is not of a modality.
        OptionError: If a kind is unknown.

    Example:
        >>> batch, modalities = batch_of({"pet": np.array(["cat", "dog"]), "age": np.array([3.5, np.nan])})
        >>> {name: m.kind for name, m in modalities.items()}, batch.present["age"].tolist()
        ({'pet': 'category', 'age': 'vector'}, [True, False])
    """
    known, arrays = {**(declared or {}), **(modalities or {})}, dict(arrays)
    if any(not isinstance(name, str) for name in arrays):
        check_names(arrays)
    label = None if LABEL in known else arrays.pop(LABEL, None)
    masks = {k.removesuffix(PRESENT): numpy_of(arrays.pop(k), k) for k in list(arrays) if k.endswith(PRESENT)}
    said = {name: str(found) for name, found in _beside(arrays, KIND).items()}
    columns, units = _beside(arrays, COORDINATES), _beside(arrays, UNITS)
    orphans = sorted(set(masks) - set(arrays))
    if orphans:
        raise DataError(f"{where}: '{orphans[0]}{PRESENT}' has no array '{orphans[0]}' beside it.")
    if not arrays:
        raise DataError(f"Expected at least one modality in {where}; got none.")
    check_names(arrays)
    if modalities is not None:
        unknown = [name for name in arrays if name not in known]
        if unknown:
            raise ModalityError(
                f"Unknown modality '{unknown[0]}' in {where}; the program has {', '.join(known)}. Leave it out."
            )
    said |= kinds or {}
    check_kinds(said, list(arrays))
    label = None if label is None else np.array(numpy_of(label, LABEL))  # one that may be written to, or torch warns
    if label is not None and label.ndim != 1:
        raise DataError(f"Expected '{LABEL}' of shape (N,) in {where}; got {label.shape}.")
    values, present, out = {}, {}, {}
    for name, array in arrays.items():
        array, mask = numpy_of(array, f"modality '{name}'"), masks.get(name)
        if name in known:
            values[name], there = fit_to(name, array, known[name], mask)
            out[name] = known[name]
        else:
            values[name], there, out[name] = infer_modality(name, array, said.get(name), mask)
        out[name] = _with_names(name, out[name], columns.get(name), units.get(name))
        fits = mask is None or mask.dtype == bool and mask.shape in (array.shape[:1], array.shape)
        present[name] = there if fits else mask
        if there.ndim > 1 and array.dtype.kind == "f":
            number = int((np.isnan(array) & (True if mask is None or not fits else _wide(mask, array))).sum())
            if number:
                say_missing(name, array.shape, number)
    return Batch(values, present, label).validate(out, allow_empty_rows=True), out


def _beside(arrays: dict[str, Any], ending: str) -> dict[str, np.ndarray]:
    """Arrays beside modalities that say something of them, by name, taken out of all."""
    found = [k for k in arrays if k.endswith(ending) and k.removesuffix(ending) in arrays]
    return {k.removesuffix(ending): numpy_of(arrays.pop(k), k) for k in found}


def _with_names(name: str, modality: Modality, columns: np.ndarray | None, units: np.ndarray | None) -> Modality:
    """The modality with names and units of its coordinates, where they are said."""
    if columns is None and units is None:
        return modality
    try:
        own = None if columns is None else checked_coordinates(columns.tolist(), modality.shape, modality.kind)
        unit = None if units is None else checked_units(units.tolist(), modality.shape, modality.kind)
    except ModalityError as error:
        raise ModalityError(f"Modality '{name}': {error}") from None
    return with_columns(name, modality, own, unit)


def said_of(covariates: Said | None) -> dict[str, str | Covariate | None]:
    """Kinds of covariates by name, of names alone or of a mapping.

    Raises:
        OptionError: If they are neither.
    """
    if covariates is None:
        return {}
    if isinstance(covariates, str) or not isinstance(covariates, Mapping | list | tuple):
        raise OptionError(f"Expected covariates to be a list of names, or kinds by name; got {covariates!r}.")
    said = dict(covariates) if isinstance(covariates, Mapping) else dict.fromkeys(covariates)
    for name, kind in said.items():
        if not isinstance(kind, Covariate | str | None):
            raise OptionError(f"Expected the kind of covariate '{name}' to be a text or a Covariate; got {kind!r}.")
    return said


def with_covariates(
    batch: Batch, arrays: Mapping[str, Any], said: Mapping[str, Any]
) -> tuple[Batch, dict[str, Covariate]]:
    """A batch with covariates that were read beside it, and what they are; see :mod:`mmppl.covariates`."""
    values, known = infer_covariates({name: numpy_of(x, f"covariate '{name}'") for name, x in arrays.items()}, said)
    return batch.with_covariates(values), known


def taken(data: Any, modalities: Mapping[str, Modality]) -> Batch:
    """Data where a batch is wanted, as a batch of numpy's arrays.

    Arguments:
        data: A batch of numpy's arrays, tensors of any host, texts or booleans; or arrays by name, as in
            :func:`batch_of`.
        modalities: What the modalities are.

    Raises:
        DataError: If it is neither, or has no rows.
        ModalityError: If a name is not of a modality.

    Example:
        >>> taken({"x": np.ones((2, 3))}, {"x": Modality((3,))}).present["x"].tolist()
        [True, True]
    """
    if isinstance(data, Batch | Mapping):
        if isinstance(data, Batch):
            found = _plain(data, modalities)
        else:
            found = batch_of(data, modalities=modalities)[0]
        if not len(found):
            raise DataError("Expected data with rows; got none.")
        return found
    kind = type(data).__name__
    if hasattr(data, "train") and hasattr(data, "modalities"):
        hint = "Take a part of the data set, such as data.train"
    elif kind in READERS:
        hint = f"Make a data set of it by mmppl.data.{READERS[kind]} and take its rows"
    elif isinstance(data, str | PathLike):
        hint = "Read it by mmppl.data.load, or open it by mmppl.data.open_rows"
    elif hasattr(data, "__len__") and hasattr(data, "modalities"):
        hint = "Take some of its rows, such as rows[:1000]"
    else:
        hint = "Put the arrays of all rows into one: Batch({'image': images, 'text': texts})"
    raise DataError(f"Expected a Batch, or arrays (N, ...) by name of modality; got a {kind}. {hint}.")


def observed(data: Any, modalities: Mapping[str, Modality]) -> Batch:
    """The same, of data in which something is observed, checked against what the modalities are.

    Raises:
        ModalityError, DataError: Also if values do not fit, or nothing is present in any row.
    """
    found = taken(data, modalities)
    found = found.validate({n: m for n, m in modalities.items() if n in found.values}, allow_empty_rows=True)
    if not np.asarray(found.observed()).any():
        raise DataError("Expected data in which something is present; got rows without any.")
    return found


def _plain(batch: Batch, modalities: Mapping[str, Modality]) -> Batch:
    """The batch, with numpy's arrays of the types that modalities have."""
    values, masks = {}, {}
    for name, value in batch.values.items():
        array, mask = (numpy_of(x, f"modality '{name}'") for x in (value, batch.masks[name]))
        odd = name in modalities and array.dtype.kind not in "iuf"
        values[name], masks[name] = fit_to(name, array, modalities[name], mask) if odd else (array, mask)
    label = None if batch.label is None else numpy_of(batch.label, LABEL)
    same = all(values[n] is x for n, x in batch.values.items()) and label is batch.label
    if same:
        return batch
    parts: dict[str, Any] = {"covariates": batch.covariates, "places": batch.places}
    return Batch(values, masks, label, batch.num, batch.scored, **parts)


def _wide(mask: np.ndarray, array: np.ndarray) -> np.ndarray:
    return mask if mask.ndim == array.ndim else of_rows(mask, array)
