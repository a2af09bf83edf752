r"""Linear diffusions on the time interval [0, 1], from data at 0 to noise at 1.

.. math:: dz = f(t)\, z\, dt + g(t)\, dW, \qquad z_t \mid z_0 \sim \mathcal{N}(a(t)\, z_0,\ \sigma(t)^2 I)

Every coordinate diffuses alone, so a diffusion of some coordinates with the others held fixed is the same diffusion.
Times are arrays of any backend; a float stands for one.
"""

from abc import ABC, abstractmethod
from typing import Any

import numpy as np

from mmppl.by_value import ByValue
from mmppl.errors import OptionError

Array = Any

__all__ = ["SDE", "check_time"]


class SDE(ByValue, ABC):
    r"""Base of the diffusions: a subclass gives :meth:`rate`, :meth:`noise_rate`, :meth:`mean_factor`, :meth:`scale`.

    .. math:: dz = f(t)\, z\, dt + g(t)\, dW, \qquad z_t \mid z_0 \sim \mathcal{N}(a(t)\, z_0,\ \sigma(t)^2 I)

    Example:
        >>> from mmppl.sde import VP
        >>> sde = VP()
        >>> z = sde.diffuse(np.ones((4, 2)), np.array([[0.5]]), np.zeros((4, 2)))
        >>> z.shape, bool(np.allclose(z, sde.mean_factor(np.array(0.5))))
        ((4, 2), True)
    """

    @abstractmethod
    def rate(self, t: Array) -> Array:
        """The drift's factor f(t), ``(*,)`` to ``(*,)``; the drift is f(t) z."""

    @abstractmethod
    def noise_rate(self, t: Array) -> Array:
        """The squared diffusion coefficient g(t)^2, ``(*,)`` to ``(*,)``."""

    @abstractmethod
    def mean_factor(self, t: Array) -> Array:
        """The factor a(t) of the marginal's mean, ``(*,)`` to ``(*,)``."""

    @abstractmethod
    def scale(self, t: Array) -> Array:
        r"""The marginal's standard deviation :math:`\sigma(t)`, ``(*,)`` to ``(*,)``."""

    @property
    def prior_scale(self) -> float:
        r"""The standard deviation :math:`\sigma(1)` of the noise that sampling starts from."""
        return float(self.scale(np.ones(())))

    def diffuse(self, z: Array, t: Array, noise: Array) -> Array:
        r"""A draw of the marginal, :math:`a(t) z_0 + \sigma(t) \epsilon`.

        Arguments:
            z: Data :math:`z_0`, ``(*, D)``.
            t: Times, ``(*, 1)`` or ``(*, D)``, or such that they broadcast against ``z``.
            noise: Standard normal :math:`\epsilon`, ``(*, D)``.
        """
        return self.mean_factor(t) * z + self.scale(t) * noise

    def denoise(self, z: Array, t: Array, score: Array) -> Array:
        r"""The mean of the data given :math:`z_t`, by Tweedie's formula: :math:`(z_t + \sigma^2 s) / a`."""
        return (z + self.scale(t) ** 2 * score) / self.mean_factor(t)


def check_time(first: float, last: float) -> None:
    """Raises :class:`OptionError` unless ``0 < first < last <= 1``."""
    if not 0.0 < first < last <= 1.0:
        raise OptionError(f"Expected times 0 < first < last <= 1; got {first} and {last}.")
