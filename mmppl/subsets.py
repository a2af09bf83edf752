"""Subsets of modalities: all of them, tables of them as arrays of a backend, and random ones.

Random subsets are by rejection sampling, with a fixed number of proposals.
"""

from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np

from mmppl._backend import Backend
from mmppl.batch import Batch

Array = Any

__all__ = [
    "MAX_SUBSETS",
    "NUM_PROPOSALS",
    "all_subsets",
    "first_valid",
    "inside",
    "present_table",
    "random_subsets",
    "singles",
    "table",
]

MAX_SUBSETS = 32
NUM_PROPOSALS = 16


def all_subsets(num: int, limit: int = MAX_SUBSETS, seed: int = 0) -> np.ndarray:
    """Non-empty subsets of ``num`` modalities as boolean rows ``(S, num)``.

    Arguments:
        num: M, the number of modalities.
        limit: The most subsets S; where there are more, the singles and the full set always, and others at random.
        seed: Random seed of these.

    Example:
        >>> all_subsets(2).astype(int).tolist()
        [[1, 0], [0, 1], [1, 1]]
    """
    if 2**num - 1 <= limit:
        rows = [bits[::-1] for bits in product([False, True], repeat=num)][1:]
        return np.array(rows)
    rng = np.random.default_rng(seed)
    chosen = {tuple(row) for row in np.eye(num, dtype=bool)} | {(True,) * num}
    while len(chosen) < max(limit, num + 1):
        row = tuple(bool(b) for b in rng.random(num) < rng.random())
        if any(row):
            chosen.add(row)
    return np.array(sorted(chosen, key=lambda row: (sum(row), row[::-1])))


def table(backend: Backend, rows: np.ndarray, like: Array) -> Array:
    """Fixed subsets ``(T, M)`` as a boolean array ``(T, 1, M)``."""
    return backend.asarray(rows.astype(np.float64), like=like)[:, None, :] > 0.5


def present_table(backend: Backend, batch: Batch) -> Array:
    """Presence mask as an array, ``(N, M)``."""
    return backend.xp.stack([batch.present[name] for name in batch.modalities], axis=-1)


def singles(backend: Backend, present: Array, like: Array) -> Array:
    """The subsets of one modality for every row, ``(M, N, M)``, from the presence mask ``(N, M)``."""
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


def first_valid(backend: Backend, proposals: Array, fits: Callable[[Array], Array], otherwise: Array) -> Array:
    """The first valid proposal of each row; ``otherwise`` where none is.

    Proposals that hold each modality with probability 1/2 give subsets that are uniform among the valid ones.

    Arguments:
        backend: The backend of the arrays.
        proposals: Boolean, ``(NUM_PROPOSALS, *, M)``.
        fits: Whether a proposal ``(*, M)`` is valid, ``(*,)``.
        otherwise: What stands in for the negligible rest, ``(*, M)``.
    """
    chosen = otherwise
    for i in range(proposals.shape[0] - 1, -1, -1):
        proposed = proposals[i, ...]
        chosen = backend.xp.where(fits(proposed)[..., None], proposed, chosen)
    return chosen
