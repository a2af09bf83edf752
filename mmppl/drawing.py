"""Values of modalities drawn into the axes of matplotlib: pictures, words, shares of classes, intervals of numbers."""

from typing import Any

import numpy as np

from mmppl.coordinates import coordinate_labels
from mmppl.modality import Modality

__all__ = ["draw_values", "words"]

PICTURES = 9  # draws of an image in one place, three by three
LONGEST = 18  # characters of a coordinate's name
MOST = 12  # coordinates of a vector, and classes or texts
COLOUR, LIGHT = "#1f4e79", "#9db8d2"


def draw_values(place: Any, modality: Modality, draws: np.ndarray) -> None:
    """Draws of one value: images as a mosaic, texts and classes with their shares, numbers as 50 and 90% intervals.

    Arguments:
        place: Axes of matplotlib.
        modality: What the value is.
        draws: ``(K, *shape)``.
    """
    if modality.kind == "image":
        _images(place, draws[:PICTURES])
    elif modality.ids:
        _shares(place, modality, draws)
    else:
        _intervals(place, draws.reshape(len(draws), -1)[:, :MOST])
        if modality.coordinates or modality.units:
            labels = [_short(text.strip()) for text in coordinate_labels("", modality, MOST)]
            place.set_xticks(range(len(labels)), labels, rotation=90 if modality.shape else 0)


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
