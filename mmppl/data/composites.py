"""PolyMNIST's recipe: handwritten digits cut into photographs by inverting colours."""

from collections.abc import Mapping

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

__all__ = ["cut_into", "pair_instances"]


def pair_instances(
    labels: np.ndarray, tuples: Mapping[int, int], num_modalities: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Row numbers of the instances that form each tuple, shuffled; every column belongs to one modality.

    Within a class each modality goes through a random permutation of the class's instances, and through another one
    when it is used up. The permutations of the modalities are rotations of each other, so that a tuple never shows
    one instance twice (the published recipe draws them independently).

    Arguments:
        labels: Class of each instance, of shape ``(I,)``.
        tuples: Number of tuples wanted, by class.
        num_modalities: Number of modalities M.
        rng: Random generator.

    Returns:
        Row numbers of shape ``(T, M)`` and classes of shape ``(T,)``.
    """
    rows, classes = [], []
    for label, wanted in tuples.items():
        pool = np.flatnonzero(labels == label)
        for _ in range(0, wanted, max(1, len(pool))):
            order = rng.permutation(pool)
            # A class with fewer instances than modalities cannot avoid repeats.
            shifts = rng.choice(len(pool), num_modalities, replace=len(pool) < num_modalities)
            rounds = np.stack([np.roll(order, shift) for shift in shifts], axis=1)
            rounds = rounds[: min(len(pool), wanted)]
            rows.append(rounds)
            wanted -= len(rounds)
            classes.append(np.full(len(rounds), label))
    order = rng.permutation(sum(map(len, rows)))
    return np.concatenate(rows)[order], np.concatenate(classes)[order]


def cut_into(photograph: np.ndarray, digits: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Crops of a photograph at the given offsets, colours inverted where the digit is on.

    Arguments:
        photograph: Colours of shape ``(H, W, 3)``, floats in [0, 1].
        digits: Boolean pictures of shape ``(T, S, S)``.
        offsets: Upper left corners of the crops, of shape ``(T, 2)``.

    Returns:
        Pictures of shape ``(T, 3, S, S)``, float32 in [0, 1].

    Example:
        >>> black = np.zeros((4, 4, 3), np.float32)
        >>> cut_into(black, np.eye(2, dtype=bool)[None], np.array([[1, 1]]))[0, 0].tolist()
        [[1.0, 0.0], [0.0, 1.0]]
    """
    windows = sliding_window_view(photograph, digits.shape[1:], axis=(0, 1))
    crops = windows[offsets[:, 0], offsets[:, 1]].astype(np.float32)
    return np.where(digits[:, None], 1 - crops, crops)
