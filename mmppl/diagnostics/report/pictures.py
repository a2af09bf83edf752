"""Values of modalities as they stand in a page: numbers as small PNGs, texts and classes as words."""

import base64
import io
from html import escape

import numpy as np
from PIL import Image

from mmppl.batch import Modality
from mmppl.data import Dataset
from mmppl.drawing import words

__all__ = ["cell", "cells", "data_uri"]

# Blue, white and red of a vector's values, from low to high.
LOW, MIDDLE, HIGH = np.array([[49, 104, 172], [247, 247, 247], [178, 54, 43]], float)

FEW = 4  # numbers of a vector that are written out


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
    numbers = ", ".join(f"{v:.2f}" for v in value[:4]) + (", …" if len(value) > 4 else "")
    alt = f"{what}: {numbers}"
    strip = f'<img class="strip" alt="{escape(alt)}" title="{escape(numbers)}" src="{data_uri(_strip(value, reach))}">'
    if len(value) > FEW:
        return strip
    return f'{strip}<span class="numbers">{"<br>".join(f"{v:.3g}" for v in value)}</span>'


def cells(dataset: Dataset, name: str, values: np.ndarray, what: str) -> list[str]:
    """Values ``(N, *shape)`` of a modality side by side; a vector's colours reach as far as most training values."""
    modality = dataset.modalities[name]
    reach = (-1.0, 1.0)
    if modality.kind in ("vector", "counts"):
        known = np.asarray(dataset.train[name])[np.flatnonzero(np.asarray(dataset.train.present[name]))]
        edge = float(np.quantile(np.abs(known), 0.98)) if known.size else 1.0
        reach = (-edge, edge)
    return [cell(modality, value, f"{name}, {what} {i + 1}", reach) for i, value in enumerate(values)]


def data_uri(pixels: np.ndarray) -> str:
    """Pixels ``(H, W, 3)`` or ``(H, W)``, uint8, as a PNG in a data URI."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _image(value: np.ndarray) -> np.ndarray:
    pixels = np.round(255 * np.clip(np.nan_to_num(value), 0.0, 1.0)).astype(np.uint8)
    return np.ascontiguousarray(pixels.transpose(1, 2, 0)) if len(pixels) == 3 else pixels[0]


def _strip(value: np.ndarray, reach: tuple[float, float]) -> np.ndarray:
    low, high = reach
    share = np.clip((value - low) / max(high - low, 1e-12), 0.0, 1.0)[:, None]
    below = LOW + (MIDDLE - LOW) * np.minimum(2 * share, 1.0)
    return np.where(share < 0.5, below, MIDDLE + (HIGH - MIDDLE) * (2 * share - 1.0)).round().astype(np.uint8)[None]
