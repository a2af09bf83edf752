"""Random subsets by rejection sampling, with a fixed number of proposals."""

from collections.abc import Callable
from typing import Any

from mmppl._backend import Backend

Array = Any

__all__ = ["NUM_PROPOSALS", "first_valid"]

NUM_PROPOSALS = 16


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
