"""Random subsets by rejection sampling, with a fixed number of proposals."""

from collections.abc import Callable
from typing import Any

from mmppl._backend import Backend

Array = Any

__all__ = ["NUM_PROPOSALS", "first_valid"]

NUM_PROPOSALS = 16


def first_valid(backend: Backend, coins: Array, fits: Callable[[Array], Array], otherwise: Array) -> Array:
    """The first valid proposal of each row; ``otherwise`` where none is.

    Fair coins give subsets that are uniform among those that fit.

    Arguments:
        backend: The backend of the arrays.
        coins: Boolean throws, ``(NUM_PROPOSALS, *, M)``.
        fits: Whether a throw ``(*, M)`` will do, ``(*,)``.
        otherwise: What stands in for the negligible rest, ``(*, M)``.
    """
    chosen = otherwise
    for throw in range(coins.shape[0] - 1, -1, -1):
        coin = coins[throw, ...]
        chosen = backend.xp.where(fits(coin)[..., None], coin, chosen)
    return chosen
