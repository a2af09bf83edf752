"""The variance-preserving diffusion."""

from typing import Any

from mmppl.sde.base import namespace
from mmppl.sde.linear_beta import LinearBeta

Array = Any

__all__ = ["VP"]


class VP(LinearBeta):
    r"""Variance-preserving diffusion with a linear noise schedule.

    .. math::
        \beta(t) = \beta_0 + t (\beta_1 - \beta_0), \quad f = -\tfrac12 \beta, \quad g^2 = \beta, \quad
        B(t) = \beta_0 t + \tfrac12 (\beta_1 - \beta_0) t^2, \quad a = e^{-B/2}, \quad \sigma^2 = 1 - e^{-B}

    References:
        | Score-Based Generative Modeling through Stochastic Differential Equations (Song et al., 2021), appendix B
        | https://arxiv.org/abs/2011.13456

    Arguments:
        beta_0: :math:`\beta_0`, per unit of time.
        beta_1: :math:`\beta_1`, per unit of time.

    Raises:
        OptionError: Unless ``0 < beta_0 < beta_1``.

    Example:
        >>> import numpy as np
        >>> round(float(VP().mean_factor(np.array(1.0))), 7)
        0.0065716
    """

    def noise_rate(self, t: Array) -> Array:
        return self.beta(t)

    def scale(self, t: Array) -> Array:
        xp = namespace(t)
        return xp.sqrt(-xp.expm1(-self.integral(t)))
