r"""A normal density with a low-rank covariance, and the same of values in [0, 1] by way of their logits.

With the diagonal :math:`S` of scales and R factors, the rows of :math:`F`,

.. math:: y \sim \mathcal{N}(\mu, S^2 + F^\top F), \qquad y = \mu + S \epsilon + F^\top w, \quad
    \epsilon \sim \mathcal{N}(0, I_D),\ w \sim \mathcal{N}(0, I_R)

so that what D values have in common, as the colours of a picture's background do, needs no latent variable. With
:math:`b = F S^{-2} (y - \mu)` and :math:`C = I + F S^{-2} F^\top` the matrix determinant lemma and Woodbury's identity
give

.. math:: \log \lvert S^2 + F^\top F \rvert = \log \lvert C \rvert + 2 \sum_d \log s_d, \qquad
    (y - \mu)^\top (S^2 + F^\top F)^{-1} (y - \mu) = \lVert S^{-1} (y - \mu) \rVert^2 - b^\top C^{-1} b,

both by the Cholesky factor of C. Where some values o are observed, only their columns of F and their scales stand in b
and C; the others are, given these,

.. math:: y_d \mid y_o \sim \mathcal{N}\big(\mu_d + f_d^\top C^{-1} b,\ s_d^2 + f_d^\top C^{-1} f_d\big).

Values x in [0, 1] are seen as :math:`y = \operatorname{logit}((L x + 1/2) / (L + 1))` with L = 255, finite at the ends:
the density is on (-1/510, 1 + 1/510), half a level of an 8-bit picture beyond them.

References:
    | Structured Uncertainty Prediction Networks (Dorta et al., 2018), https://arxiv.org/abs/1802.07079
    | Stochastic Segmentation Networks (Monteiro et al., 2020), https://arxiv.org/abs/2006.06015
"""

import math
from typing import Any

import numpy as np

from mmppl._backend import get_backend
from mmppl.likelihoods.discretized_logistic import LEVELS

Array = Any
Given = tuple[Array, Array] | None

__all__ = ["draw", "from_real", "log_abs_det", "log_prob", "mean", "mean_from_real", "scored", "to_real", "variance"]

NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(24)


def log_prob(y: Array, loc: Array, scale: Array, factors: Array, there: Array | None = None) -> Array:
    r"""Log density of y, ``(*,)``.

    Arguments:
        y: Values, ``(*, D)``.
        loc: :math:`\mu`, ``(*, D)``.
        scale: The diagonal of S, positive, ``(*, D)``.
        factors: F, ``(*, R, D)``; without further axes the same for all.
        there: Which values are observed, ``(*, D)``: the density is their marginal one. None for all.
    """
    backend = get_backend(y, loc, scale, factors)
    xp = backend.xp
    unit, rows, log_scale = (y - loc) / scale, factors / scale[..., None, :], xp.log(scale)
    rank, dim = factors.shape[-2:]
    number: Any = dim
    if there is not None:
        # A value that is not observed has no residual, no share in the factors and no scale.
        unit, log_scale = xp.where(there, unit, 0.0 * unit), xp.where(there, log_scale, 0.0 * log_scale)
        number = xp.sum(backend.asarray(there, like=unit), axis=-1)
    c, b = _products(rows, unit, there)
    root = backend.cholesky(xp.broadcast_to(c, (*b.shape, rank)))
    explained = backend.solve_lower(root, b[..., None])[..., 0]
    log_det = 2.0 * (xp.sum(xp.log(xp.linalg.diagonal(root)), axis=-1) + xp.sum(log_scale, axis=-1))
    squared = xp.sum(unit**2, axis=-1) - xp.sum(explained**2, axis=-1)
    return -0.5 * (squared + log_det + number * math.log(2.0 * math.pi))


def scored(x: Array, loc: Array, scale: Array, factors: Array, there: Array | None, unit: bool) -> Array:
    """Log density of values, ``(*,)``: by :func:`log_prob`, of their logits if they are in [0, 1] (``unit``)."""
    if not unit:
        return log_prob(x, loc, scale, factors, there)
    xp, slope = get_backend(x, loc).xp, log_abs_det(x)
    own = slope if there is None else xp.where(there, slope, 0.0 * slope)
    return log_prob(to_real(x), loc, scale, factors, there) + xp.sum(own, axis=-1)


def draw(loc: Array, scale: Array, factors: Array, noise: Array, w: Array, given: Given, unit: bool) -> Array:
    """Values by standard normal noise ``(*, D)`` and ``w`` ``(*, R)``, ``(*, D)``.

    Arguments:
        loc: As in :func:`log_prob`.
        scale: As in :func:`log_prob`.
        factors: As in :func:`log_prob`.
        noise: Standard normal noise, ``(*, D)``.
        w: Standard normal noise, ``(*, R)``.
        given: Values and which of them are observed, both ``(*, D)``: all others are drawn given these. None for none.
        unit: Whether values are in [0, 1].
    """
    xp = get_backend(loc, noise).xp
    y = loc + scale * noise + xp.matmul(w[..., None, :], factors)[..., 0, :]
    if given is not None:
        # A draw of all, moved by what explains how far the observed ones are off it: Matheron's rule.
        y = xp.where(given[1], y, y + _told(y, scale, factors, given, unit)[0])
    return from_real(y) if unit else y


def mean(loc: Array, scale: Array, factors: Array, given: Given, unit: bool) -> Array:
    """Means of :func:`draw`, ``(*, D)``; of values in [0, 1] by Gauss-Hermite quadrature with 24 nodes."""
    xp = get_backend(loc, scale, factors).xp
    variance = scale**2 + xp.sum(factors**2, axis=-2)
    if given is not None:
        moved, inverse = _told(loc, scale, factors, given, unit)
        loc = xp.where(given[1], loc, loc + moved)
        left = scale**2 + xp.sum(factors * xp.matmul(inverse, factors), axis=-2) if unit else variance
        variance = xp.where(given[1], variance, left)
    return mean_from_real(loc, xp.sqrt(variance)) if unit else loc


def variance(scale: Array, factors: Array, there: Array) -> Array:
    r"""Variances :math:`s_d^2 + f_d^\top C^{-1} f_d` of values given those observed beside them, ``(*, D)``.

    Arguments:
        scale: As in :func:`log_prob`.
        factors: As in :func:`log_prob`.
        there: Which values are observed, ``(*, D)``; what the formula says of these is of another value beside them.
    """
    xp = get_backend(scale, factors).xp
    c, _ = _products(factors / scale[..., None, :], xp.broadcast_to(0.0 * scale, there.shape), there)
    return scale**2 + xp.sum(factors * xp.matmul(_inverse(c), factors), axis=-2)


def _told(y: Array, scale: Array, factors: Array, given: tuple[Array, Array], unit: bool) -> tuple[Array, Array]:
    r""":math:`F^\top C^{-1} b` of observed values about y, ``(*, D)``, and :math:`C^{-1}`, ``(*, R, R)``."""
    backend = get_backend(y, scale, factors)
    xp, (x, there) = backend.xp, given
    off = xp.where(there, ((to_real(x) if unit else x) - y) / scale, 0.0 * y)
    c, b = _products(factors / scale[..., None, :], off, there)
    inverse = _inverse(c)
    w = xp.matmul(inverse, b[..., None])[..., 0]
    return xp.matmul(w[..., None, :], factors)[..., 0, :], inverse


def _products(rows: Array, unit: Array, there: Array | None) -> tuple[Array, Array]:
    """The matrix C ``(*, R, R)`` and the vector b ``(*, R)`` of standardised factors ``(*, R, D)`` and residuals."""
    backend = get_backend(rows, unit)
    xp, (rank, dim) = backend.xp, rows.shape[-2:]
    one = backend.asarray(np.eye(rank), like=unit)
    if rows.ndim > 2:
        own = rows if there is None else xp.where(there[..., None, :], rows, 0.0 * rows)
        return xp.matmul(own, xp.matrix_transpose(own)) + one, xp.matmul(own, unit[..., None])[..., 0]
    # The same factors for all data: who has which values is a matrix, and so are products of the factors.
    pairs = xp.reshape(rows[:, None, :] * rows[None, :, :], (rank * rank, dim))
    b = xp.matmul(unit, xp.matrix_transpose(rows))
    if there is None:
        return xp.reshape(xp.sum(pairs, axis=-1), (rank, rank)) + one, b
    c = xp.matmul(backend.asarray(there, like=unit), xp.matrix_transpose(pairs))
    return xp.reshape(c, (*c.shape[:-1], rank, rank)) + one, b


def _inverse(c: Array) -> Array:
    """The inverse of symmetric positive definite matrices ``(*, R, R)``."""
    backend = get_backend(c)
    half = backend.solve_lower(backend.cholesky(c), backend.asarray(np.eye(c.shape[-1]), like=c))
    return backend.xp.matmul(backend.xp.matrix_transpose(half), half)


def to_real(x: Array) -> Array:
    """Logits of values in [0, 1], drawn half a level away from the ends."""
    xp = get_backend(x).xp
    inside = (LEVELS * x + 0.5) / (LEVELS + 1.0)
    return xp.log(inside) - xp.log1p(-inside)


def from_real(y: Array) -> Array:
    """Values that have these logits: the inverse of :func:`to_real`."""
    backend = get_backend(y)
    return ((LEVELS + 1.0) * backend.xp.exp(-backend.softplus(-y)) - 0.5) / LEVELS


def log_abs_det(x: Array) -> Array:
    """Log derivative of :func:`to_real`, elementwise."""
    xp = get_backend(x).xp
    inside = (LEVELS * x + 0.5) / (LEVELS + 1.0)
    return math.log(LEVELS / (LEVELS + 1.0)) - xp.log(inside) - xp.log1p(-inside)


def mean_from_real(loc: Array, deviation: Array) -> Array:
    """Mean of :func:`from_real` of normal values, elementwise, by Gauss-Hermite quadrature with 24 nodes."""
    weights = WEIGHTS / WEIGHTS.sum()
    return sum(float(w) * from_real(loc + float(x) * deviation) for x, w in zip(NODES, weights, strict=True))
