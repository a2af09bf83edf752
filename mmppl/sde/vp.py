"""Diffusions with a linear noise schedule: the variance-preserving one, and the sub-variance-preserving one."""

from typing import Any

from mmppl._backend import get_backend
from mmppl.checks import above, checked
from mmppl.errors import OptionError
from mmppl.sde.base import SDE

Array = Any

__all__ = ["VP", "LinearBeta", "SubVP"]


@checked(beta_0=above(0), beta_1=above(0))
class LinearBeta(SDE):
    r"""Base of diffusions with :math:`\beta(t) = \beta_0 + t (\beta_1 - \beta_0)`, :math:`f = -\beta / 2`.

    .. math:: B(t) = \int_0^t \beta = \beta_0 t + \tfrac12 (\beta_1 - \beta_0) t^2, \quad a = e^{-B/2}

    Arguments:
        beta_0: :math:`\beta_0`, per unit of time.
        beta_1: :math:`\beta_1`, per unit of time.

    Raises:
        OptionError: Unless ``0 < beta_0 < beta_1``.
    """

    def __init__(self, beta_0: float = 0.1, beta_1: float = 20.0):
        if not 0.0 < beta_0 < beta_1:
            raise OptionError(f"Expected 0 < beta_0 < beta_1; got {beta_0} and {beta_1}.")
        self.beta_0, self.beta_1 = float(beta_0), float(beta_1)

    def beta(self, t: Array) -> Array:
        r""":math:`\beta(t)`."""
        return self.beta_0 + (self.beta_1 - self.beta_0) * t

    def integral(self, t: Array) -> Array:
        r"""B(t), the integral of :math:`\beta` from 0 to t."""
        return self.beta_0 * t + 0.5 * (self.beta_1 - self.beta_0) * t * t

    def time_of(self, integral: Array) -> Array:
        """The time at which :meth:`integral` has a value."""
        slope = self.beta_1 - self.beta_0
        root = get_backend(integral).xp.sqrt(self.beta_0**2 + 2.0 * slope * integral)
        # The stable form of (root - beta_0) / slope.
        return 2.0 * integral / (root + self.beta_0)

    def rate(self, t: Array) -> Array:
        return -0.5 * self.beta(t)

    def mean_factor(self, t: Array) -> Array:
        return get_backend(t).xp.exp(-0.5 * self.integral(t))


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
        xp = get_backend(t).xp
        return xp.sqrt(-xp.expm1(-self.integral(t)))


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
        >>> bool(SubVP().scale(np.array(0.3)) < VP().scale(np.array(0.3)))
        True
    """

    def noise_rate(self, t: Array) -> Array:
        return self.beta(t) * -get_backend(t).xp.expm1(-2.0 * self.integral(t))

    def scale(self, t: Array) -> Array:
        return -get_backend(t).xp.expm1(-self.integral(t))
