"""Schedules of beta: functions of the step."""

from dataclasses import dataclass
from typing import Any

from mmppl._backend import get_backend
from mmppl.checks import at_least, checked

Array = Any

__all__ = ["WarmUp"]


@checked(steps=at_least(1), end=at_least(0), start=at_least(0))
@dataclass(frozen=True)
class WarmUp:
    r"""A linear warm-up.

    .. math:: \beta_t = \beta_0 + (\beta_1 - \beta_0) \min(t / T, 1)

    Any other function of the step, an array without axes, serves as well: optax's schedules do on NumPyro.

    References:
        | Ladder Variational Autoencoders (Sonderby et al., 2016), section 2.3
        | https://arxiv.org/abs/1602.02282

    Arguments:
        steps: T, in steps of the optimiser.
        end: :math:`\beta_1`.
        start: :math:`\beta_0`.

    Raises:
        OptionError: If the steps are fewer than one, or a beta is negative.

    Example:
        >>> import numpy as np
        >>> [float(WarmUp(4)(np.array(step))) for step in (0.0, 1.0, 8.0)]
        [0.0, 0.25, 1.0]
    """

    steps: int
    end: float = 1.0
    start: float = 0.0

    def __call__(self, step: Array) -> Array:
        """Beta at a step, an array without axes."""
        xp = get_backend(step).xp
        return self.start + (self.end - self.start) * xp.clip(step / self.steps, max=1.0)
