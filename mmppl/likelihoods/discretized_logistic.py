r"""A logistic density on L + 1 levels 0, 1/L, ..., 1, whose ends take the tails.

With :math:`\delta = 1 / (2 L)` and :math:`\sigma` the logistic function,

.. math:: P(x) = \sigma\Big(\frac{x + \delta - \mu}{s}\Big) - \sigma\Big(\frac{x - \delta - \mu}{s}\Big), \qquad
    P(0) = \sigma\Big(\frac{\delta - \mu}{s}\Big), \quad P(1) = \sigma\Big(\frac{\mu - 1 + \delta}{s}\Big).

All functions work coordinate by coordinate.

References:
    | PixelCNN++ (Salimans et al., 2017), section 2.1
    | https://arxiv.org/abs/1701.05517
"""

from typing import Any

from mmppl._backend import get_backend

Array = Any

__all__ = ["LEVELS", "log_prob", "mean", "quantile"]

LEVELS = 255  # L: intervals between the levels of an 8-bit picture


def log_prob(x: Array, loc: Array, scale: Array) -> Array:
    """Log probability of the level that is next to x."""
    backend = get_backend(x, loc, scale)
    xp = backend.xp
    level = xp.round(x * LEVELS) / LEVELS
    half = 0.5 / LEVELS
    # With a and b the upper and lower arguments, sigma(a) - sigma(b) = sigma(a) sigma(-b) (1 - e^(b - a)): exact where
    # both are far out, and each factor is 1 at the end whose tail is taken.
    below = -backend.softplus(-(level + half - loc) / scale)
    above = -backend.softplus((level - half - loc) / scale)
    within = xp.log(-xp.expm1(-2.0 * half / scale))
    return xp.where(level <= 0.0, below, xp.where(level >= 1.0, above, below + above + within))


def quantile(p: Array, loc: Array, scale: Array) -> Array:
    """The level with probability at least ``p`` up to it."""
    xp = get_backend(p, loc, scale).xp
    p = xp.clip(p, 1e-7, 1.0 - 1e-7)
    return xp.round(xp.clip(loc + scale * (xp.log(p) - xp.log1p(-p)), 0.0, 1.0) * LEVELS) / LEVELS


def mean(loc: Array, scale: Array) -> Array:
    r"""The mean: :math:`\int_0^1 \sigma((\mu - t) / s) dt`, whose sum over levels it is to a fraction of a level."""
    backend = get_backend(loc, scale)
    return scale * (backend.softplus(loc / scale) - backend.softplus((loc - 1.0) / scale))
