"""Schedules of beta: functions of the step."""

from dataclasses import dataclass, field, replace
from typing import Any

from mmppl._backend import get_backend
from mmppl.checks import at_least, checked, within

Array = Any

__all__ = ["WarmUp"]


@checked(steps=at_least(1), end=at_least(0), start=at_least(0), share=within(0, 1, open_ends="("))
@dataclass(frozen=True)
class WarmUp:
    r"""A linear warm-up.

    .. math:: \beta_t = \beta_0 + (\beta_1 - \beta_0) \min(t / T, 1)

    Any other function of the step, an array without axes, serves as well: optax's schedules do on NumPyro.

    References:
        | Ladder Variational Autoencoders (Sønderby et al., 2016), section 2.3
        | https://arxiv.org/abs/1602.02282

    Arguments:
        steps: T, in steps of the optimiser.
        end: :math:`\beta_1`.
        start: :math:`\beta_0`.
        share: Most of a fit's steps that it takes: in a shorter fit T is that share of them. None for T whatever the
            fit.

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
    share: float | None = field(default=None, repr=False)

    def within(self, steps: int) -> "WarmUp":
        """The warm-up in a fit of so many steps.

        Example:
            >>> WarmUp(400, share=0.25).within(1000), WarmUp(400).within(1000)
            (WarmUp(steps=250, end=1.0, start=0.0), WarmUp(steps=400, end=1.0, start=0.0))
        """
        most = self.steps if self.share is None else max(int(self.share * steps), 1)
        return replace(self, steps=most) if most < self.steps else self

    def __call__(self, step: Array) -> Array:
        """Beta at a step, an array without axes."""
        xp = get_backend(step).xp
        return self.start + (self.end - self.start) * xp.clip(step / self.steps, max=1.0)
