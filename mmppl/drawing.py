"""Values of modalities drawn into the axes of matplotlib: pictures, words, shares of classes, intervals of numbers."""

from typing import Any

import numpy as np

from mmppl.coordinates import coordinate_labels
from mmppl.display import number
from mmppl.modality import Modality

__all__ = ["draw_values", "ranges_of", "words"]

PICTURES = 9  # draws of an image in one place, three by three
LONGEST = 18  # characters of a coordinate's name
MOST = 12  # coordinates of a vector, and classes or texts
FAR = 30  # times the range of another coordinate: too far apart for one axis
COLOUR, LIGHT = "#1f4e79", "#9db8d2"


def draw_values(place: Any, modality: Modality, draws: np.ndarray, ranges: np.ndarray | None = None) -> None:
    """Draws of one value: images as a mosaic, texts and classes with their shares, numbers as 50 and 90% intervals.

    Arguments:
        place: Axes of matplotlib.
        modality: What the value is.
        draws: ``(K, *shape)``.
        ranges: Of numbers, what is drawn at the bottom and at the top for each coordinate, as :func:`ranges_of`.
    """
    if modality.kind == "image":
        _images(place, draws[:PICTURES])
    elif modality.ids:
        _shares(place, modality, draws)
    else:
        shown = draws.reshape(len(draws), -1)[:, :MOST]
        if ranges is not None:
            low, high = ranges
            shown = (shown - low) / np.where(high > low, high - low, 1.0)
        _intervals(place, shown)
        if modality.coordinates or modality.units:
            labels = [_short(text.strip()) for text in coordinate_labels("", modality, MOST)]
            if ranges is not None:
                place.set(yticks=(), ylim=(-0.05, 1.05))
                labels = [f"{text}: {number(a)} to {number(b)}" for text, a, b in zip(labels, *ranges, strict=True)]
            place.set_xticks(range(len(labels)), labels, rotation=90 if modality.shape else 0)


def ranges_of(modality: Modality, draws: np.ndarray) -> np.ndarray | None:
    """Least and largest values of each coordinate, where these are in several units or differ too much for one axis.

    Arguments:
        modality: What the values are.
        draws: ``(..., *shape)``.

    Returns:
        ``(2, D)``; None where one axis serves, or coordinates have neither names nor units.

    Example:
        >>> bird = Modality((2,), coordinates=("mass", "wing"), units=("g", "mm"))
        >>> ranges_of(bird, np.array([[3500.0, 19.0], [4200.0, 17.5]])).tolist()
        [[3500.0, 17.5], [4200.0, 19.0]]
        >>> ranges_of(Modality((2,), units="mm"), np.array([[21.0, 19.0], [22.0, 17.5]])) is None
        True
    """
    if len(modality.shape) != 1 or modality.ids or not (modality.coordinates or modality.units):
        return None
    flat = draws.reshape(-1, modality.shape[0])[:, :MOST]
    low, high = flat.min(0), flat.max(0)
    spans = (high - low)[high > low]
    several = isinstance(modality.units, tuple) and len(set(modality.units)) > 1
    far = spans.size > 1 and spans.max() > FAR * spans.min()
    return np.stack([low, high]) if several or far else None


def words(tokens: np.ndarray, modality: Modality) -> list[str]:
    """Token ids ``(N, L)`` as text: letters a to z (0 is padding) where the vocabulary is that small, else the ids.

    Example:
        >>> words(np.array([[15, 14, 5, 0, 0]]), Modality((5,), kind="tokens", vocabulary=27))
        ['one']
    """
    if (modality.vocabulary or 0) <= 27:
        return ["".join("·abcdefghijklmnopqrstuvwxyz"[i] for i in row).rstrip("·") for row in np.asarray(tokens)]
    return [" ".join(map(str, row)) for row in np.asarray(tokens)]


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def _images(place: Any, draws: np.ndarray) -> None:
    side = int(np.ceil(np.sqrt(len(draws))))
    channels, height, width = draws.shape[1:]
    whole = np.full((side * (height + 1) - 1, side * (width + 1) - 1, channels), 1.0)
    for i, image in enumerate(draws):
        top, left = i // side * (height + 1), i % side * (width + 1)
        whole[top : top + height, left : left + width] = np.moveaxis(image, 0, -1)
    shown = np.clip(whole, 0.0, 1.0)
    place.imshow(shown if channels == 3 else shown.mean(-1), cmap="gray", vmin=0.0, vmax=1.0, interpolation="nearest")
    place.set(xticks=[], yticks=[])


def _shares(place: Any, modality: Modality, draws: np.ndarray) -> None:
    if modality.kind == "tokens":
        texts = words(draws.reshape(len(draws), -1), modality)
    else:
        texts = [modality.names[int(i)] if modality.names else str(int(i)) for i in draws.ravel()]
    found, counts = np.unique(texts, return_counts=True)
    best = np.argsort(-counts, kind="stable")[:MOST][::-1]
    place.barh(range(len(best)), counts[best] / counts.sum(), color=LIGHT)
    place.set_yticks(range(len(best)), [str(text)[:16] for text in found[best]])
    place.set(xlim=(0.0, 1.0), xticks=(0.0, 1.0))


def _intervals(place: Any, draws: np.ndarray) -> None:
    at = np.arange(draws.shape[1])
    for level, colour, width in ((0.9, LIGHT, 2.0), (0.5, COLOUR, 4.0)):
        low, high = np.quantile(draws, [0.5 - level / 2, 0.5 + level / 2], axis=0)
        place.vlines(at, low, high, color=colour, linewidth=width)
    place.plot(at, np.median(draws, axis=0), ".", color="#c8553d", markersize=4)
    place.set(xlim=(-0.6, len(at) - 0.4), xticks=at)
