r"""A mixture of discretised logistic densities with one component for all values of an event.

With K components at :math:`o_k`, all of the same weight, and :math:`P` the mass of
:mod:`mmppl.likelihoods.discretized_logistic`,

.. math:: p(x) = \frac{1}{K} \sum_{k=1}^K \prod_d P(x_d; o_{kd}, s_d)

so that what a latent does not know of a picture is one of K pictures, and not noise of every pixel by itself. (The
published mixture has a component for each pixel, whose draws are noise.)

References:
    | PixelCNN++ (Salimans et al., 2017), section 2.1, for a mixture of each pixel
    | https://arxiv.org/abs/1701.05517
    | Mixture Density Networks (Bishop, 1994), for one of whole events
    | https://publications.aston.ac.uk/id/eprint/373/
"""

import math
from typing import Any

import numpy as np

from mmppl._backend import get_backend
from mmppl.likelihoods import discretized_logistic

Array = Any

__all__ = ["draw", "log_prob", "mean"]


def log_prob(x: Array, loc: Array, scale: Array, there: Array | None = None) -> Array:
    """Log probability of the levels next to x, ``(*,)``.

    Arguments:
        x: Values in [0, 1], ``(*, D)``.
        loc: o, ``(*, K, D)``.
        scale: s, positive, ``(*, D)``.
        there: Which values are observed, ``(*, D)``: the probability is their marginal one. None for all.
    """
    backend = get_backend(x, loc, scale)
    xp = backend.xp
    each = discretized_logistic.log_prob(x[..., None, :], loc, scale[..., None, :])
    if there is not None:
        each = xp.where(there[..., None, :], each, 0.0 * each)
    return backend.logsumexp(xp.sum(each, axis=-1), axis=-1) - math.log(loc.shape[-2])


def draw(loc: Array, scale: Array, uniform: Array, which: Array) -> Array:
    """Levels by uniform noise, ``(*, D)`` for the values and ``(*,)`` for the component, ``(*, D)``."""
    backend = get_backend(loc, uniform)
    xp, number = backend.xp, loc.shape[-2]
    place = xp.clip(xp.floor(which * number), 0.0, number - 1.0)
    one = place[..., None] == backend.asarray(np.arange(number), like=place)
    chosen = xp.sum(xp.where(one[..., None], loc, 0.0 * loc), axis=-2)
    return discretized_logistic.quantile(uniform, chosen, scale)


def mean(loc: Array, scale: Array) -> Array:
    """The mean over components, ``(*, D)``."""
    return get_backend(loc, scale).xp.mean(discretized_logistic.mean(loc, scale[..., None, :]), axis=-2)
