"""Means and deviations of data, block by block, so that they need not fit into memory."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mmppl.batch import Batch, Modality
from mmppl.covariates import Covariate
from mmppl.data.reading_ahead import read_ahead
from mmppl.data.rows import Rows, block_rows

__all__ = ["Moments", "Statistics", "in_blocks"]


@dataclass
class Moments:
    r"""Number, mean and sum of squared distances from the mean, of each coordinate, of what there is.

    Two blocks of :math:`n_a` and :math:`n_b` values, whose means differ by :math:`\delta`, have together

    .. math:: \bar x = \bar x_a + \delta n_b / n, \quad M = M_a + M_b + \delta^2 n_a n_b / n

    References:
        Updating Formulae and a Pairwise Algorithm for Computing Sample Variances (Chan et al., 1979)

    Example:
        >>> x, there = np.arange(6.0).reshape(3, 2), np.ones((3, 2), bool)
        >>> both = Moments.of(x[:2], there[:2], (0,)).with_more(Moments.of(x[2:], there[2:], (0,)))
        >>> both.mean.tolist(), np.allclose(both.deviation, x.std(0))
        ([2.0, 3.0], True)
    """

    number: np.ndarray
    mean: np.ndarray
    squares: np.ndarray

    @classmethod
    def of(cls, x: np.ndarray, there: np.ndarray, axes: tuple[int, ...]) -> "Moments":
        """The moments of values over axes, where they are there."""
        number = there.sum(axes)
        least = np.maximum(number, 1)
        mean = np.where(there, x, 0.0).sum(axes) / least
        wide = mean.reshape([1 if axis in axes else size for axis, size in enumerate(x.shape)])
        return cls(number, mean, np.where(there, (x - wide) ** 2, 0.0).sum(axes))

    def with_more(self, other: "Moments") -> "Moments":
        """The moments of these values and others together."""
        number = self.number + other.number
        share = other.number / np.maximum(number, 1)
        gap = other.mean - self.mean
        squares = self.squares + other.squares + gap**2 * self.number * share
        return Moments(number, self.mean + gap * share, squares)

    @property
    def deviation(self) -> np.ndarray:
        """The standard deviation, 0 where there is no value."""
        return np.sqrt(self.squares / np.maximum(self.number, 1))


class Statistics:
    """Moments of modalities and covariates, computed as they are asked for: of a source all in one reading.

    Arguments:
        data: The data.
        modalities: What the modalities are.
        covariates: What is known of every row.
    """

    def __init__(
        self,
        data: Batch | Rows,
        modalities: Mapping[str, Modality],
        covariates: Mapping[str, Covariate] | None = None,
    ):
        self.data, self.modalities, self.known = data, modalities, covariates or {}
        self._found: dict[str, dict[str, Any]] = {}

    def values(self, name: str) -> Moments:
        """Moments of the values of a vector's coordinates, or of an image's channels."""
        return self._of(name)["values"]

    def logs(self, name: str) -> Moments:
        r"""Moments of :math:`\log(1 + x)`, of counts."""
        return self._of(name)["logs"]

    def rates(self, name: str) -> tuple[np.ndarray, float]:
        """Counts for each unit of size, over what is there, and the size of all rows, 1 each without size factors."""
        found = self._of(name)
        if "size" not in found:
            return found["values"].mean, found["values"].number.max()
        number, size, total = found["size"]
        return number / np.maximum(size, 1e-30), total

    @property
    def covariates(self) -> Moments:
        """Moments of the numbers among covariates in their order, then of logarithms of size factors."""
        return self._of("")["covariates"]

    def _of(self, name: str) -> dict[str, Any]:
        if name not in self._found:
            every = [n for n, m in self.modalities.items() if not m.ids] + ([""] if self.known else [])
            self._found |= self._computed(every if isinstance(self.data, Rows) else [name])
        return self._found[name]

    def _computed(self, names: list[str]) -> dict[str, dict[str, Any]]:
        out: dict[str, dict[str, Any]] = {}
        for batch in in_blocks(self.data, block_rows(self.modalities)):
            for name in names:
                new = _moments(batch, name, self.modalities[name], self.known) if name else _numbers(batch, self.known)
                old = out.get(name)
                out[name] = {k: _joined(x, new[k]) for k, x in old.items()} if old else new
        return out


def in_blocks(data: Batch | Rows, size: int) -> Iterator[Batch]:
    """All rows in their order, ``size`` at a time; those of a source are read ahead."""
    found = (data[start : start + size] for start in range(0, len(data), size))
    return read_ahead(found) if isinstance(data, Rows) else found


def _joined(one: Any, other: Any) -> Any:
    return one.with_more(other) if isinstance(one, Moments) else tuple(a + b for a, b in zip(one, other, strict=True))


def _moments(batch: Batch, name: str, modality: Modality, known: Mapping[str, Covariate]) -> dict[str, Any]:
    x, there = np.asarray(batch[name], np.float64), np.asarray(batch.there(name))
    axes = (0, *range(2, x.ndim)) if modality.kind == "image" else (0,)
    out: dict[str, Any] = {"values": Moments.of(x, there, axes)}
    if modality.scoring.values != "counts":
        return out
    out["logs"] = Moments.of(np.log1p(np.where(there, x, 0.0)), there, axes)
    factors = [n for n, c in known.items() if c.kind == "size_factor" and c.modality in (None, name)]
    if factors:
        size = np.prod([np.asarray(batch.covariates[n], np.float64) for n in factors], axis=0)
        wide = np.where(there, size.reshape(-1, *[1] * (x.ndim - 1)), 0.0)
        shown = np.asarray(batch.present[name])
        out["size"] = np.where(there, x, 0.0).sum(0), wide.sum(0), size[shown].sum()
    return out


def _numbers(batch: Batch, known: Mapping[str, Covariate]) -> dict[str, Moments]:
    values = {name: np.asarray(batch.covariates[name], np.float64) for name in known}
    columns = [values[name] for name, what in known.items() if what.kind == "number"]
    columns += [np.log(values[name]) for name, what in known.items() if what.kind == "size_factor"]
    numbers = np.stack(columns, axis=1) if columns else np.zeros((len(batch), 0))
    return {"covariates": Moments.of(numbers, np.ones(numbers.shape, bool), (0,))}
