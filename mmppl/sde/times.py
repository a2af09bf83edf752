r"""Times of training, and the weight of each in the denoising loss.

With the network's answer scaled by :math:`\sigma`, the loss at a time t is
:math:`w(t) \lVert \sigma(t) s(z_t, t) + \epsilon \rVert^2`. The likelihood's weight is :math:`w = g^2 / \sigma^2`: as
a factor under uniform times, or by drawing times in proportion to it.
"""

from typing import Any

from mmppl._backend import get_backend
from mmppl.errors import OptionError
from mmppl.sde.base import SDE, check_time
from mmppl.sde.vp import VP

Array = Any

__all__ = ["TIME_SAMPLINGS", "draw_times"]

TIME_SAMPLINGS = ("uniform", "likelihood", "importance")
EARLIEST = 1e-5


def draw_times(
    sde: SDE, uniform: Array, time_sampling: str = "uniform", first: float = EARLIEST
) -> tuple[Array, Array]:
    r"""Times in [first, 1] and the weights of the loss at them.

    * ``"uniform"``: uniform times, weight 1;
    * ``"likelihood"``: uniform times, weight :math:`\tfrac12 g^2 / \sigma^2 (1 - t_0)`, an unbiased estimate of the
      denoising bound's integral over :math:`[t_0, 1]`;
    * ``"importance"``: the same integral with far less variance, by times with a density in proportion to
      :math:`g^2 / \sigma^2`, drawn by its inverse distribution function; the weight is a constant. For a :class:`VP`
      the integral of :math:`g^2 / \sigma^2` is :math:`\log(e^{B} - 1)`.

    References:
        | Maximum Likelihood Training of Score-Based Diffusion Models (Song et al., 2021), section 4
        | https://arxiv.org/abs/2101.09258

    Arguments:
        sde: The diffusion.
        uniform: Noise on [0, 1), ``(*,)``.
        time_sampling: How.
        first: The earliest time :math:`t_0`.

    Returns:
        Times and weights, ``(*,)`` each.

    Raises:
        OptionError: If ``time_sampling`` is unknown, or there is no closed form for the diffusion.

    Example:
        >>> import numpy as np
        >>> times, weights = draw_times(VP(), np.array([0.0, 0.5]), "importance", first=1e-3)
        >>> round(float(times[0]), 6), bool(weights[0] == weights[1])
        (0.001, True)
    """
    check_time(first, 1.0)
    if time_sampling not in TIME_SAMPLINGS:
        raise OptionError(f"Expected a time_sampling among {TIME_SAMPLINGS}; got {time_sampling!r}.")
    xp = get_backend(uniform).xp
    if time_sampling != "importance":
        times = first + (1.0 - first) * uniform
        if time_sampling == "uniform":
            return times, xp.ones_like(times)
        return times, 0.5 * (1.0 - first) * sde.noise_rate(times) / sde.scale(times) ** 2
    if not isinstance(sde, VP):
        raise OptionError(f"Importance sampling of times is known for VP; got {type(sde).__name__}. Use 'likelihood'.")
    begin = sde.integral(first + 0.0 * uniform)
    end = sde.integral(1.0 + 0.0 * uniform)
    low, high = xp.log(xp.expm1(begin)), xp.log(xp.expm1(end))
    integral = xp.log1p(xp.exp(low + uniform * (high - low)))
    return sde.time_of(integral), 0.5 * (high - low)
