"""Rows of a source, read as batches where they are asked for, checked, and named by their places where they fail."""

from collections import Counter
from collections.abc import Callable, Mapping
from copy import copy
from typing import Any

import numpy as np

from mmppl.batch import Batch
from mmppl.batch_values import few
from mmppl.covariates import Covariate, as_known
from mmppl.data.arrays import LABEL, PRESENT, batch_of, taken
from mmppl.data.kinds import numpy_of
from mmppl.data.row_source import is_source, reader
from mmppl.errors import DataError, MMPPLError
from mmppl.memory import lacks_memory
from mmppl.modality import Modality
from mmppl.presence import of_rows

__all__ = ["Rows", "block_rows", "rows_or_batch"]

# A pass over all rows holds blocks of at most so many numbers, and so many rows.
NUMBERS, MOST = 2**21, 2**16


class Rows:
    """Rows of a source as batches: ``rows[places]`` and ``rows[:8]`` read them, whatever the number of all.

    Arguments:
        source: The source.
        modalities: What the modalities are; None where the source gives batches that are right already.
        covariates: What is known of every row, which arrays of these names give.
        allow_empty_rows: Whether rows may have nothing present.

    Raises:
        DataError, ModalityError: From reading, with the place of the row, if the source fails, its length has changed
            or a row does not fit.

    Example:
        >>> class Squares:
        ...     def __len__(self):
        ...         return 1_000_000_000
        ...
        ...     def __getitem__(self, places):
        ...         return {"x": (places**2.0)[:, None]}
        >>> rows = Rows(Squares(), {"x": Modality((1,))})
        >>> len(rows), rows[-2:]["x"].shape, rows.part(np.array([3, 5]))[:]["x"].ravel().tolist()
        (1000000000, (2, 1), [9.0, 25.0])
    """

    def __init__(
        self,
        source: Any,
        modalities: Mapping[str, Modality] | None,
        covariates: Mapping[str, Covariate] | None = None,
        *,
        allow_empty_rows: bool = False,
    ):
        self.allow_empty_rows = allow_empty_rows
        self.source, self.declared, self.covariates = source, modalities, covariates or {}
        self.total = len(source)
        self.which: np.ndarray | None = None  # places of these rows in the source; None for all
        self.origin: np.ndarray | None = (
            None  # places of the source's rows in what they were made of; None for the same
        )
        self.gaps: Counter[str] = Counter()  # NaN by modality, as far as it has been read
        self._read: Callable[[np.ndarray], Any] = reader(source, modalities or {})
        if not self.total:
            raise DataError("Expected data with rows; got none.")

    @property
    def modalities(self) -> tuple[str, ...]:
        """Names of the modalities, in their order."""
        return tuple(self.declared) if self.declared is not None else self[:1].modalities

    def __len__(self) -> int:
        return self.total if self.which is None else len(self.which)

    def __getitem__(self, key: slice | np.ndarray) -> Batch:
        """A batch of rows by their places among these, an array or a slice."""
        places = np.arange(*key.indices(len(self))) if isinstance(key, slice) else np.asarray(key)
        return self._batch(places if self.which is None else self.which[places])

    def part(self, which: np.ndarray) -> "Rows":
        """Some of these rows, by their places among them; nothing is read."""
        out = copy(self)
        out.which, out.gaps = (which if self.which is None else self.which[which]), Counter()
        return out

    def taken_from(self, rows: "Rows") -> "Rows":
        """The same rows, known by the places of those that they were made of, one of each in their order."""
        out = copy(self)
        places = np.arange(rows.total) if rows.which is None else rows.which
        out.origin = places if rows.origin is None else rows.origin[places]
        return out

    def declared_as(self, modalities: Mapping[str, Modality]) -> "Rows":
        """The same rows, of modalities that are declared otherwise."""
        out = copy(self)
        out.declared, out.gaps, out._read = modalities, Counter(), reader(self.source, modalities)
        return out

    def first_names(self) -> tuple[str, ...]:
        """Names of what the first row has, as the source gives it."""
        found = self._read(np.array([0]))
        return found.modalities if isinstance(found, Batch) else tuple(found)

    def _batch(self, places: np.ndarray) -> Batch:
        if len(self.source) != self.total:
            raise DataError(
                f"Expected a source of {self.total} rows, as many as it had; it has {len(self.source)} now. Fit to a "
                "source that stays as it is."
            )
        try:
            return self._made(places).with_parts(places=places if self.origin is None else self.origin[places])
        except Exception as error:
            if lacks_memory(error):
                raise
            place, cause = self._blamed(places, error)
            known = isinstance(cause, MMPPLError)
            text = str(cause) if known else f"{type(cause).__name__}: {cause}"
            kind: type[MMPPLError] = type(cause) if isinstance(cause, MMPPLError) else DataError
            raise kind(f"{place} failed. {text}") from cause

    def _blamed(self, places: np.ndarray, error: Exception) -> tuple[str, Exception]:
        """The first row that fails by itself, found by halves, and its error."""
        while len(places) > 1:
            for half in np.array_split(places, 2):
                try:
                    self._made(half)
                except Exception as found:
                    places, error = half, found
                    break
            else:
                return f"No single row, but rows {few(places)} of the source, read together,", error
        if not len(places):
            return "A read of no rows of the source", error
        return f"Row {int(places[0])} of the source, read by itself,", error

    def _made(self, places: np.ndarray) -> Batch:
        found = self._read(places)
        if self.declared is None:
            return found
        if isinstance(found, Batch):
            batch = taken(found, self.declared) if len(found) else found
        elif isinstance(found, Mapping):
            beside = {name: numpy_of(found[name], f"covariate '{name}'") for name in self.covariates if name in found}
            batch = batch_of(self._clean(found), modalities=self.declared, where="the source")[0]
            batch = batch.with_covariates(beside) if beside else batch
        else:
            raise DataError(
                f"Expected the source to give a Batch, or arrays (n, *event) by name of modality, for an array of n "
                f"places; got a {type(found).__name__}."
            )
        if len(batch) != len(places):
            raise DataError(f"Expected {len(places)} rows for as many places; the source gave {len(batch)}.")
        return as_known(batch, self.covariates).validate(self.declared, allow_empty_rows=self.allow_empty_rows)

    def _clean(self, found: Mapping[str, Any]) -> dict[str, Any]:
        """The arrays of modalities with a mask in place of NaN, which is counted, so that not every read warns."""
        names = [name for name in found if self._is_known(name)]
        out = {name: numpy_of(found[name], f"'{name}'") for name in names}
        for name in [n for n in names if n in (self.declared or {}) and out[n].dtype.kind == "f"]:
            gone = np.isnan(out[name])
            if not gone.any():
                continue
            self.gaps[name] += int(gone.sum())
            mask = out.get(f"{name}{PRESENT}")
            if mask is None or mask.ndim < gone.ndim:
                there = ~gone if mask is None else of_rows(mask, gone) & ~gone
                whole = there.reshape(len(there), -1)
                event = not np.array_equal(whole.any(1), whole.all(1))
                out[f"{name}{PRESENT}"] = there if event else whole.any(1)
            else:
                out[f"{name}{PRESENT}"] = mask & ~gone
            out[name] = np.where(gone, out[name].dtype.type(0), out[name])
        return out

    def _is_known(self, name: str) -> bool:
        return name in (self.declared or {}) or name == LABEL or name.endswith(PRESENT)


def rows_or_batch(
    data: Any, modalities: Mapping[str, Modality], covariates: Mapping[str, Covariate] | None = None
) -> Batch | Rows:
    """Data that a program of these modalities and covariates is fitted to: a batch, or the rows of a source.

    Raises:
        DataError: If they are neither, or have no rows.
    """
    if is_source(data):
        return Rows(data, modalities, covariates)
    # Data say themselves whether they lack single elements: a system is then declared for that.
    partly = {name: m.as_partial() if m.shape else m for name, m in modalities.items()}
    return as_known(taken(data, partly), covariates or {})


def block_rows(modalities: Mapping[str, Modality]) -> int:
    """Number of rows that are held at a time where all are gone through, by their size.

    Example:
        >>> block_rows({"x": Modality((2,))}), block_rows({"x": Modality((3, 64, 64))})
        (65536, 170)
    """
    return max(min(NUMBERS // max(sum(int(np.prod(m.shape)) for m in modalities.values()), 1), MOST), 1)
