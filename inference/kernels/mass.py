r"""Preconditioning that learns in warm-up: the scale of every coordinate of every chain, or of all together.

A kernel that runs in :math:`y = z / c`, where :math:`c^2` is the inverse of a diagonal mass matrix, sees coordinates
of unit scale. The variance of a window of n steps of warm-up gives

.. math:: c^2 = \frac{n}{n + 5} \operatorname{var}(z) + \frac{5}{n + 5} 10^{-3}

Windows double in length, between a first stretch in which the chain finds its way and a last one in which the step
size settles, as in Stan and in both hosts.

Dense, the kernel runs in :math:`y = C^{-1} z`. A window of a slow chain tells little of how far its latents go, but
how steep the density is all the same, since the covariance of scores g is the mean of minus the Hessian. So the scores
give a first frame, and the covariance in it, shrunk towards the identity, corrects it:

.. math::
    R R^T = \frac{n \operatorname{cov}(g) + 5 I}{n + 5}, \qquad
    H H^T = \frac{n R^T \operatorname{cov}(z) R + 5 D I}{n + 5 D}, \qquad C = R^{-T} H

References:
    | Note on a method for calculating corrected sums of squares and products (Welford, 1962)
    | Preconditioning Hamiltonian Monte Carlo by Minimizing Fisher Divergence (Seyboldt, Carlson & Carpenter, 2026):
    | draws and scores both, by another rule than here
    | Stan Reference Manual, section "HMC algorithm parameters: automatic parameter tuning"
"""

from typing import Any, NamedTuple

import numpy as np

from mmppl._backend import Backend, get_backend

Array = Any

__all__ = ["Mass", "start", "update", "windows"]

INITIAL, FINAL, WINDOW = 75, 50, 25
SHORTEST, PRIOR = 20, 5.0


class Mass(NamedTuple):
    """Estimate of the scales.

    Arguments:
        scale: c, ``(*chains, D)``, in units of the unconstrained latent; dense, C, ``(*chains, D, D)``.
        inverse: 1 / c, or the inverse of C.
        mean: Running mean of the window, ``(*chains, D)``.
        squares: Running sum of squared deviations, or of their products, of the shape of the scale.
        drift: Running mean of the scores, ``(*chains, D)``, which is not 0 while a chain finds its way.
        scores: Running sum of products of their deviations, ``(*chains, D, D)``; None unless dense.
        count: Steps of the window so far, ``(*chains,)``.
    """

    scale: Array
    inverse: Array
    mean: Array
    squares: Array
    drift: Array
    scores: Array | None
    count: Array

    @property
    def dense(self) -> bool:
        """Tells whether coordinates are scaled together."""
        return self.scale.ndim > self.mean.ndim

    def out(self, y: Array) -> Array:
        """Maps the coordinates of the kernel to those of the chains: C y."""
        return _times(self.scale, y) if self.dense else self.scale * y

    def scale_score(self, score: Array) -> Array:
        """The score in the coordinates of the kernel, from that of the chains: C^T g."""
        return _times(_turned(self.scale), score) if self.dense else self.scale * score

    def unscale_score(self, score: Array) -> Array:
        """The inverse of :meth:`scale_score`."""
        return _times(_turned(self.inverse), score) if self.dense else self.inverse * score


def start(position: Array, dense: bool = False) -> Mass:
    """Unit scales for chains at ``position``, ``(*chains, D)``."""
    backend = get_backend(position)
    xp = backend.xp
    zeros, count = xp.zeros_like(position), xp.zeros_like(position[..., 0])
    if not dense:
        return Mass(xp.ones_like(position), xp.ones_like(position), zeros, zeros, zeros, None, count)
    eye = zeros[..., None] + backend.asarray(np.eye(position.shape[-1]), like=position)
    return Mass(eye, eye, zeros, xp.zeros_like(eye), zeros, xp.zeros_like(eye), count)


def windows(num_warmup: int) -> list[tuple[int, int]]:
    """First step and end (exclusive) of each window in which scales are learned; none in a short warm-up.

    Example:
        >>> windows(400)
        [(75, 100), (100, 150), (150, 350)]
        >>> windows(100), windows(10)
        ([(15, 90)], [])
    """
    if num_warmup < SHORTEST:
        return []
    first, last, size = INITIAL, FINAL, WINDOW
    if first + last + size > num_warmup:
        first, last = int(0.15 * num_warmup), int(0.1 * num_warmup)
        size = num_warmup - first - last
    begin, end, out = first, num_warmup - last, []
    while begin < end:
        stop = begin + size if 3 * size <= end - begin else end
        out.append((begin, stop))
        begin, size = stop, 2 * size
    return out


def update(mass: Mass, position: Array, score: Array, i: Array, num_warmup: int) -> tuple[Mass, Array]:
    """Estimate after step ``i``, and whether a window ended, which gives new scales.

    Arguments:
        mass: What was known before.
        position: Where the chains are now, ``(*chains, D)``.
        score: The score there, ``(*chains, D)``.
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
    rest, away = position - mean, score - mass.drift
    drift = mass.drift + away / count[..., None]
    squares, scores = mass.squares, mass.scores
    if mass.dense:
        squares = squares + delta[..., :, None] * rest[..., None, :]
        scores = scores + away[..., :, None] * (score - drift)[..., None, :]
    else:
        squares = squares + delta * rest
    grown = Mass(mass.scale, mass.inverse, mean, squares, drift, scores, count)
    held = backend.cond(inside, lambda pair: pair[0], lambda pair: pair[1], (grown, mass))
    return backend.cond(ended, _learned, lambda same: same, held), ended


def _learned(mass: Mass) -> Mass:
    """Scales from the window that has ended, and an empty one."""
    backend = get_backend(mass.mean)
    xp = backend.xp
    n = xp.reshape(mass.count, (*mass.count.shape, *(1,) * (mass.squares.ndim - mass.count.ndim)))
    variance, scores = mass.squares / xp.clip(n - 1.0, min=1.0), None
    if mass.dense:
        dim = mass.mean.shape[-1]
        eye, scores = backend.asarray(np.eye(dim), like=mass.mean), xp.zeros_like(mass.scores)
        root, unroot = _factor(backend, (mass.scores + PRIOR * eye) / (n + PRIOR), eye)
        seen = xp.matmul(xp.matmul(_turned(root), variance), root)
        half, unhalf = _factor(backend, (n * seen + PRIOR * dim * eye) / (n + PRIOR * dim), eye)
        scale, inverse = xp.matmul(_turned(unroot), half), xp.matmul(unhalf, _turned(root))
    else:
        scale = xp.sqrt((n * variance + PRIOR * 1e-3) / (n + PRIOR))
        inverse = 1.0 / scale
    zeros = (
        xp.zeros_like(mass.mean),
        xp.zeros_like(mass.squares),
        xp.zeros_like(mass.mean),
        scores,
        xp.zeros_like(mass.count),
    )
    return Mass(scale, inverse, *zeros)


def _factor(backend: Backend, matrix: Array, eye: Array) -> tuple[Array, Array]:
    """The lower Cholesky factor of matrices ``(*, D, D)``, and its inverse."""
    factor = backend.cholesky(matrix)
    return factor, backend.solve_lower(factor, eye)


def _times(matrix: Array, x: Array) -> Array:
    return get_backend(x).xp.matmul(matrix, x[..., None])[..., 0]


def _turned(matrix: Array) -> Array:
    return get_backend(matrix).xp.moveaxis(matrix, -1, -2)
