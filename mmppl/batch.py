"""A batch knows what is missing: arrays by modality name and, for each, who has it."""

import html
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mmppl import display
from mmppl._backend import get_backend
from mmppl.batch_table import parts_of, patterns_of
from mmppl.batch_values import check_values, checked_covariates, few
from mmppl.errors import DataError, ModalityError
from mmppl.modality import Modality
from mmppl.names import check_names
from mmppl.presence import check_no_mask, checked, hidden, missing_as_nan, of_rows

Array = Any

__all__ = ["Batch", "Modality"]

NO_NUMBERS = tuple("USTOMm")  # numpy's kinds of texts, objects and times


@dataclass(frozen=True)
class Batch:
    r"""Arrays by modality name, and for each what is there: whole rows of it, or single elements.

    A value stored where ``present`` is False is replaced by zero at once, so it can never change anything, and NaN
    there is harmless. NaN where nothing says that it is an element of its own is a missing element, or a missing row
    where all of it is NaN; a warning says how many there are. :meth:`only` and :meth:`without` hide modalities in the
    same way. In a batch made for several encoding subsets at once ``present`` has leading axes, ``(*, N)``, while
    values keep the shape ``(N, *event)``.

    Names of modalities are held to :func:`~mmppl.names.check_names`: dots, spaces and letters of any script are fine,
    slashes, commas, plus and dollar signs are not. A name that a program has for one of its latents, such as ``z``, is
    refused where that program runs. A modality may be called ``label``, but not in a ``.npz`` file.

    Arguments:
        values: Arrays :math:`x_m` of shape ``(N, *event)`` by modality name.
        present: Boolean arrays by modality name, of rows ``(N,)`` or of elements ``(N, *event)``; a name left out is
            present everywhere. As an attribute it is of rows: those with any element.
        label: Optional labels of shape ``(N,)``, which go wherever the rows go. A program may read and score those that
            are numbers, ``batch.label``; it has to know itself which number stands for none. Texts and times, of which
            hosts have no arrays, are for metrics alone: a host's batch is without them.
        num: N, where there is no modality to tell it.
        scored: Names that are ``modalities`` where these are not all; see :meth:`scoring`.
        elements: Masks of elements ``(N, *event)``, of the modalities of which single ones may be missing.
        covariates: What is known of every row and not modelled, such as site and age, by name: numbers or texts
            ``(N,)``, or codes of classes ``(N, K)``. Nothing hides them. A program that is asked to condition on them
            reads them, see :class:`~mmppl.covariates.Covariate`.
        places: Places of the rows in the batch that they were taken from, ``(N,)``, where they were taken from one;
            ``mm.plate`` gives them to a program.

    Raises:
        DataError: If labels or covariates are not of N rows, or a covariate is missing somewhere.
        ModalityError: If a name is refused, numbers of rows differ, a mask has another shape or ``present`` names an
            unknown modality.

    Warns:
        MissingWarning: If floats are NaN, which are then missing.

    Example:
        >>> import numpy as np
        >>> batch = Batch({"a": np.ones((3, 2)), "b": np.ones((3, 4))}, {"b": np.array([True, False, True])})
        >>> len(batch), batch.modalities, batch["b"][1].tolist()
        (3, ('a', 'b'), [0.0, 0.0, 0.0, 0.0])
        >>> batch.only("a").present["b"].tolist()
        [False, False, False]
        >>> partly = Batch({"a": np.ones((2, 2))}, {"a": np.array([[True, False], [False, False]])})
        >>> partly.present["a"].tolist(), partly["a"].tolist()
        ([True, False], [[1.0, 0.0], [0.0, 0.0]])
    """

    values: dict[str, Array]
    present: dict[str, Array] = field(default_factory=dict)
    label: Array | None = None
    num: int | None = None
    scored: tuple[str, ...] | None = field(default=None, repr=False)
    elements: dict[str, Array] = field(default_factory=dict, repr=False)
    covariates: dict[str, Array] = field(default_factory=dict, repr=False)
    places: Array | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        for what, given in (("values", self.values), ("present", self.present)):
            if not isinstance(given, Mapping):
                raise ModalityError(f"Expected {what} to be arrays by name of modality; got {_brief(given)}.")
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
        elements: dict[str, Array] = {}
        for name, value in values.items():
            rows, own = checked(name, value, self.present.get(name), self.elements.get(name))
            rows, own, nan = missing_as_nan(name, value, rows, own)
            untouched = own is None and not nan and name not in self.present
            if not untouched:
                value, rows, own = hidden(value, rows, own)
            values[name], present[name] = value, rows
            if own is not None:
                elements[name] = own
        if isinstance(self.label, list | tuple):
            object.__setattr__(self, "label", np.asarray(self.label))
        if self.label is not None:
            self._check_label(num)
        covariates = checked_covariates(self.covariates, num)
        parts = {"values": values, "present": present, "elements": elements, "num": num, "covariates": covariates}
        for key, part in parts.items():
            object.__setattr__(self, key, part)

    @classmethod
    def trusted(
        cls,
        values: dict,
        present: dict,
        label: Array | None = None,
        num: int | None = None,
        scored: tuple[str, ...] | None = None,
        elements: dict | None = None,
        covariates: dict | None = None,
        places: Array | None = None,
    ) -> "Batch":
        """A batch of parts already checked and hidden; for the library's own loops."""
        batch = object.__new__(cls)
        parts = {"values": values, "present": present, "label": label, "num": num, "scored": scored}
        parts |= {"elements": elements or {}, "covariates": covariates or {}, "places": places}
        for key, value in parts.items():
            object.__setattr__(batch, key, value)
        return batch

    def with_parts(self, **parts: Any) -> "Batch":
        """The same batch with other parts, already checked and hidden; for the library's own loops."""
        return Batch.trusted(**{**vars(self), **parts})

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
        # Only numpy has texts, objects and times.
        return None if _kind(self.label) in NO_NUMBERS else self.label

    def for_hosts(self) -> "Batch":
        """The same batch without labels and covariates that are texts or times.

        Example:
            >>> Batch({"a": np.ones((2, 1))}, covariates={"site": ["x", "y"], "age": [3.0, 4.0]}).for_hosts().covariates
            {'age': array([3., 4.])}
        """
        covariates = {n: x for n, x in self.covariates.items() if _kind(x) not in NO_NUMBERS}
        return self.with_parts(label=self.numbers, covariates=covariates)

    @property
    def masks(self) -> dict[str, Array]:
        """The finest mask of each modality, as ``present`` takes it: of its elements, or of rows where these do.

        Example:
            >>> Batch({"a": np.ones((2, 1)), "b": np.ones((2, 2))}, {"b": np.eye(2) > 0}).masks["b"].tolist()
            [[True, False], [False, True]]
        """
        return {**self.present, **self.elements}

    def inputs(self, name: str) -> tuple[Array, ...]:
        """Arguments of an encoder of a modality: its values and, where single ones may be missing, the mask of those.

        Example:
            >>> batch = Batch({"a": np.ones((2, 1)), "b": np.ones((2, 2))}, {"b": np.eye(2) > 0})
            >>> len(batch.inputs("a")), len(batch.inputs("b"))
            (1, 2)
        """
        value = self[name]
        return (value, self.elements[name]) if name in self.elements else (value,)

    def there(self, name: str) -> Array:
        """Mask of the elements of a modality that are observed, of the shape of its values.

        Example:
            >>> Batch({"a": np.ones((2, 2))}, {"a": np.array([True, False])}).there("a").tolist()
            [[True, True], [False, False]]
        """
        value, rows = self[name], self.present[name]
        if name in self.elements:
            return self.elements[name]
        return get_backend(value).xp.broadcast_to(of_rows(rows, value), value.shape)

    def whole(self, name: str) -> Array:
        """Mask of the rows that have a modality with all its elements, ``(N,)``.

        Example:
            >>> Batch({"a": np.ones((2, 2))}, {"a": np.array([[True, True], [True, False]])}).whole("a").tolist()
            [True, False]
        """
        rows, own = self.present[name], self.elements.get(name)
        return rows if own is None else get_backend(own).xp.all(own, axis=tuple(range(1, own.ndim)))

    def __repr__(self) -> str:
        lines = display.columns([("modality", "shape", "type", "present"), *parts_of(self)]) if self.values else []
        return display.limited([self._title(), *(f"  {line}" for line in (*lines, *patterns_of(self)))])

    def _title(self) -> str:
        about = ("" if self.label is None else ", labelled") + (", covariates " if self.covariates else "")
        return f"Batch of {len(self)} rows{about}{', '.join(self.covariates)}"

    def _repr_html_(self) -> str:
        pictures = {name: display.thumbnails(self.values[name], self.present[name]) for name in self.values}
        rows = [(*row, ("html", pictures[row[0]])) for row in parts_of(self)]
        header = ("modality", "shape", "type", "present", "")
        patterns = "".join(f"<div><small>{html.escape(line)}</small></div>" for line in patterns_of(self))
        return display.page(self._title(), display.table(header, rows), patterns)

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
        elements = {name: mask[key] for name, mask in self.elements.items()}
        label = None if self.label is None else self.label[key]
        covariates = {name: x[key] for name, x in self.covariates.items()}
        taken = np.arange(len(self))[key]
        places = taken if self.places is None else self.places[key]
        return Batch.trusted(values, present, label, len(taken), self.scored, elements, covariates, places)

    def only(self, *names: str) -> "Batch":
        """The same rows with every other modality hidden: what is observed is ``names``."""
        self._check(names)
        return self.through({n: m & False for n, m in self.present.items() if n not in names})

    def without(self, *names: str) -> "Batch":
        """The same rows with the modalities ``names`` hidden."""
        self._check(names)
        return self.only(*(n for n in self.values if n not in names))

    def select(self, *names: str) -> "Batch":
        """A batch that holds the modalities ``names`` and no others."""
        self._check(names)
        parts = (self.values, self.present, self.elements)
        values, present, elements = ({n: part[n] for n in names if n in part} for part in parts)
        scored = None if self.scored is None else tuple(n for n in self.scored if n in names)
        return self.with_parts(values=values, present=present, scored=scored, elements=elements)

    def with_present(self, present: Mapping[str, Array]) -> "Batch":
        """The same rows, seen through other masks, of rows or of elements (each may only hide more).

        Raises:
            ModalityError: If a mask is of an unknown modality, or of another shape.
        """
        self._check(tuple(present))
        masks = {name: checked(name, self.values[name], mask, None) for name, mask in present.items()}
        rows = {name: mask for name, (mask, own) in masks.items() if own is None}
        return self.through(rows, {name: own for name, (_, own) in masks.items() if own is not None})

    def through(self, rows: Mapping[str, Array], own: Mapping[str, Array] | None = None) -> "Batch":
        """The same rows through further masks, already checked, of rows ``(*, N)`` and of elements.

        For the library's own loops; see :meth:`with_present`.
        """
        values, present, elements = dict(self.values), dict(self.present), dict(self.elements)
        own = own or {}
        for name in (*rows, *own):
            seen = present[name] if name in own else rows[name] & present[name]
            mask = own[name] if name in own else None
            if name in elements:
                mask = elements[name] if mask is None else mask & elements[name]
            values[name], present[name], mask = hidden(values[name], seen, mask)
            if mask is not None:
                elements[name] = mask
        return self.with_parts(values=values, present=present, elements=elements)

    def with_label(self, label: Array | None) -> "Batch":
        """The same rows with other labels.

        Raises:
            DataError: If there are not as many.
        """
        return Batch(
            self.values, self.masks, label, self.num, self.scored, covariates=self.covariates, places=self.places
        )

    def with_covariates(self, covariates: Mapping[str, Array]) -> "Batch":
        """The same rows with other covariates.

        Raises:
            DataError: If there are not as many, or one is missing.
        """
        return self.with_parts(covariates=checked_covariates(covariates, len(self)))

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
            ModalityError: If a modality is missing, has another shape or dtype, or lacks single elements although it is
                not declared so.
            DataError: If a value that is present is not finite or out of range, or a row has no modality.
        """
        elements: dict[str, Array] = {}
        for name, modality in modalities.items():
            if name not in self.values:
                raise ModalityError(f"Modality '{name}' is missing from the batch, which has {list(self.values)}.")
            value = np.asarray(self.values[name])
            if value.shape[1:] != modality.shape:
                raise ModalityError(
                    f"Modality '{name}': expected shape (N, {', '.join(map(str, modality.shape))}); got {value.shape}."
                )
            check_values(name, modality, value, np.asarray(self.there(name)))
            elements |= self._elements_as(name, modality)
        out = self.select(*modalities).with_parts(elements=elements)
        empty = np.flatnonzero(~np.asarray(out.observed()))
        if empty.size and not allow_empty_rows:
            raise DataError(f"No modality is present in rows {few(empty)}. Remove these rows: batch[batch.observed()].")
        return out

    def _elements_as(self, name: str, modality: Modality) -> dict[str, Array]:
        """The mask of elements of a modality that may be partial; none of one that is whole."""
        if modality.partial:
            return {name: np.array(self.there(name))}
        rows = np.flatnonzero(np.asarray(self.present[name]) & ~np.asarray(self.whole(name)))
        if rows.size:
            raise ModalityError(
                f"Modality '{name}': expected whole events, as it is declared; got single elements missing, in rows "
                f"{few(rows)}. Declare Modality(..., partial=True), and fit to data that lack some elements too."
            )
        return {}

    def _check_label(self, num: int) -> None:
        check_no_mask("labels", self.label)
        shape = getattr(self.label, "shape", None)
        if not shape:
            raise DataError(f"Expected label to be an array (N,); got {_brief(self.label)}.")
        if shape[0] != num:
            raise DataError(f"Expected {num} labels, one for each row; got {shape[0]}.")
        if len(shape) != 1 or "complex" in str(self.label.dtype):  # type: ignore[union-attr]
            raise DataError(
                f"Expected label to be an array (N,) of real numbers, texts or times; got {_brief(self.label)}, dtype "
                f"{self.label.dtype}."  # type: ignore[union-attr]
            )

    def _check(self, names: tuple[str, ...]) -> None:
        unknown = [n for n in names if n not in self.values]
        if unknown:
            raise ModalityError(f"Expected modalities among {list(self.values)}; got {unknown}.")

    def scoring(self, *names: str) -> "Batch":
        """The same batch with ``names`` alone as its modalities: the arrays of the others are still there to be read.

        A program that goes through ``batch.modalities`` decodes these alone; what it observes beside them is not
        scored.
        """
        return self.with_parts(scored=names)


def _kind(x: Any) -> str | None:
    """Kind of numpy's dtype of an array; None of any other."""
    return getattr(getattr(x, "dtype", None), "kind", None)


def _brief(value: Any) -> str:
    return f"one of shape {tuple(value.shape)}" if hasattr(value, "shape") else f"a {type(value).__name__}"
