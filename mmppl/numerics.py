"""Small formulas that many places share."""

import math
from typing import Any

from mmppl._backend import Backend, get_backend

Array = Any

__all__ = ["HALF_LOG_2_PI", "choose", "log_mean_exp", "normal_log_density", "random_signs", "systematic"]

HALF_LOG_2_PI = 0.5 * math.log(2.0 * math.pi)


def normal_log_density(unit: Array, log_scale: Array) -> Array:
    r"""Log density of a normal, :math:`-u^2 / 2 - \log \sigma - \log \sqrt{2 \pi}` at :math:`u = (x - \mu) / \sigma`.

    Arguments:
        unit: Standardised value u.
        log_scale: :math:`\log \sigma`, an array or a number.

    Example:
        >>> round(normal_log_density(0.0, 0.0), 4)
        -0.9189
    """
    return -0.5 * unit * unit - log_scale - HALF_LOG_2_PI


def log_mean_exp(x: Array, axis: int = 0) -> Array:
    r"""Log of the mean of exponentials over an axis, :math:`\log \frac{1}{K} \sum_k \exp x_k`.

    Example:
        >>> import numpy as np
        >>> float(log_mean_exp(np.array([700.0, 800.0])).round(4))
        799.3069
    """
    return get_backend(x).logsumexp(x, axis=axis) - math.log(x.shape[axis])


def choose(u: Array, weight: Array) -> Array:
    """The component, one-hot ``(*, S)``, that uniform noise ``(*,)`` chooses by weights ``(*, S)`` that sum to 1.

    Where all weights are 0, none.

    Example:
        >>> import numpy as np
        >>> choose(np.array(0.7), np.array([0.5, 0.0, 0.5])).tolist()
        [0.0, 0.0, 1.0]
    """
    xp = get_backend(weight).xp
    upper = xp.cumulative_sum(weight, axis=-1)
    lower = upper - weight
    # The last component with weight also takes what rounding leaves above the total.
    inside = (u[..., None] >= lower) & ((u[..., None] < upper) | (upper > 1.0 - 1e-5)) & (weight > 0)
    chosen = xp.astype(inside, weight.dtype)
    before = xp.cumulative_sum(chosen, axis=-1) - chosen
    return xp.where(before > 0, xp.zeros_like(chosen), chosen)


def random_signs(backend: Backend, rng: Any, number: int, like: Array) -> Array:
    """Rademacher variables, -1 or 1 with probability 1/2 each, ``(number, *)`` for ``like`` of shape ``(*,)``.

    Example:
        >>> import numpy as np
        >>> from mmppl._backend import Backend, get_backend
        >>> backend = get_backend(np.zeros(3))
        >>> np.abs(random_signs(backend, backend.rng(0), 2, np.zeros(3))).tolist()
        [[1.0, 1.0, 1.0], [1.0, 1.0, 1.0]]
    """
    one = backend.xp.ones_like(like)
    return backend.xp.where(backend.uniform(rng, (number, *like.shape), like) < 0.5, one, -one)


def systematic(log_weight: Array, points: Array) -> Array:
    """Indices ``(n, *)`` of K draws, by systematic resampling with their normalised weights.

    Arguments:
        log_weight: Log weights ``(K, *)``, not normalised.
        points: ``(n, *)``, in [0, 1): one uniform number shifts n points at distance 1 / n.

    Example:
        >>> import numpy as np
        >>> systematic(np.log([0.25, 0.5, 0.25]), np.array([0.1, 0.35, 0.6, 0.85])).tolist()
        [0, 1, 1, 2]
    """
    backend = get_backend(log_weight)
    xp, last = backend.xp, log_weight.shape[0] - 1
    upper = xp.cumulative_sum(xp.exp(backend.log_softmax(log_weight, axis=0)), axis=0)
    # Bisection: the index is the number of upper ends below the point, found bit by bit. Rounding may leave the last
    # upper end a little below 1, so the last draw takes what is above it.
    index = xp.argmax(xp.zeros_like(points)[None, ...], axis=0)  # zeros, integers of the backend
    for bit in reversed(range(last.bit_length())):
        further = index + 2**bit
        end = xp.take_along_axis(upper, xp.where(further <= last, further, last) - 1, axis=0)
        index = xp.where((further <= last) & (end < points), further, index)
    return index
