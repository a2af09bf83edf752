r"""Masked images as modalities: squares of random places are hidden, and what is visible can be kept as it is.

The number of squares follows a law of its own, and their corners are uniform among those at which they are whole;
squares may overlap.

References:
    | Diffusion Models For Multi-Modal Generative Modeling (Chen et al., 2024), section 4.2
    | https://openreview.net/forum?id=cbv0sBIZh9
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from mmppl.batch import Batch, Modality
from mmppl.checks import ANYTHING, at_least, checked, within
from mmppl.data.dataset import Dataset
from mmppl.errors import DataError, ModalityError, OptionError

__all__ = ["patch_masks", "restored", "with_labels", "with_masks"]


@checked(rows=at_least(1), height=at_least(1), width=at_least(1), size=at_least(1), law=ANYTHING)
def patch_masks(
    rows: int, height: int, width: int, *, size: int, law: Sequence[float], seed: int = 0, visible: bool = True
) -> np.ndarray:
    """Masks of what is visible, boolean ``(rows, 1, height, width)``.

    Arguments:
        rows: Number of masks.
        height: Height of the image in pixels.
        width: Its width.
        size: Side of a square in pixels.
        law: Probabilities of 0, 1, 2, ... squares, up to a factor; ``[1] * 11`` for 0 to 10 alike, as published.
        seed: Random seed.
        visible: Whether something must be visible in every image.

    Raises:
        OptionError: If a square is larger than the image, the law is none, or squares could hide everything where
            something must be visible.

    Example:
        >>> masks = patch_masks(100, 8, 8, size=4, law=[0, 1])
        >>> masks.shape, set(masks.sum((1, 2, 3)).tolist())
        ((100, 1, 8, 8), {48})
    """
    try:
        weights = np.asarray(law, dtype=float)
    except (TypeError, ValueError):
        weights = np.empty(0)
    if (
        weights.ndim != 1
        or not weights.size
        or not (np.isfinite(weights) & (weights >= 0.0)).all()
        or not weights.sum()
    ):
        raise OptionError(f"Expected law to be weights >= 0 of 0, 1, 2, ... squares, some above 0; got {law!r}.")
    if size > min(height, width):
        raise OptionError(f"Expected squares of at most {min(height, width)} pixels a side; got size={size}.")
    most = int(np.flatnonzero(weights).max())
    if visible and most * size**2 >= height * width:
        raise OptionError(
            f"Expected squares that cannot hide all of {height} x {width} pixels; got up to {most} of {size} x {size}. "
            "Take fewer or smaller ones, or visible=False."
        )
    rng = np.random.default_rng(seed)
    number = rng.choice(weights.size, rows, p=weights / weights.sum())
    top = rng.integers(height - size + 1, size=(rows, most, 1, 1))
    left = rng.integers(width - size + 1, size=(rows, most, 1, 1))
    y, x = np.arange(height)[:, None], np.arange(width)
    inside = (y >= top) & (y < top + size) & (x >= left) & (x < left + size)
    drawn = np.arange(most) < number[:, None]
    hidden = np.any(inside & drawn[:, :, None, None], axis=1, keepdims=True)
    return np.logical_not(hidden)


@checked(size=at_least(1), law=ANYTHING, fill=within(0, 1))
def with_masks(
    data: Dataset,
    name: str,
    *,
    size: int,
    law: Sequence[float],
    fill: float = 0.0,
    mask: bool = False,
    seed: int = 0,
    visible: bool = True,
) -> Dataset:
    """The data with a masked copy of an image beside it, as the modality ``<name>_masked``.

    Arguments:
        data: The data set.
        name: The image.
        size: Side of a hidden square in pixels.
        law: Probabilities of 0, 1, 2, ... squares, see :func:`patch_masks`.
        fill: What stands in hidden pixels.
        mask: Whether the mask, 1 where pixels are visible, is a modality as well, ``<name>_mask``.
        seed: Random seed; training and test rows have masks of their own.
        visible: Whether something must be visible in every image.

    Raises:
        ModalityError: If there is no such image, or a name is taken.
        OptionError: If squares are too large or could hide everything.

    Example:
        >>> from mmppl.data import load
        >>> digits = with_masks(load("polydigits"), "ink", size=4, law=[0, 1, 1])
        >>> hidden = digits.test["ink_masked"] != digits.test["ink"]
        >>> digits.modalities["ink_masked"].shape, bool((hidden.sum((1, 2, 3)) <= 32).all())
        ((1, 16, 16), True)
    """
    modality = data.modalities.get(name)
    names = (f"{name}_masked", *((f"{name}_mask",) if mask else ()))
    if modality is None or modality.kind != "image" or any(n in data.modalities for n in names):
        raise ModalityError(
            f"Expected an image among {list(data.modalities)} without modalities {list(names)} beside it; got {name!r}."
        )
    _, height, width = modality.shape

    def masked(batch: Batch, seed: int) -> Batch:
        seen = patch_masks(max(len(batch), 1), height, width, size=size, law=law, seed=seed, visible=visible)
        value, seen = np.asarray(batch[name]), seen[: len(batch)]
        new = {names[0]: np.where(seen, value, np.asarray(fill, value.dtype))}
        new |= {n: seen.astype(value.dtype) for n in names[1:]}
        return _beside(batch, new, np.asarray(batch.present[name]))

    modalities = dict(data.modalities) | {names[0]: modality.but(partial=False)}
    modalities |= {n: Modality((1, height, width), kind="image", likelihood="bernoulli") for n in names[1:]}
    return replace(
        data,
        modalities=modalities,
        train=masked(data.train, seed),
        test=masked(data.test, seed + 1),
        published={},
        rows=None,
    )


@checked()
def with_labels(data: Dataset, name: str = "label") -> Dataset:
    """The data with their labels as a modality, a category.

    Arguments:
        data: The data set, with labels that are whole numbers from 0 on.
        name: Name of the modality.

    Raises:
        DataError: If there are no such labels.
        ModalityError: If the name is taken.

    Example:
        >>> from mmppl.data import load
        >>> with_labels(load("polydigits")).modalities["label"].categories
        10
    """
    if name in data.modalities:
        raise ModalityError(f"Expected a name that is not among {list(data.modalities)}; got {name!r}.")
    found = [None if part.label is None else np.asarray(part.label) for part in (data.train, data.test)]
    if any(x is None or x.ndim != 1 or x.dtype.kind not in "iu" or (x.size and x.min() < 0) for x in found):
        raise DataError(f"Expected data with labels that are whole numbers >= 0; '{data.name}' have none.")
    number = 1 + max(int(x.max(initial=0)) for x in found if x is not None)
    parts = (
        _beside(part, {name: x.astype(np.int64)}, np.ones(len(part), bool))
        for part, x in zip((data.train, data.test), found, strict=True)
        if x is not None
    )
    train, test = parts
    modalities = dict(data.modalities) | {name: Modality((), kind="category", categories=number)}
    return replace(data, modalities=modalities, train=train, test=test, published={}, rows=None)


def restored(draws: np.ndarray, image: np.ndarray, visible: np.ndarray) -> np.ndarray:
    """Draws ``(*, N, C, H, W)`` of images with visible pixels as they are, bit for bit.

    Arguments:
        draws: What was generated.
        image: Images ``(N, C, H, W)``; hidden pixels are not looked at.
        visible: Boolean ``(N, 1, H, W)``, or of the images' shape.

    Raises:
        DataError: If shapes do not fit.

    Example:
        >>> restored(np.zeros((5, 1, 1, 1, 2)), np.ones((1, 1, 1, 2)), np.array([[[[True, False]]]]))[0].tolist()
        [[[[1.0, 0.0]]]]
    """
    draws, image, visible = np.asarray(draws), np.asarray(image), np.asarray(visible)
    try:
        fits = draws.shape[-4:] == image.shape == np.broadcast_shapes(image.shape, visible.shape)
    except ValueError:
        fits = False
    if not fits or image.ndim != 4 or visible.dtype != bool:
        raise DataError(
            "Expected draws (*, N, C, H, W), images (N, C, H, W) and a boolean mask of their shape; got "
            f"{draws.shape}, {image.shape} and {visible.dtype} {visible.shape}."
        )
    return np.where(visible, image, draws)


def _beside(batch: Batch, values: dict[str, np.ndarray], present: np.ndarray) -> Batch:
    """The batch with more modalities."""
    made = Batch({**batch.values, **values}, {**batch.masks, **dict.fromkeys(values, present)}, batch.label)
    return made.with_parts(covariates=batch.covariates, places=batch.places)
