"""Draws of a program: arrays by modality that show themselves."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from mmppl import display
from mmppl.batch import Modality
from mmppl.checks import at_least, checked
from mmppl.drawing import draw_values

__all__ = ["Draws"]

PLACE = 1.5  # inches of a value


class Draws(dict[str, np.ndarray]):
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

    def __repr__(self) -> str:
        return display.limited([self._title(), *(f"  {line}" for line in display.columns(self._rows()))])

    def _repr_html_(self) -> str:
        header, *rows = self._rows()
        return display.page(self._title(), display.table(header, rows))

    def _title(self) -> str:
        shape = next(iter(self.values())).shape
        return f"Draws: {shape[0]} of each of {shape[1]} rows" if self.given else f"Draws: {shape[0]} from the prior"

    def _rows(self) -> list[tuple[str, ...]]:
        shapes = {name: " x ".join(map(str, value.shape)) for name, value in self.items()}
        rows = [(name, self.modalities[name].kind, f"{shapes[name]}, {value.dtype}") for name, value in self.items()]
        return [("modality", "kind", "array"), *rows]

    @checked(rows=at_least(1))
    def show(self, rows: int = 6) -> Any:
        """Draws the first rows side by side, a modality below the other: all K draws of a value in one place.

        Images stand three by three, nine at most. Texts and classes have the share of the draws that each has. Numbers
        have the median (a dot) and the intervals of 50 and 90% of the draws, coordinate by coordinate; what was given
        is a dot alone.

        Arguments:
            rows: Most rows. Draws from the prior are one row.

        Returns:
            The figure of matplotlib, which a notebook shows.
        """
        values = {name: value if self.given else value[:, None] for name, value in self.items()}
        number = min(rows, next(iter(values.values())).shape[1])
        figure = display.figure(PLACE * number + 0.8, PLACE * len(values) + 0.3)
        places = figure.subplots(len(values), number, squeeze=False)
        for line, (name, value) in zip(places, values.items(), strict=True):
            for row, place in enumerate(line):
                draw_values(place, self.modalities[name], value[:, row])
                place.tick_params(labelsize="x-small")
            line[0].set_ylabel(name)
        for row, place in enumerate(places[0]):
            place.set_title(f"row {row}" if self.given else "from the prior", fontsize="small")
        return figure
