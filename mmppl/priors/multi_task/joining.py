r"""Joining schedules: how much of the other modalities is in the diffused one at each time.

With :math:`\alpha_t = (a_t / a_{t-1})^2` of step t, the weights of single steps and their sum are

.. math:: \tilde a_t = \sqrt{\alpha_t} (w_t + \tilde a_{t-1}), \quad \tilde a_0 = 0, \qquad
    w_t = \tilde a_t / \sqrt{\alpha_t} - \tilde a_{t-1}

References:
    | Diffusion Models For Multi-Modal Generative Modeling (Chen et al., 2024), theorem 2
    | https://openreview.net/forum?id=cbv0sBIZh9
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np

from mmppl._backend import get_backend
from mmppl.errors import OptionError
from mmppl.sde import SDE

Array = Any

__all__ = ["Bump", "Curve", "FirstStep", "Joining", "StepWeights"]


class Joining(ABC):
    """Base of the schedules: a subclass gives :meth:`weight` and :meth:`flow_weight`."""

    jumps = False

    @abstractmethod
    def weight(self, sde: SDE, t: Array) -> Array:
        r""":math:`\tilde a(t)`, ``(*,)`` to ``(*,)``; 0 at t = 0."""

    @abstractmethod
    def flow_weight(self, sde: SDE, t: Array) -> Array:
        r""":math:`2 c / g^2`, with :math:`c = \tilde a' - f \tilde a` the drift's factor of what joins."""

    def step_weights(self, sde: SDE, number: int) -> np.ndarray:
        """Weights :math:`w_t` of ``number`` equal steps, ``(number,)``.

        Example:
            >>> from mmppl.sde import VP
            >>> weights = FirstStep(0.5).step_weights(VP(), 4)
            >>> np.allclose(weights, [0.5, 0.0, 0.0, 0.0])
            True
        """
        grid = np.linspace(0.0, 1.0, number + 1)
        factor, weight = sde.mean_factor(grid), self.weight(sde, grid)
        return weight[1:] * factor[:-1] / factor[1:] - weight[:-1]


@dataclass(frozen=True)
class Bump(Joining):
    r"""Joins on the way and has left at both ends: :math:`\tilde a(t) = k\, a(t) (1 - a(t))`.

    Arguments:
        strength: Factor k.

    Raises:
        OptionError: If k is negative.

    Example:
        >>> from mmppl.sde import VP
        >>> float(Bump().weight(VP(), np.array(0.0)))
        0.0
    """

    strength: float = 1.0

    def __post_init__(self) -> None:
        _check_strength(self.strength)

    def weight(self, sde: SDE, t: Array) -> Array:
        factor = sde.mean_factor(t)
        return self.strength * factor * (1.0 - factor)

    def flow_weight(self, sde: SDE, t: Array) -> Array:
        return self.strength * sde.mean_factor(t) ** 2


@dataclass(frozen=True)
class FirstStep(Joining):
    r"""Joins at the first step alone, :math:`w_1 = c`: the ordinary diffusion of :math:`z_0 + c \sum_i E_i x_i`.

    What joined is still there just after t = 0, so heads are read one step before the end, and only the ancestral
    solver knows what to take away.

    Arguments:
        strength: c; 0 for no joining at all.

    Raises:
        OptionError: If c is negative.

    Example:
        >>> from mmppl.sde import VP
        >>> bool(FirstStep(2.0).weight(VP(), np.array(0.5)) == 2.0 * VP().mean_factor(np.array(0.5)))
        True
    """

    strength: float = 0.0

    def __post_init__(self) -> None:
        _check_strength(self.strength)

    @property
    def jumps(self) -> bool:  # type: ignore[override]
        """Tells whether something is joined just after t = 0."""
        return self.strength > 0.0

    def weight(self, sde: SDE, t: Array) -> Array:
        factor = self.strength * sde.mean_factor(t)
        return get_backend(t).xp.where(t > 0.0, factor, 0.0 * factor)

    def flow_weight(self, sde: SDE, t: Array) -> Array:
        return 0.0 * t


@dataclass(frozen=True)
class StepWeights(Joining):
    r"""Joins by a table of :math:`w_t`, one for each of T equal steps; in between :math:`\tilde a` is linear.

    Arguments:
        weights: :math:`w_1, \dots, w_T`; any may be negative.

    Raises:
        OptionError: If there is none, or one is not finite.

    Example:
        >>> from mmppl.sde import VP
        >>> np.allclose(StepWeights((0.5, 0.0, 0.0, 0.0)).step_weights(VP(), 4), [0.5, 0.0, 0.0, 0.0])
        True
    """

    weights: tuple[float, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "weights", _numbers(self.weights, "weights"))

    def weight(self, sde: SDE, t: Array) -> Array:
        factor = sde.mean_factor(np.linspace(0.0, 1.0, len(self.weights) + 1))
        # Divided by a, the recursion is a sum.
        total = factor * np.append(0.0, np.cumsum(np.asarray(self.weights) / factor[:-1]))
        return _between(t, total)

    def flow_weight(self, sde: SDE, t: Array) -> Array:
        weights = np.asarray(self.weights)
        return 2.0 * len(weights) * _between(t, np.append(weights[0], weights)) / sde.noise_rate(t)


@dataclass(frozen=True)
class Curve(Joining):
    r"""Joins by a table of :math:`\tilde a_t` after each of T equal steps; in between it is linear.

    Arguments:
        values: :math:`\tilde a_1, \dots, \tilde a_T`.

    Raises:
        OptionError: If there is none, or one is not finite.

    Example:
        >>> from mmppl.sde import VP
        >>> Curve((0.2, 0.4, 0.0)).weight(VP(), np.array([1 / 3, 0.5])).round(6).tolist()
        [0.2, 0.3]
    """

    values: tuple[float, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", _numbers(self.values, "values"))

    def weight(self, sde: SDE, t: Array) -> Array:
        return _between(t, np.append(0.0, self.values))

    def flow_weight(self, sde: SDE, t: Array) -> Array:
        return StepWeights(tuple(self.step_weights(sde, len(self.values)))).flow_weight(sde, t)


def _check_strength(strength: float) -> None:
    if not 0.0 <= strength < math.inf:
        raise OptionError(f"Expected strength >= 0; got {strength}.")


def _numbers(values: Any, name: str) -> tuple[float, ...]:
    out = tuple(float(x) for x in values)
    if not out or not all(map(math.isfinite, out)):
        raise OptionError(f"Expected {name} that are finite numbers, one or more; got {len(out)} of them.")
    return out


def _between(t: Array, table: np.ndarray) -> Array:
    """A table over equal steps of [0, 1], read linearly at times ``(*,)``."""
    backend = get_backend(t)
    xp, last = backend.xp, len(table) - 1
    at = xp.reshape(t, (-1,)) * last
    ends = backend.asarray(np.arange(1.0, last), like=t)
    left = xp.searchsorted(ends, at, side="right")
    low, high = (xp.take(backend.asarray(part, like=t), left) for part in (table[:-1], table[1:]))
    share = at - xp.take(backend.asarray(np.arange(0.0, last), like=t), left)
    return xp.reshape(low + share * (high - low), t.shape)
