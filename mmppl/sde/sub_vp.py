"""The sub-variance-preserving diffusion."""

from typing import Any

from mmppl.sde.base import namespace
from mmppl.sde.linear_beta import LinearBeta

Array = Any

__all__ = ["SubVP"]


class SubVP(LinearBeta):
    r"""Sub-variance-preserving diffusion: the mean of :class:`VP` with less noise at every time.

    .. math:: f = -\tfrac12 \beta, \quad g^2 = \beta (1 - e^{-2B}), \quad a = e^{-B/2}, \quad \sigma = 1 - e^{-B}

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
        >>> from mmppl.sde.vp import VP
        >>> bool(SubVP().scale(np.array(0.3)) < VP().scale(np.array(0.3)))
        True
    """

    def noise_rate(self, t: Array) -> Array:
        return self.beta(t) * -namespace(t).expm1(-2.0 * self.integral(t))

    def scale(self, t: Array) -> Array:
        return -namespace(t).expm1(-self.integral(t))
