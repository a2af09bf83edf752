"""Standardisation of latents, from the whole training set."""

import warnings

import numpy as np

from mmppl.batch import Batch

__all__ = ["FLOOR", "statistics"]

FLOOR = 1e-3


def statistics(latents: Batch, names: tuple[str, ...], floor: float = FLOOR) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of every coordinate, where its modality is present.

    A deviation below ``floor`` times the largest of its modality is raised to it, with a warning that names the
    coordinates: they carry nothing, and dividing by their own deviation would blow up noise.

    Arguments:
        latents: Latents of all training data, numpy arrays ``(N, D_m)``.
        names: The modalities in the order of the blocks.
        floor: The smallest share.

    Returns:
        Two arrays ``(D,)``.

    Example:
        >>> loc, scale = statistics(Batch({"a": np.array([[0.0, 1.0], [2.0, 5.0]])}), ("a",))
        >>> loc.tolist(), scale.tolist()
        ([1.0, 3.0], [1.0, 2.0])
    """
    locs: list[np.ndarray] = []
    scales: list[np.ndarray] = []
    dead: list[str] = []
    for name in names:
        rows = np.asarray(latents[name], dtype=np.float64)[np.asarray(latents.present[name])]
        loc, scale = rows.mean(axis=0), rows.std(axis=0)
        least = floor * max(float(scale.max()), 1e-12)
        dead.extend(f"{name}[{i}]" for i in np.flatnonzero(scale < least))
        locs.append(loc)
        scales.append(np.maximum(scale, least))
    if dead:
        warnings.warn(
            f"Latent coordinates {', '.join(dead)} do not vary; their standard deviation is floored. A smaller latent "
            "dimension would do.",
            UserWarning,
            stacklevel=2,
        )
    return np.concatenate(locs), np.concatenate(scales)
