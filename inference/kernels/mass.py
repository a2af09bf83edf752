r"""Diagonal preconditioning that learns in warm-up: the scale of every coordinate of every chain.

A kernel that walks in :math:`y = z / c`, where :math:`c^2` is the inverse of a diagonal mass matrix, sees coordinates
of unit scale. The variance of a window of n steps of warm-up gives

.. math:: c^2 = \frac{n}{n + 5} \operatorname{var}(z) + \frac{5}{n + 5} 10^{-3}

and windows double in length, between a first stretch in which the chain finds its way and a last one in which the step
size settles, as in Stan and in both hosts.

References:
    | Stan Reference Manual, section "HMC algorithm parameters: automatic parameter tuning"
    | Note on a method for calculating corrected sums of squares and products (Welford, 1962)
"""

from typing import Any, NamedTuple

from mmppl._backend import get_backend

Array = Any

__all__ = ["Mass", "start", "update", "windows"]

FIRST, LAST, WINDOW = 75, 50, 25
SHORTEST = 20


class Mass(NamedTuple):
    """What is known of the scales.

    Arguments:
        scale: c, ``(*chains, D)``, in units of the unconstrained latent.
        mean: Running mean of the window, ``(*chains, D)``.
        squares: Running sum of squared deviations, ``(*chains, D)``.
        count: Steps of the window so far, ``(*chains,)``.
    """

    scale: Array
    mean: Array
    squares: Array
    count: Array


def start(position: Array) -> Mass:
    """Unit scales for chains at ``position``, ``(*chains, D)``."""
    xp = get_backend(position).xp
    zeros = xp.zeros_like(position)
    return Mass(xp.ones_like(position), zeros, zeros, xp.zeros_like(position[..., 0]))


def windows(num_warmup: int) -> list[tuple[int, int]]:
    """First step and end (exclusive) of each window in which scales are learnt; none in a short warm-up.

    Example:
        >>> windows(400)
        [(75, 100), (100, 150), (150, 350)]
        >>> windows(100), windows(10)
        ([(15, 90)], [])
    """
    if num_warmup < SHORTEST:
        return []
    first, last, size = FIRST, LAST, WINDOW
    if first + last + size > num_warmup:
        first, last = int(0.15 * num_warmup), int(0.1 * num_warmup)
        size = num_warmup - first - last
    begin, end, out = first, num_warmup - last, []
    while begin < end:
        stop = begin + size if 3 * size <= end - begin else end
        out.append((begin, stop))
        begin, size = stop, 2 * size
    return out


def update(mass: Mass, position: Array, i: Array, num_warmup: int) -> tuple[Mass, Array]:
    """What is known after step ``i``, and whether a window ended, which gives new scales.

    Arguments:
        mass: What was known before.
        position: Where the chains are now, ``(*chains, D)``.
        i: Number of the step, from 0, a 0-d integer array.
        num_warmup: Number of steps of warm-up.
    """
    xp = get_backend(position).xp
    never = i < 0
    inside, ended = never, never
    for begin, end in windows(num_warmup):
        inside = inside | ((i >= begin) & (i < end))
        ended = ended | (i == end - 1)
    count = mass.count + 1.0
    delta = position - mass.mean
    mean = mass.mean + delta / count[..., None]
    squares = mass.squares + delta * (position - mean)
    n = count[..., None]
    learnt = xp.sqrt(n / (n + 5.0) * squares / xp.clip(n - 1.0, min=1.0) + 5e-3 / (n + 5.0))
    grown = Mass(mass.scale, mean, squares, count)
    fresh = Mass(learnt, xp.zeros_like(mean), xp.zeros_like(squares), xp.zeros_like(count))
    return Mass(
        *(xp.where(ended, new, xp.where(inside, now, old)) for new, now, old in zip(fresh, grown, mass, strict=True))
    ), ended
