"""Tables of subsets, as arrays of the batch's backend."""

from typing import Any

import numpy as np

from mmppl._backend import Backend
from mmppl.batch import Batch
from mmppl.subsets import NUM_PROPOSALS, first_valid

Array = Any

__all__ = ["inside", "present_table", "random_subsets", "singles", "table"]


def table(backend: Backend, rows: np.ndarray, like: Array) -> Array:
    """Fixed subsets ``(T, M)`` as a boolean array ``(T, 1, M)``."""
    return backend.asarray(rows.astype(np.float64), like=like)[:, None, :] > 0.5


def present_table(backend: Backend, batch: Batch) -> Array:
    """Presence mask as an array, ``(N, M)``."""
    return backend.xp.stack([batch.present[name] for name in batch.modalities], axis=-1)


def singles(backend: Backend, present: Array, like: Array) -> Array:
    """The subsets of one modality for every row, ``(M, N, M)``, from who has what ``(N, M)``."""
    rows = table(backend, np.eye(present.shape[-1], dtype=bool), like)
    return backend.xp.broadcast_to(rows, (rows.shape[0], *present.shape))


def inside(backend: Backend, encode: Array, present: Array) -> Array:
    """Mask of the rows in which every modality of a subset is present, ``(T, N)``."""
    return backend.xp.all(~encode | present, axis=-1)


def random_subsets(backend: Backend, rng: Any, num: int, present: Array, like: Array) -> Array:
    """``num`` subsets for each datum, uniform over the non-empty subsets of what it has, ``(num, N, M)``."""
    xp = backend.xp
    proposals = (backend.uniform(rng, (NUM_PROPOSALS, num, *present.shape), like) < 0.5) & present
    return first_valid(
        backend, proposals, lambda proposed: xp.any(proposed, axis=-1), xp.broadcast_to(present, (num, *present.shape))
    )
