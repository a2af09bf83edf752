"""Small formulas that many places share."""

import math
from typing import Any

Array = Any

__all__ = ["HALF_LOG_2_PI", "normal_log_density"]

HALF_LOG_2_PI = 0.5 * math.log(2.0 * math.pi)


def normal_log_density(unit: Array, log_scale: Array) -> Array:
    r"""Log density of a normal, :math:`-u^2 / 2 - \log \sigma - \log \sqrt{2 \pi}` at :math:`u = (x - \mu) / \sigma`.

    Arguments:
        unit: u.
        log_scale: :math:`\log \sigma`, an array or a number.

    Example:
        >>> round(normal_log_density(0.0, 0.0), 4)
        -0.9189
    """
    return -0.5 * unit * unit - log_scale - HALF_LOG_2_PI
