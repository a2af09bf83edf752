"""Means and deviations of data, block by block, so that they need not fit into memory."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mmppl.batch import Batch, Modality
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
    """Moments of modalities, computed as they are asked for: of a source all in one reading.

    Arguments:
        data: The data.
        modalities: What the modalities are.
    """

    def __init__(self, data: Batch | Rows, modalities: Mapping[str, Modality]):
        self.data, self.modalities = data, modalities
        self._found: dict[str, dict[str, Moments]] = {}

    def values(self, name: str) -> Moments:
        """Moments of the values of a vector's coordinates, or of an image's channels."""
        return self._of(name)["values"]

    def logs(self, name: str) -> Moments:
        r"""The same of :math:`\log(1 + x)`, of counts."""
        return self._of(name)["logs"]

    def _of(self, name: str) -> dict[str, Moments]:
        if name not in self._found:
            every = [n for n, m in self.modalities.items() if not m.ids]
            self._found |= self._computed(every if isinstance(self.data, Rows) else [name])
        return self._found[name]

    def _computed(self, names: list[str]) -> dict[str, dict[str, Moments]]:
        out: dict[str, dict[str, Moments]] = {}
        for batch in in_blocks(self.data, block_rows(self.modalities)):
            for name in names:
                new = _moments(batch, name, self.modalities[name])
                old = out.get(name)
                out[name] = {k: x.with_more(new[k]) for k, x in old.items()} if old else new
        return out


def in_blocks(data: Batch | Rows, size: int) -> Iterator[Batch]:
    """All rows in their order, ``size`` at a time; those of a source are read ahead."""
    found = (data[start : start + size] for start in range(0, len(data), size))
    return read_ahead(found) if isinstance(data, Rows) else found


def _moments(batch: Batch, name: str, modality: Modality) -> dict[str, Moments]:
    x, there = np.asarray(batch[name], np.float64), np.asarray(batch.there(name))
    axes = (0, *range(2, x.ndim)) if modality.kind == "image" else (0,)
    out: dict[str, Any] = {"values": Moments.of(x, there, axes)}
    if modality.scoring.values == "counts":
        out["logs"] = Moments.of(np.log1p(np.where(there, x, 0.0)), there, axes)
    return out
