"""Draws of a program: arrays by modality that show themselves."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from mmppl import display
from mmppl.batch import Modality
from mmppl.checks import at_least, checked
from mmppl.drawing import draw_values, ranges_of
from mmppl.errors import DataError, ModalityError

__all__ = ["Draws"]

PLACE, LABELS = 1.5, 0.8  # inches of a value, and of names of coordinates below it


class Draws(display.Tabled, dict[str, np.ndarray]):
    """Arrays by name of modality, ``(K, N, *shape)``, or ``(K, *shape)`` where nothing was given; a dictionary.

    Arguments:
        values: The arrays.
        modalities: What each modality is.
        given: Whether rows were given.

    Example:
        >>> Draws({"a": np.zeros((5, 2, 3))}, {"a": Modality((3,))})
        Draws: 5 of each of 2 rows
          modality  kind    array
          a         vector  5 x 2 x 3, float64
    """

    def __init__(self, values: Mapping[str, np.ndarray], modalities: Mapping[str, Modality], *, given: bool = True):
        super().__init__(values)
        self.modalities, self.given = modalities, given

    def _title(self) -> str:
        shape = next((shape for value in self.values() if len(shape := _shape(value)) > self.given), None)
        if shape is None:
            return "Draws: none"
        return f"Draws: {shape[0]} of each of {shape[1]} rows" if self.given else f"Draws: {shape[0]} from the prior"

    def _rows(self) -> list[tuple[str, ...]]:
        rows = []
        for name, value in self.items():
            kind = self.modalities[name].kind if name in self.modalities else "no modality"
            shape = " x ".join(map(str, _shape(value))) or "one value"
            rows.append((str(name), kind, f"{shape}, {getattr(value, 'dtype', type(value).__name__)}"))
        return [("modality", "kind", "array"), *rows]

    @checked(rows=at_least(1))
    def show(self, rows: int = 6) -> Any:
        """Draws the first rows side by side, a modality below the other: all K draws of a value in one place.

        Images stand three by three, nine at most. Texts and classes have the share of the draws that each has. Numbers
        have the median (a dot) and the intervals of 50 and 90% of the draws, coordinate by coordinate, over their
        names; what was given is a dot alone. Coordinates in several units, or of ranges too different for one axis,
        are drawn each from its least to its largest value of all rows, which stand beside its name.

        Arguments:
            rows: Most rows. Draws from the prior are one row.

        Returns:
            The figure of matplotlib, which a notebook shows.

        Raises:
            ModalityError: If a key has been put in that is no modality.
            DataError: If there is nothing to show, or an array has no longer the shape of its modality's draws.
        """
        values = {name: value if self.given else value[:, None] for name, value in self._checked().items()}
        number = min(rows, *(value.shape[1] for value in values.values()))
        ranges = {name: ranges_of(self.modalities[name], value[:, :number]) for name, value in values.items()}
        labels = [LABELS * (bool(self.modalities[name].coordinates) + (ranges[name] is not None)) for name in values]
        heights = [PLACE + label for label in labels]
        figure = display.figure(PLACE * number + 0.8, sum(heights) + 0.3)
        places = figure.subplots(len(values), number, squeeze=False, height_ratios=heights)
        for line, (name, value) in zip(places, values.items(), strict=True):
            for row, place in enumerate(line):
                draw_values(place, self.modalities[name], value[:, row], ranges[name])
                place.tick_params(labelsize="x-small")
            line[0].set_ylabel(name if ranges[name] is None else f"{name}\neach in its range", fontsize="small")
        for row, place in enumerate(places[0]):
            place.set_title(f"row {row}" if self.given else "from the prior", fontsize="small")
        return figure

    def _checked(self) -> dict[str, np.ndarray]:
        """The arrays, each of a modality and with draws, and rows, to show."""
        unknown = [name for name in self if name not in self.modalities]
        if unknown:
            raise ModalityError(
                f"Expected draws of modalities among {list(self.modalities)}; got {unknown[0]!r} too. Take it out "
                "before show()."
            )
        if not self:
            raise DataError("Expected draws of one modality or more to show; got none. Generate them again.")
        axes = ("K", "N") if self.given else ("K",)
        values = {name: np.asarray(value) for name, value in self.items()}
        for name, value in values.items():
            shape, lead = tuple(self.modalities[name].shape), value.shape[: len(axes)]
            if value.shape[len(axes) :] != shape or len(lead) < len(axes) or 0 in lead:
                raise DataError(
                    f"Expected draws of '{name}' of shape ({', '.join((*axes, *map(str, shape)))}), each axis at least "
                    f"1; got {value.shape}. Show draws as generate returns them, of one row or more."
                )
        return values


def _shape(value: Any) -> tuple[int, ...]:
    """Shape of an array of any host; that of one value, where there is none."""
    return tuple(getattr(value, "shape", ()))
