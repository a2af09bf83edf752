"""Sources of rows that do not fit into memory: what they have to have, and how each kind is asked for rows."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np

from mmppl.batch import Batch
from mmppl.data.arrays import LABEL, PRESENT
from mmppl.errors import DataError, ModalityError
from mmppl.modality import Modality

__all__ = ["RowSource", "is_source", "reader"]

Found = Batch | Mapping[str, Any]


@runtime_checkable
class RowSource(Protocol):
    """A source of rows: it has a length, and rows by an array of their places.

    Of a Hugging Face data set columns are modalities; one of torch, or anything else with ``__getitems__``, is asked
    for one row at a time, a dictionary in which a modality that the row lacks is None or left out.

    Example:
        >>> class Squares:
        ...     def __len__(self):
        ...         return 1_000_000_000
        ...
        ...     def __getitem__(self, places):
        ...         return {"x": (places**2.0)[:, None]}
        >>> isinstance(Squares(), RowSource)
        True
    """

    def __len__(self) -> int:
        """Number of rows N, which stays what it is."""

    def __getitem__(self, places: np.ndarray) -> Found:
        """Rows by their places ``(n,)`` in [0, N): a batch, or arrays ``(n, *event)`` by name of modality."""


def is_source(data: Any) -> bool:
    """Tells whether data are a source of rows, and neither arrays nor a table.

    Example:
        >>> is_source(np.zeros((3, 1))), is_source([1, 2])
        (False, False)
    """
    other = isinstance(data, Batch | Mapping | list | tuple | str | bytes) or hasattr(data, "shape")
    return not other and hasattr(data, "__len__") and hasattr(data, "__getitem__")


def reader(source: Any, modalities: Mapping[str, Modality]) -> Callable[[np.ndarray], Found]:
    """Function that asks a source for rows by their places."""
    if hasattr(source, "with_format") and hasattr(source, "column_names"):  # of Hugging Face
        columns = [n for n in source.column_names if n in modalities or n == LABEL or n.endswith(PRESENT)]
        chosen = source.select_columns(columns).with_format("numpy")
        return lambda places: chosen[places.tolist()]
    if hasattr(source, "__getitems__"):
        return lambda places: _stacked(source.__getitems__(places.tolist()), modalities, places)
    if any(base.__module__.startswith("torch.utils.data") for base in type(source).__mro__):
        return lambda places: _stacked([source[int(place)] for place in places], modalities, places)
    return lambda places: source[places]


def _stacked(rows: Sequence[Any], modalities: Mapping[str, Modality], places: np.ndarray) -> dict[str, Any]:
    """Arrays by name, of rows that are each a dictionary."""
    for place, row in zip(places, rows, strict=True):
        if not isinstance(row, Mapping):
            raise DataError(
                f"Expected row {place} of the source to be a dictionary by name of modality; got a "
                f"{type(row).__name__}. Wrap the source in one that names them."
            )
    out: dict[str, Any] = {}
    labels = [row.get(LABEL) for row in rows]
    if LABEL not in modalities and all(label is not None for label in labels):
        out[LABEL] = np.asarray(labels)
    for name, modality in modalities.items():
        there = np.array([row.get(name) is not None for row in rows], bool)
        values = [np.asarray(row[name]) if here else None for row, here in zip(rows, there, strict=True)]
        known = next((value for value in values if value is not None), np.zeros(modality.shape, modality.dtype))
        for place, value in zip(places, values, strict=True):
            if value is not None and value.shape != known.shape:
                raise ModalityError(
                    f"Expected rows of modality '{name}' of one shape, {known.shape}; got {value.shape} in row {place} "
                    "of the source."
                )
        none = np.zeros(known.shape, known.dtype)
        out[name] = np.stack([none if value is None else value for value in values])
        own = [row.get(f"{name}{PRESENT}") for row in rows]
        if all(mask is not None for mask in own):
            masks = np.stack([np.asarray(mask, bool) for mask in own])
            out[f"{name}{PRESENT}"] = masks & there.reshape(-1, *(1,) * (masks.ndim - 1))
        elif not there.all():
            out[f"{name}{PRESENT}"] = there
    return out
