"""Nominal against real coverage: a panel for each modality, a line for each subset that is given."""

from collections.abc import Mapping, Set
from typing import Any

import numpy as np

from mmppl import display

__all__ = ["MARGIN", "draw_coverage"]

MARGIN = 0.05
DARK = "#222222"
PANEL, COLUMNS = 2.6, 4
# From nothing given to everything given; each is seen on light pages and on dark ones.
SHADES = ("#e0a030", "#6aa84f", "#2a9d8f", "#3f7fd0", "#9a55c0")


def draw_coverage(covered: Mapping[str, Any], ink: str = DARK) -> Any:
    """A matplotlib figure of a record of :meth:`~mmppl.diagnostics.CoverageBySubset.as_dict`.

    Arguments:
        covered: The record.
        ink: Colour of text and axes.
    """
    levels, subsets = np.asarray(covered["levels"]), covered["subsets"]
    names = list(dict.fromkeys(name for part in subsets.values() for name in part["share"]))
    sizes = {given: len([n for n in given.split("+") if n]) for given in subsets}
    shades = _shades(set(sizes.values()))
    columns = min(COLUMNS, max(len(names), 1))
    rows = -(-max(len(names), 1) // columns)
    figure = display.figure(PANEL * columns, PANEL * rows + 0.5)
    panels = np.ravel(figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False))
    for panel in panels[len(names) :]:
        panel.set_visible(False)
    shown: dict[int, Any] = {}
    for place, (panel, name) in enumerate(zip(panels, names, strict=False)):
        line = np.array([0.0, 1.0])
        panel.fill_between(line, line - MARGIN, line + MARGIN, color=ink, alpha=0.1, linewidth=0)
        panel.plot(line, line, color=ink, linewidth=0.7)
        for given, part in sorted(subsets.items(), key=lambda item: sizes[item[0]]):
            if name in part["share"]:
                share = np.concatenate([[0.0], part["share"][name], [1.0]])
                style = {"color": shades[sizes[given]], "linewidth": 1.4}
                (drawn,) = panel.plot(np.concatenate([[0.0], levels, [1.0]]), share, **style)
                shown[sizes[given]] = drawn
        panel.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", xticks=(0, 0.5, 1), yticks=(0, 0.5, 1))
        panel.set_title(name, fontsize="medium", color=ink)
        panel.patch.set_alpha(0.0)
        panel.spines[["top", "right"]].set_visible(False)
        panel.tick_params(colors=ink)
        for spine in panel.spines.values():
            spine.set_color(ink)
        if place % columns == 0:
            panel.set_ylabel("real", color=ink)
        if place >= len(names) - columns:
            panel.set_xlabel("nominal", color=ink)
    labels = ["nothing given" if size == 0 else f"{size} given" for size in sorted(shown)]
    lines = [shown[size] for size in sorted(shown)]
    legend = figure.legend(
        lines, labels, loc="outside upper center", ncols=min(len(lines), 2 * columns) or 1, frameon=False
    )
    for text in legend.get_texts():
        text.set_color(ink)
    return figure


def _shades(sizes: Set[int]) -> dict[int, str]:
    """A colour for each number of modalities, as far apart as there are numbers.

    Example:
        >>> [SHADES.index(colour) for colour in _shades({0, 1, 8}).values()]
        [0, 2, 4]
    """
    last = max(len(sizes) - 1, 1)
    return {size: SHADES[round(place / last * (len(SHADES) - 1))] for place, size in enumerate(sorted(sizes))}
