"""Contents of a batch as a table, by which it shows itself."""

from typing import Any

import numpy as np

from mmppl import display

__all__ = ["parts_of", "patterns_of"]


def parts_of(batch: Any) -> list[tuple[str, str, str, str]]:
    """Name, event shape, type and share of what is present, of each modality of a batch."""
    out = []
    for name, value in batch.values.items():
        mask = display.as_numpy(batch.elements.get(name, batch.present[name]))
        unit = "values" if name in batch.elements else "rows"
        said = "traced" if mask is None else f"{int(mask.sum())} of {mask.size} {unit}"
        out.append((name, " x ".join(map(str, value.shape[1:])) or "1", str(value.dtype), said))
    return out


def patterns_of(batch: Any, most: int = 8) -> list[str]:
    """The commonest patterns of what is there, row by row, in words."""
    masks = [display.as_numpy(mask) for mask in batch.present.values()]
    if not masks or any(mask is None or mask.ndim != 1 for mask in masks):
        return []
    table = np.stack([np.asarray(mask, bool) for mask in masks], axis=1)
    kinds, counts = np.unique(table, axis=0, return_counts=True)
    names = list(batch.values)
    order = np.argsort(-counts, kind="stable")
    said = [(" + ".join(n for n, here in zip(names, kinds[i], strict=True) if here) or "nothing") for i in order]
    lines = [f"{counts[i]} row{'s' if counts[i] > 1 else ''}: {text}" for i, text in zip(order, said, strict=True)][
        :most
    ]
    return [*lines, f"and {len(order) - most} patterns more"] if len(order) > most else lines
