r"""Preconditioning that learns in warm-up: the scale of every coordinate of every chain, or of all together.

A kernel that walks in :math:`y = z / c`, where :math:`c^2` is the inverse of a diagonal mass matrix, sees coordinates
of unit scale. The variance of a window of n steps of warm-up gives

.. math:: c^2 = \frac{n}{n + 5} \operatorname{var}(z) + \frac{5}{n + 5} 10^{-3}

(dense: the covariance, with the identity in place of 1, and its Cholesky factor C for c, so that coordinates that go
together are told apart). Windows double in length, between a first stretch in which the chain finds its way and a last
one in which the step size settles, as in Stan and in both hosts.

References:
    | Stan Reference Manual, section "HMC algorithm parameters: automatic parameter tuning"
    | Note on a method for calculating corrected sums of squares and products (Welford, 1962)
"""

from typing import Any, NamedTuple

import numpy as np

from mmppl._backend import get_backend

Array = Any

__all__ = ["Mass", "start", "update", "windows"]

FIRST, LAST, WINDOW = 75, 50, 25
SHORTEST = 20


class Mass(NamedTuple):
    """What is known of the scales.

    Arguments:
        scale: c, ``(*chains, D)``, in units of the unconstrained latent; dense, C, lower triangular
            ``(*chains, D, D)``.
        inverse: 1 / c, or the inverse of C.
        mean: Running mean of the window, ``(*chains, D)``.
        squares: Running sum of squared deviations, or of their products, of the shape of the scale.
        count: Steps of the window so far, ``(*chains,)``.
    """

    scale: Array
    inverse: Array
    mean: Array
    squares: Array
    count: Array

    @property
    def dense(self) -> bool:
        """Whether coordinates are scaled together."""
        return self.scale.ndim > self.mean.ndim

    def out(self, y: Array) -> Array:
        """From where the kernel walks to where the chains are: C y."""
        return _times(self.scale, y) if self.dense else self.scale * y

    def pull(self, score: Array) -> Array:
        """The score where the kernel walks, from that of the chains: C^T g."""
        return _times(_turned(self.scale), score) if self.dense else self.scale * score

    def push(self, score: Array) -> Array:
        """The inverse of :meth:`pull`."""
        return _times(_turned(self.inverse), score) if self.dense else self.inverse * score


def start(position: Array, dense: bool = False) -> Mass:
    """Unit scales for chains at ``position``, ``(*chains, D)``."""
    backend = get_backend(position)
    xp = backend.xp
    zeros, count = xp.zeros_like(position), xp.zeros_like(position[..., 0])
    if not dense:
        return Mass(xp.ones_like(position), xp.ones_like(position), zeros, zeros, count)
    eye = zeros[..., None] + backend.asarray(np.eye(position.shape[-1]), like=position)
    return Mass(eye, eye, zeros, xp.zeros_like(eye), count)


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
    backend = get_backend(position)
    never = i < 0
    inside, ended = never, never
    for begin, end in windows(num_warmup):
        inside = inside | ((i >= begin) & (i < end))
        ended = ended | (i == end - 1)
    count = mass.count + 1.0
    delta = position - mass.mean
    mean = mass.mean + delta / count[..., None]
    rest = position - mean
    squares = mass.squares + (delta[..., :, None] * rest[..., None, :] if mass.dense else delta * rest)
    grown = mass._replace(mean=mean, squares=squares, count=count)
    held = Mass(*(backend.xp.where(inside, now, old) for now, old in zip(grown, mass, strict=True)))
    return backend.cond(ended, _learnt, lambda same: same, held), ended


def _learnt(mass: Mass) -> Mass:
    """Scales from the window that has ended, and an empty one."""
    backend = get_backend(mass.mean)
    xp = backend.xp
    n = xp.reshape(mass.count, (*mass.count.shape, *(1,) * (mass.squares.ndim - mass.count.ndim)))
    variance = n / (n + 5.0) * mass.squares / xp.clip(n - 1.0, min=1.0)
    if mass.dense:
        eye = backend.asarray(np.eye(mass.mean.shape[-1]), like=mass.mean)
        scale = backend.cholesky(variance + 5e-3 / (n + 5.0) * eye)
        inverse = backend.solve(scale, xp.broadcast_to(eye, scale.shape))
    else:
        scale = xp.sqrt(variance + 5e-3 / (n + 5.0))
        inverse = 1.0 / scale
    return Mass(scale, inverse, *map(xp.zeros_like, mass[2:]))


def _times(matrix: Array, x: Array) -> Array:
    return get_backend(x).xp.matmul(matrix, x[..., None])[..., 0]


def _turned(matrix: Array) -> Array:
    return get_backend(matrix).xp.moveaxis(matrix, -1, -2)
