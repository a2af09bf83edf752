"""A batch knows what is missing: arrays by modality name and, for each, who has it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from mmppl._backend import get_backend
from mmppl.errors import DataError, ModalityError
from mmppl.modality import Modality
from mmppl.names import check_names

Array = Any

__all__ = ["Batch", "Modality"]

_IDS = {"tokens": "token ids", "category": "categories"}
MOST = 2**31 - 1  # of JAX's integers, which larger ones go round without a word
NO_NUMBERS = tuple("USTOMm")  # numpy's kinds of texts, objects and times


@dataclass(frozen=True)
class Batch:
    r"""Arrays by modality name, and for each a boolean vector that says which rows have it.

    A value stored where ``present`` is False is replaced by zero at once, so it can never change anything, and NaN
    there is harmless. :meth:`only` and :meth:`without` hide modalities in the same way. In a batch made for several
    encoding subsets at once ``present`` has leading axes, ``(*, N)``, while values keep the shape ``(N, *event)``.

    Names of modalities are held to :func:`~mmppl.names.check_names`: dots, spaces and letters of any script are fine,
    slashes, commas, plus and dollar signs are not. A name that a program has for one of its latents, such as ``z``, is
    refused where that program runs. A modality may be called ``label``, but not in a ``.npz`` file.

    Arguments:
        values: Arrays :math:`x_m` of shape ``(N, *event)`` by modality name.
        present: Boolean arrays of shape ``(N,)`` by modality name; a name left out is present everywhere.
        label: Optional labels of shape ``(N,)``, which go wherever the rows go. A program may read and score those that
            are numbers, ``batch.label``; it has to know itself which number stands for none. Texts and times, of which
            hosts have no arrays, are for metrics alone: a host's batch is without them.
        num: N, where there is no modality to tell it.
        scored: Names that are ``modalities`` where these are not all; see :meth:`scoring`.

    Raises:
        ModalityError: If a name is refused, numbers of rows differ or ``present`` names an unknown modality.

    Example:
        >>> import numpy as np
        >>> batch = Batch({"a": np.ones((3, 2)), "b": np.ones((3, 4))}, {"b": np.array([True, False, True])})
        >>> len(batch), batch.modalities, batch["b"][1].tolist()
        (3, ('a', 'b'), [0.0, 0.0, 0.0, 0.0])
        >>> batch.only("a").present["b"].tolist()
        [False, False, False]
    """

    values: dict[str, Array]
    present: dict[str, Array] = field(default_factory=dict)
    label: Array | None = None
    num: int | None = None
    scored: tuple[str, ...] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        values = dict(self.values)
        check_names(values)
        unknown = [name for name in self.present if name not in values]
        if unknown:
            raise ModalityError(f"present names {unknown}, but the batch has {sorted(values)}.")
        num = self.num
        for name, value in values.items():
            if not getattr(value, "shape", ()):
                raise ModalityError(f"Modality '{name}': expected an array (N, *event); got {_brief(value)}.")
            rows = value.shape[0]
            if num is None:
                num = rows
            elif rows != num:
                raise ModalityError(f"Expected {num} rows in modality '{name}'; got {rows}.")
        if num is None:
            raise ModalityError("A batch needs at least one modality, or num=, the number of rows.")
        present: dict[str, Array] = {}
        for name, value in values.items():
            if name not in self.present:
                xp = get_backend(value).xp
                like = {"device": value.device} if hasattr(value, "device") else {}
                present[name] = xp.ones(num, dtype=xp.bool, **like)
                continue
            mask = get_backend(value).asarray(self.present[name])
            if mask.shape[-1:] != (num,) or "bool" not in str(mask.dtype):
                raise ModalityError(
                    f"Expected present['{name}'] to be boolean of shape ({num},); got {mask.dtype} {mask.shape}."
                )
            present[name] = mask
            values[name] = _hide(value, mask)
        if isinstance(self.label, list | tuple):
            object.__setattr__(self, "label", np.asarray(self.label))
        if self.label is not None and len(self.label) != num:
            raise DataError(f"Expected {num} labels, one for each row; got {len(self.label)}.")
        object.__setattr__(self, "values", values)
        object.__setattr__(self, "present", present)
        object.__setattr__(self, "num", num)

    @classmethod
    def trusted(
        cls,
        values: dict,
        present: dict,
        label: Array | None = None,
        num: int | None = None,
        scored: tuple[str, ...] | None = None,
    ) -> "Batch":
        """A batch of parts already checked and hidden; for the library's own loops."""
        batch = object.__new__(cls)
        parts = {"values": values, "present": present, "label": label, "num": num, "scored": scored}
        for key, value in parts.items():
            object.__setattr__(batch, key, value)
        return batch

    @property
    def modalities(self) -> tuple[str, ...]:
        """Names of the modalities, in their order."""
        return tuple(self.values) if self.scored is None else self.scored

    @property
    def numbers(self) -> Array | None:
        """The labels where they are numbers, of which hosts have arrays; None where they are texts or times.

        Example:
            >>> Batch({"a": np.ones((2, 1))}, label=["cat", "dog"]).numbers is None
            True
        """
        # Only numpy's dtypes have a kind, and only numpy has texts, objects and times.
        kind = getattr(getattr(self.label, "dtype", None), "kind", None)
        return None if kind in NO_NUMBERS else self.label

    def __len__(self) -> int:
        return self.num  # type: ignore[return-value]

    def __iter__(self) -> Iterator[str]:
        return iter(self.values)

    def __getitem__(self, key: Any) -> Any:
        """``batch["image"]`` is the array of a modality; ``batch[:8]`` is a batch of those rows."""
        if isinstance(key, str):
            if key not in self.values:
                raise ModalityError(f"Expected a modality among {list(self.values)}; got '{key}'.")
            return self.values[key]
        if isinstance(key, int | np.integer):
            key = [key]
        if isinstance(key, list):
            key = np.asarray(key) if key else np.arange(0)  # JAX takes no lists
        values = {name: value[key] for name, value in self.values.items()}
        present = {name: mask[..., key] for name, mask in self.present.items()}
        label = None if self.label is None else self.label[key]
        num = len(np.arange(len(self))[key])
        return Batch.trusted(values, present, label, num, self.scored)

    def only(self, *names: str) -> "Batch":
        """The same rows with every other modality hidden: what is observed is ``names``."""
        self._check(names)
        return self.with_present({n: m if n in names else m & False for n, m in self.present.items()})

    def without(self, *names: str) -> "Batch":
        """The same rows with the modalities ``names`` hidden."""
        self._check(names)
        return self.only(*(n for n in self.values if n not in names))

    def select(self, *names: str) -> "Batch":
        """A batch that holds the modalities ``names`` and no others."""
        self._check(names)
        values, present = ({n: part[n] for n in names} for part in (self.values, self.present))
        scored = None if self.scored is None else tuple(n for n in self.scored if n in names)
        return Batch.trusted(values, present, self.label, self.num, scored)

    def with_present(self, present: Mapping[str, Array]) -> "Batch":
        """The same rows, seen through other masks (each may only hide more)."""
        masks = {n: present[n] & self.present[n] if n in present else self.present[n] for n in self.values}
        return replace(self, present=masks)

    def observed(self) -> Array:
        """Mask of the rows that have any modality at all, of shape ``(*, N)``."""
        masks = list(self.present.values())
        out = masks[0]
        for mask in masks[1:]:
            out = out | mask
        return out

    def validate(self, modalities: Mapping[str, Modality], *, allow_empty_rows: bool = False) -> "Batch":
        """Checks a batch of numpy arrays against what a program expects, and returns it in the program's order.

        Raises:
            ModalityError: If a modality is missing, or has another shape or dtype.
            DataError: If a value that is present is not finite or out of range, or a row has no modality.
        """
        for name, modality in modalities.items():
            if name not in self.values:
                raise ModalityError(f"Modality '{name}' is missing from the batch, which has {list(self.values)}.")
            value, mask = np.asarray(self.values[name]), np.asarray(self.present[name])
            if value.shape[1:] != modality.shape:
                raise ModalityError(
                    f"Modality '{name}': expected shape (N, {', '.join(map(str, modality.shape))}); got {value.shape}."
                )
            integer, floating = (np.issubdtype(value.dtype, kind) for kind in (np.integer, np.floating))
            if modality.ids:
                fits, wanted = integer, f"integer {_IDS[modality.kind]}"
            else:
                fits, wanted = (floating, "floats") if modality.kind != "counts" else (integer or floating, "counts")
            if not fits:
                raise ModalityError(f"Modality '{name}': expected {wanted}; got dtype {value.dtype}.")
            if modality.ids:
                bad = (value < 0) | (value >= modality.ids)
                what = f"{_IDS[modality.kind]} outside [0, {modality.ids})"
            else:
                bad, what = ~np.isfinite(value), "NaN or Inf"
                if integer and not np.can_cast(value.dtype, np.int32):
                    bad, what = np.abs(value) > MOST, f"integers above {MOST} (give them as floats)"
            rows = np.flatnonzero(bad.reshape(len(value), -1).any(1) & mask)
            if rows.size:
                raise DataError(f"Modality '{name}': {what} where present, in rows {_few(rows)}.")
            wrong = modality.scoring.wrong(value)
            rows = np.flatnonzero(wrong.reshape(len(value), -1).any(1) & mask)
            if rows.size:
                raise DataError(
                    f"Modality '{name}': expected {modality.scoring.wanted} for likelihood '{modality.likelihood}'; "
                    f"got others where present, in rows {_few(rows)}."
                )
        out = self.select(*modalities)
        empty = np.flatnonzero(~np.asarray(out.observed()))
        if empty.size and not allow_empty_rows:
            raise DataError(f"No modality is present in rows {_few(empty)}. Remove these rows.")
        return out

    def _check(self, names: tuple[str, ...]) -> None:
        unknown = [n for n in names if n not in self.values]
        if unknown:
            raise ModalityError(f"Expected modalities among {list(self.values)}; got {unknown}.")

    def scoring(self, *names: str) -> "Batch":
        """The same batch with ``names`` alone as its modalities: the arrays of the others are still there to be read.

        A program that goes through ``batch.modalities`` decodes these alone; what it observes beside them is not
        scored.
        """
        return Batch.trusted(self.values, self.present, self.label, self.num, names)


def _hide(value: Array, mask: Array) -> Array:
    if mask.ndim > 1:
        return value
    xp = get_backend(value).xp
    mask = xp.reshape(mask, (mask.shape[0],) + (1,) * (value.ndim - 1))
    return xp.where(mask, value, xp.zeros_like(value))


def _brief(value: Any) -> str:
    return f"one of shape {tuple(value.shape)}" if hasattr(value, "shape") else f"a {type(value).__name__}"


def _few(rows: np.ndarray) -> str:
    shown = ", ".join(map(str, rows[:5]))
    return f"{shown} and {rows.size - 5} more" if rows.size > 5 else shown
