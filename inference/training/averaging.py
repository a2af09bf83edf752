"""Decay of averaged weights."""

from typing import Any

from mmppl._backend import get_backend

Array = Any

__all__ = ["decay"]


def decay(ema: float, step: Array) -> Array:
    r"""The decay of averaged weights at a step t = 0, 1, ... of a stage: :math:`\min(\beta, (1 + t) / (10 + t))`.

    The first steps weigh less than what follows, so that a short stage keeps little of what it started from.

    Arguments:
        ema: :math:`\beta`.
        step: t, an array without axes.

    Example:
        >>> import numpy as np
        >>> [round(float(decay(0.5, np.array(float(t)))), 3) for t in (0, 5, 100)]
        [0.1, 0.4, 0.5]
    """
    return get_backend(step).xp.clip((1.0 + step) / (10.0 + step), max=ema)
