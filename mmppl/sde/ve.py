"""The variance-exploding diffusion."""

import math
from typing import Any

from mmppl._backend import get_backend
from mmppl.checks import above, checked
from mmppl.errors import OptionError
from mmppl.sde.base import SDE

Array = Any

__all__ = ["VE"]


@checked(sigma_0=above(0), sigma_1=above(0))
class VE(SDE):
    r"""Variance-exploding diffusion with a geometric noise schedule, exactly the data at t = 0.

    .. math::
        f = 0, \quad a = 1, \quad \sigma^2 = \sigma_0^2 (r^{2t} - 1), \quad g^2 = 2 \sigma_0^2 r^{2t} \log r, \quad
        r = \sigma_1 / \sigma_0

    References:
        | Score-Based Generative Modeling through Stochastic Differential Equations (Song et al., 2021), appendix B
        | https://arxiv.org/abs/2011.13456

    Arguments:
        sigma_0: :math:`\sigma_0`, in units of the data.
        sigma_1: :math:`\sigma_1`, in units of the data.

    Raises:
        OptionError: Unless ``0 < sigma_0 < sigma_1``.

    Example:
        >>> import numpy as np
        >>> float(VE().scale(np.array(0.0)))
        0.0
    """

    def __init__(self, sigma_0: float = 0.01, sigma_1: float = 50.0):
        if not 0.0 < sigma_0 < sigma_1:
            raise OptionError(f"Expected 0 < sigma_0 < sigma_1; got {sigma_0} and {sigma_1}.")
        self.sigma_0, self.sigma_1 = float(sigma_0), float(sigma_1)
        self.log_ratio = math.log(sigma_1 / sigma_0)

    def rate(self, t: Array) -> Array:
        return 0.0 * t

    def noise_rate(self, t: Array) -> Array:
        return 2.0 * self.sigma_0**2 * self.log_ratio * get_backend(t).xp.exp(2.0 * self.log_ratio * t)

    def mean_factor(self, t: Array) -> Array:
        return 0.0 * t + 1.0

    def scale(self, t: Array) -> Array:
        xp = get_backend(t).xp
        return self.sigma_0 * xp.sqrt(xp.expm1(2.0 * self.log_ratio * t))
