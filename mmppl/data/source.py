"""The way back: values of modalities under the names and in the types of what they were read from."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from mmppl.batch import Batch
from mmppl.data.dataset import Dataset
from mmppl.errors import DataError, ModalityError, OptionError
from mmppl.modality import Modality

__all__ = ["Imputation", "Source", "as_read", "imputations", "latent_means", "named"]


@dataclass(frozen=True, eq=False)
class Source:
    """Names and types that values had where they were read.

    Arguments:
        kind: ``"pandas"``, ``"anndata"``, ``"mudata"`` or ``"xarray"``.
        index: Names of the rows.
        columns: Names of columns by modality: of a frame, or of variables; for ``obs`` columns and single columns one.
        dtypes: Their types, by modality.
        places: Where a modality lies in an object that has several places, such as ``"layers/raw"``.
        template: Dimensions and coordinates of an xarray data set.
        beside: Columns of a frame that are covariates or labels, or are left out, as they were.
        order: All columns of the frame.
    """

    kind: str
    index: Any
    columns: Mapping[str, tuple]
    dtypes: Mapping[str, tuple]
    places: Mapping[str, str] = field(default_factory=dict)
    template: Any = None
    beside: Mapping[str, Any] = field(default_factory=dict)
    order: tuple = ()


class Imputation(NamedTuple):
    """Values of a modality, what is observed in its place.

    Arguments:
        value: ``(N, *event)``: means of draws, for categories the most frequent one.
        low: Lower end of the interval, or None.
        high: Upper end of it, or None.
        there: Which rows have a value, ``(N,)``, or which elements.
    """

    value: np.ndarray
    low: np.ndarray | None
    high: np.ndarray | None
    there: np.ndarray


def imputations(
    values: Batch | Mapping[str, Any], data: Dataset, interval: float | None = None
) -> dict[str, Imputation]:
    """Values of all rows of a data set, from draws of what is missing.

    Arguments:
        values: A batch, whose missing rows stay missing; or, by modality, values ``(N, *event)`` or draws
            ``(K, N, *event)``, as :func:`~mmppl.inference.generate` gives them.
        data: The data set that the rows are of.
        interval: Level of central intervals of draws, such as 0.8.

    Raises:
        DataError: If the data set has no source, or values are not by name.
        ModalityError: If a modality is unknown, or values have another shape.
        OptionError: If the level is not in (0, 1).

    Example:
        >>> import pandas
        >>> from mmppl.data import from_pandas
        >>> data = from_pandas(pandas.DataFrame({"a": [1.5, None, 2.5], "b": [1.5, 2.5, 3.5]}))
        >>> imputations({"a": np.array([[0.0, 1.0, 0.0], [0.0, 3.0, 0.0]])}, data)["a"].value.tolist()
        [1.5, 2.0, 2.5]
    """
    if not isinstance(data, Dataset):
        raise DataError(
            f"Expected the data set that the rows are of as data, after the values; got a {type(data).__name__}."
        )
    if data.source is None or data.rows is None:
        raise DataError(
            f"Expected data of a table or an object of the same kind, which values go back to; '{data.name}' are of "
            "none. Write arrays by write_npz(path, values, modalities=data.modalities)."
        )
    if not isinstance(values, Batch | Mapping):
        raise DataError(
            f"Expected a batch, or values or draws by name of modality, such as generate(fitted, data.rows); got a "
            f"{type(values).__name__}."
        )
    if interval is not None and not 0.0 < interval < 1.0:
        raise OptionError(f"Expected the level of an interval in (0, 1); got {interval}.")
    unknown = [n for n in values if n not in data.modalities]
    if unknown:
        raise ModalityError(f"Expected values of modalities among {list(data.modalities)}; got {unknown}.")
    lacking = [n for n in values if n not in data.source.columns]
    if lacking:
        raise ModalityError(
            f"Expected values of what the data were read with, {list(data.source.columns)}; got {lacking}. Add empty "
            "columns for it, or keep it as an array."
        )
    out = {}
    for name in values:
        modality, given = data.modalities[name], np.asarray(values[name])
        there = np.asarray(values.masks[name]) if isinstance(values, Batch) else np.ones(len(data.rows), bool)
        drawn = given.ndim == len(modality.shape) + 2
        if given.shape[drawn:] != (len(data.rows), *modality.shape):
            wanted = (len(data.rows), *modality.shape)
            raise ModalityError(
                f"Modality '{name}': expected values {wanted} or draws (K, {', '.join(map(str, wanted))}), of all rows "
                f"of the data, data.rows; got {given.shape}."
            )
        value, low, high = _of_draws(given, modality, interval) if drawn else (given, None, None)
        if not isinstance(values, Batch):
            value, low, high = (x if x is None else _observed(x, data.rows, name) for x in (value, low, high))
        out[name] = Imputation(value, low, high, there)
    return out


def latent_means(latents: Mapping[str, Any], num: int) -> dict[str, np.ndarray]:
    """Means over draws of latents by site, ``(N, D)``, from ``(..., N, D)`` or ``(..., N)``, as of ``infer(...)``.

    Raises:
        DataError: If they are not of so many rows.

    Example:
        >>> latent_means({"z": np.arange(12.0).reshape(2, 3, 2), "w": np.ones((4, 5, 3))}, 3)["z"].tolist()
        [[3.0, 4.0], [5.0, 6.0], [7.0, 8.0]]
    """
    out = {}
    for name, z in latents.items():
        z = np.asarray(z)
        if z.ndim and z.shape[-1] == num and (z.ndim < 2 or z.shape[-2] != num):
            z = z[..., None]
        if z.ndim < 2 or z.shape[-2] != num:
            raise DataError(
                f"Latent '{name}': expected an array (..., {num}, D), one row for each datum; got {z.shape}. Leave out "
                "what all rows share."
            )
        out[name] = z.reshape(-1, *z.shape[-2:]).mean(0)
    return out


def as_read(value: np.ndarray, there: np.ndarray, modality: Modality, dtype: Any) -> np.ndarray:
    """Values in the type that they were read in: names of classes, bytes of pictures, whole numbers, NaN or None.

    Arguments:
        value: ``(N, *event)``.
        there: Which rows have a value, ``(N,)``, or which elements; of integers the others stay as they are.
        modality: What it is.
        dtype: The type.
    """
    rows = there if there.ndim == value.ndim else there.reshape(-1, *[1] * (value.ndim - 1))
    if modality.kind == "category" and modality.names is not None:
        texts = np.array(
            [modality.names[int(i)] if here else None for i, here in zip(value, there, strict=True)], object
        )
        return texts if not there.all() else texts.astype(dtype)
    if dtype.kind in "iub":
        return np.rint(255 * value if modality.kind == "image" and dtype == np.uint8 else value).astype(dtype)
    return np.where(rows, value, np.nan).astype(dtype)


def named(values: Mapping[str, np.ndarray], modalities: Mapping[str, Modality]) -> dict[str, Any]:
    """Values by modality, classes that have names under these.

    Example:
        >>> pet = Modality((), kind="category", names=("cat", "dog"))
        >>> named({"pet": np.array([1, 0])}, {"pet": pet})["pet"].tolist()
        ['dog', 'cat']
    """
    names = {n: modalities[n].names for n in values if n in modalities}
    return {n: x if names.get(n) is None else np.array(names[n])[x] for n, x in values.items()}


def _of_draws(draws: np.ndarray, modality: Modality, interval: float | None) -> tuple:
    if modality.ids:
        return np.stack([(draws == i).sum(0) for i in range(modality.ids)]).argmax(0), None, None
    value = draws.mean(0) if draws.dtype.kind == "f" else draws.mean(0, dtype=np.float64)
    if interval is None:
        return value, None, None
    low, high = np.quantile(draws, [0.5 - interval / 2, 0.5 + interval / 2], axis=0)
    return value, low, high


def _observed(value: np.ndarray, rows: Batch, name: str) -> np.ndarray:
    """The value with what is observed in its place, in the wider precision of both."""
    return np.where(np.asarray(rows.there(name)), np.asarray(rows[name]), value)
