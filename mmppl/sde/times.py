r"""Times of training, and the weight of each in the denoising loss.

With the network's answer scaled by :math:`\sigma`, the loss at a time t is
:math:`w(t) \lVert \sigma(t) s(z_t, t) + \epsilon \rVert^2`. The likelihood's weight is :math:`w = g^2 / \sigma^2`: as
a factor under uniform times, or by drawing times in proportion to it.
"""

import math
from typing import Any

from mmppl._backend import get_backend
from mmppl.errors import OptionError
from mmppl.sde.base import SDE, check_time
from mmppl.sde.vp import VP

Array = Any

__all__ = ["TIME_SAMPLINGS", "draw_times"]

TIME_SAMPLINGS = ("uniform", "likelihood", "importance", "cosine")
EARLIEST = 1e-5
SHIFT = -2.0  # of the log of the signal-to-noise ratio


def draw_times(
    sde: SDE, uniform: Array, time_sampling: str = "uniform", first: float = EARLIEST
) -> tuple[Array, Array]:
    r"""Times in [first, 1] and the weights of the loss at them.

    * ``"uniform"``: uniform times, weight 1;
    * ``"likelihood"``: uniform times, weight :math:`\tfrac12 g^2 / \sigma^2 (1 - t_0)`, an unbiased estimate of the
      denoising bound's integral over :math:`[t_0, 1]`;
    * ``"importance"``: the same integral with far less variance, by times with a density in proportion to
      :math:`g^2 / \sigma^2`, drawn by its inverse distribution function; the weight is a constant. For a :class:`VP`
      the integral of :math:`g^2 / \sigma^2` is :math:`\log(e^{B} - 1)`;
    * ``"cosine"``: times at which the log of the signal-to-noise ratio has the law that uniform u have in a cosine
      schedule, shifted by s = -2, :math:`\log a^2 / \sigma^2 = s - 2 \log \tan(\pi u / 2)`, weight 1: fewer of
      them where the signal, or the noise, is all there is.

    References:
        | Maximum Likelihood Training of Score-Based Diffusion Models (Song et al., 2021), section 4
        | https://arxiv.org/abs/2101.09258
        | simple diffusion: End-to-end diffusion for high resolution images (Hoogeboom et al., 2023), section 3.1
        | https://arxiv.org/abs/2301.11093

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
    if time_sampling in ("uniform", "likelihood"):
        times = first + (1.0 - first) * uniform
        if time_sampling == "uniform":
            return times, xp.ones_like(times)
        return times, 0.5 * (1.0 - first) * sde.noise_rate(times) / sde.scale(times) ** 2
    if not isinstance(sde, VP):
        instead = "likelihood" if time_sampling == "importance" else "uniform"
        raise OptionError(f"Times by '{time_sampling}' are known for VP; got {type(sde).__name__}. Use '{instead}'.")
    if time_sampling == "cosine":
        # a^2 / sigma^2 = 1 / (e^B - 1).
        integral = xp.log1p(math.exp(-SHIFT) * xp.tan(0.5 * math.pi * uniform) ** 2)
        times = xp.clip(sde.time_of(integral), first, 1.0)
        return times, xp.ones_like(times)
    begin = sde.integral(first + 0.0 * uniform)
    end = sde.integral(1.0 + 0.0 * uniform)
    low, high = xp.log(xp.expm1(begin)), xp.log(xp.expm1(end))
    integral = xp.log1p(xp.exp(low + uniform * (high - low)))
    return sde.time_of(integral), 0.5 * (high - low)
