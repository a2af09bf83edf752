r"""Step sizes that learn in warm-up, one for each chain, by dual averaging.

With acceptance probability :math:`a_t` at step t, target :math:`\delta` and first step size :math:`s_0`

.. math::
    H_t &= \Big(1 - \frac{1}{t + t_0}\Big) H_{t-1} + \frac{\delta - a_t}{t + t_0} \\
    \log s_{t+1} &= \log 10 s_0 - \frac{\sqrt{t}}{\gamma} H_t \\
    \log \bar s_t &= t^{-\kappa} \log s_{t+1} + (1 - t^{-\kappa}) \log \bar s_{t-1}

with :math:`t_0 = 10, \gamma = 0.05, \kappa = 0.75`. Warm-up steps by :math:`s_t`; sampling uses the last
:math:`\bar s_t`.

References:
    | The No-U-Turn Sampler (Hoffman & Gelman, 2014), section 3.2
    | https://jmlr.org/papers/v15/hoffman14a.html
    | Primal-dual subgradient methods for convex problems (Nesterov, 2009)
"""

import math
from typing import Any, NamedTuple

from mmppl._backend import get_backend

Array = Any

__all__ = ["DualAveraging", "restart", "start", "update"]

OFFSET, SHRINKAGE, FORGETTING = 10.0, 0.05, 0.75


class DualAveraging(NamedTuple):
    r"""State of dual averaging; every field has the shape ``(*chains,)``.

    Arguments:
        log_step: :math:`\log s_{t+1}`, for the next step of warm-up.
        log_average: :math:`\log \bar s_t`, for after warm-up.
        shortfall: :math:`H_t`, by how much acceptance has been below the target.
        count: t, as a float.
        anchor: :math:`\log 10 s_0`.
    """

    log_step: Array
    log_average: Array
    shortfall: Array
    count: Array
    anchor: Array


def start(step_size: float, like: Array) -> DualAveraging:
    """The memory before the first step.

    Arguments:
        step_size: :math:`s_0`, in units of the latent.
        like: An array ``(*chains,)`` of the dtype that is wanted.

    Example:
        >>> import numpy as np
        >>> memory = start(0.1, np.zeros(2))
        >>> for _ in range(100):
        ...     memory = update(memory, np.array([1.0, 0.0]), 0.574)
        >>> np.exp(memory.log_average) > 0.1  # what is always accepted grows, what never is shrinks
        array([ True, False])
    """
    xp = get_backend(like).xp
    zeros = xp.zeros_like(like)
    first = zeros + math.log(step_size)
    return DualAveraging(first, first, zeros, zeros, first + math.log(10.0))


def restart(memory: DualAveraging) -> DualAveraging:
    """The memory of a new start from the averaged step size, for a target that has changed."""
    zeros = get_backend(memory.count).xp.zeros_like(memory.count)
    average = memory.log_average
    return DualAveraging(average, average, zeros, zeros, average + math.log(10.0))


def update(memory: DualAveraging, accept_prob: Array, target: float) -> DualAveraging:
    r"""One step of dual averaging.

    Arguments:
        memory: What is remembered of the steps before.
        accept_prob: :math:`a_t`, ``(*chains,)``.
        target: :math:`\delta`.
    """
    xp = get_backend(accept_prob).xp
    count = memory.count + 1.0
    share = 1.0 / (count + OFFSET)
    shortfall = (1.0 - share) * memory.shortfall + share * (target - accept_prob)
    log_step = memory.anchor - xp.sqrt(count) / SHRINKAGE * shortfall
    weight = count**-FORGETTING
    return DualAveraging(
        log_step, weight * log_step + (1.0 - weight) * memory.log_average, shortfall, count, memory.anchor
    )
