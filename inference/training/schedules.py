"""Schedules over a stage: of the learning rate, and of the decay of averaged weights."""

import math
from collections.abc import Callable
from typing import Any

from mmppl._backend import get_backend

Array = Any

__all__ = ["LATE", "NAMED", "SCHEDULES", "cosine", "decay", "late_cosine"]

LATE = 1 / 3  # share of a stage


def cosine(progress: Array) -> Array:
    r"""Cosine annealing: the factor :math:`(1 + \cos \pi p) / 2` on the learning rate, p the share of steps done.

    References:
        | SGDR: Stochastic Gradient Descent with Warm Restarts (Loshchilov & Hutter, 2017)
        | https://arxiv.org/abs/1608.03983

    Arguments:
        progress: p in [0, 1], an array without axes.

    Example:
        >>> import numpy as np
        >>> [round(float(cosine(np.array(p))), 3) for p in (0.0, 0.5, 1.0)]
        [1.0, 0.5, 0.0]
    """
    xp = get_backend(progress).xp
    return 0.5 * (1.0 + xp.cos(math.pi * xp.clip(progress, max=1.0)))


def constant(progress: Array) -> Array:
    """A factor of 1."""
    return get_backend(progress).xp.ones_like(progress)


def late_cosine(progress: Array) -> Array:
    """Cosine annealing over the last third alone: of a stage whose end is known when two thirds are over.

    References:
        | Scaling Laws and Compute-Optimal Training Beyond Fixed Training Durations (Haegele et al., 2024)
        | https://arxiv.org/abs/2405.18392

    Arguments:
        progress: p in [0, 1], an array without axes.

    Example:
        >>> import numpy as np
        >>> [round(float(late_cosine(np.array(p))), 3) for p in (0.0, 0.6, 5 / 6, 1.0)]
        [1.0, 1.0, 0.5, 0.0]
    """
    return cosine(get_backend(progress).xp.clip((progress - (1.0 - LATE)) / LATE, min=0.0))


SCHEDULES: dict[str, Callable[[Array], Array]] = {"cosine": cosine, "constant": constant, "late cosine": late_cosine}
NAMED = ("cosine", "constant")  # those that a user may ask for


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
