"""Values of modalities as they stand in a page: numbers as small PNGs, texts and classes as words."""

import base64
import io
from html import escape

import numpy as np
from PIL import Image

from mmppl.batch import Batch, Modality
from mmppl.coordinates import coordinate_labels
from mmppl.data import Dataset
from mmppl.diagnostics.report.tables import short_number
from mmppl.drawing import words

__all__ = ["cell", "cells", "data_uri", "rows_of"]

# Blue, white and red of a vector's values, from low to high.
LOW, MIDDLE, HIGH = np.array([[49, 104, 172], [247, 247, 247], [178, 54, 43]], float)

FEW = 6  # numbers of a vector that are written out
NONE = "–"


def cell(modality: Modality, value: np.ndarray, what: str, reach: tuple[float, float] = (-1.0, 1.0)) -> str:
    """One value as HTML.

    Arguments:
        modality: What it is.
        value: The value, of the modality's shape.
        what: Its alternative text, for example "ink, sample 3".
        reach: Lowest and highest colour of a vector.
    """
    if modality.kind == "tokens":
        return f'<span class="word">{escape(words(value[None], modality)[0]) or "&nbsp;"}</span>'
    if modality.kind == "category":
        return f'<span class="word">{escape(modality.names[int(value)] if modality.names else str(int(value)))}</span>'
    if modality.kind == "image":
        return f'<img class="pixels" alt="{escape(what)}" src="{data_uri(_image(value))}">'
    value = np.ravel(value)
    numbers = ", ".join(map(_number, value[:4])) + (", …" if len(value) > 4 else "")
    alt = f"{what}: {numbers}"
    return f'<img class="strip" alt="{escape(alt)}" title="{escape(numbers)}" src="{data_uri(_strip(value, reach))}">'


def cells(dataset: Dataset, name: str, values: np.ndarray, what: str) -> list[str]:
    """Values ``(N, *shape)`` of a modality side by side; a vector's colours reach as far as most training values."""
    modality = dataset.modalities[name]
    reach = (-1.0, 1.0)
    if modality.kind in ("vector", "counts"):
        known = np.asarray(dataset.train[name])[np.flatnonzero(np.asarray(dataset.train.present[name]))]
        edge = float(np.quantile(np.abs(known), 0.98)) if known.size else 1.0
        reach = (-edge, edge)
    return [cell(modality, value, f"{name}, {what} {i + 1}", reach) for i, value in enumerate(values)]


def rows_of(
    dataset: Dataset, name: str, values: np.ndarray, what: str, *, rows: Batch | None = None, given: bool = False
) -> list[tuple[str, list[str], bool]]:
    """Rows of a grid: a modality's values ``(N, *shape)`` side by side, and the truth below them.

    Numbers are written out with the names and units of their coordinates, the truth below each; of more than a few,
    coloured strips stand above the first few.

    Arguments:
        dataset: The data set.
        name: The modality.
        values: The values; unused where they are ``given``.
        what: Words for them, such as "sample".
        rows: The rows that they are of, which hold the truth.
        given: Whether the rows' own values are shown, as what was given.
    """
    modality = dataset.modalities[name]
    truth = None if rows is None else np.asarray(rows[name])
    values, mark = (truth, "given ") if given and truth is not None else (values, "")
    numbers = modality.kind in ("vector", "counts")
    size = int(np.prod(modality.shape))
    out = []
    if not numbers or size > FEW:
        out.append((f"{mark}{name}", cells(dataset, name, values, what), given))
        if rows is not None and truth is not None and not given:
            own = zip(cells(dataset, name, truth, "truth, tuple"), np.asarray(rows.whole(name)), strict=True)
            out.append((f"{name}, truth", [cell if there else NONE for cell, there in own], False))
    if not numbers:
        return out
    shown = values.reshape(len(values), -1)
    there = np.ones(shown.shape, bool) if rows is None else np.asarray(rows.there(name))
    there = np.broadcast_to(there.reshape(len(shown), -1), shown.shape)
    for i, label in enumerate(coordinate_labels(name, modality, FEW)):
        head = f"{mark}{name}: {label}" if modality.coordinates else f"{mark}{label}"
        if truth is None or given:
            texts = [_number(v) if t else NONE for v, t in zip(shown[:, i], there[:, i], strict=True)]
        else:
            true = truth.reshape(len(shown), -1)[:, i]
            below = [_number(v) if t else NONE for v, t in zip(true, there[:, i], strict=True)]
            texts = [f"{_number(v)}<br><small>{t}</small>" for v, t in zip(shown[:, i], below, strict=True)]
        out.append((head, [f'<span class="numbers">{text}</span>' for text in texts], given))
    return out


def data_uri(pixels: np.ndarray) -> str:
    """Pixels ``(H, W, 3)`` or ``(H, W)``, uint8, as a PNG in a data URI."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _number(value: float) -> str:
    """A number with four digits that count, without an exponent where it is of usual size.

    Example:
        >>> [_number(x) for x in (4207.3, 39.126, 0.0, -2.5e-7)]
        ['4207', '39.13', '0', '-2.5e-7']
    """
    if value == 0 or not np.isfinite(value) or not 1e-3 <= abs(value) < 1e7:
        return short_number(value)
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _image(value: np.ndarray) -> np.ndarray:
    pixels = np.round(255 * np.clip(np.nan_to_num(value), 0.0, 1.0)).astype(np.uint8)
    return np.ascontiguousarray(pixels.transpose(1, 2, 0)) if len(pixels) == 3 else pixels[0]


def _strip(value: np.ndarray, reach: tuple[float, float]) -> np.ndarray:
    low, high = reach
    share = np.clip((value - low) / max(high - low, 1e-12), 0.0, 1.0)[:, None]
    below = LOW + (MIDDLE - LOW) * np.minimum(2 * share, 1.0)
    return np.where(share < 0.5, below, MIDDLE + (HIGH - MIDDLE) * (2 * share - 1.0)).round().astype(np.uint8)[None]
