r"""Times for solvers of the probability flow, by the ratio of noise to signal :math:`\rho = \sigma / a`."""

import numpy as np

from mmppl.errors import OptionError
from mmppl.sde.base import SDE

__all__ = ["check_grid", "linear_part", "signal_grid"]

HALVINGS = 60


def signal_grid(sde: SDE, number: int, last: float, bend: float) -> np.ndarray:
    r"""Times from 1 to ``last``, evenly spaced in :math:`\log \frac{\rho}{1 + b \rho}`.

    Where noise drowns the signal (:math:`b \rho \gg 1`) the data predicted hardly change, so few times lie there; below
    the grid is even in the log of the signal-to-noise ratio.

    Arguments:
        sde: The diffusion.
        number: Number of times.
        last: The last time.
        bend: b, for data of unit variance.

    Raises:
        OptionError: If an option is out of range.
    """
    check_grid(number, last)

    def position(t: np.ndarray) -> np.ndarray:
        noise = sde.scale(t) / sde.mean_factor(t)
        with np.errstate(divide="ignore"):
            return np.log(noise / (1.0 + bend * noise))

    first, end = position(np.array([1.0, last]))
    wanted = np.linspace(first, end, number)
    # The position grows with time, so the times are found by bisection.
    low, high = np.zeros(number), np.ones(number)
    for _ in range(HALVINGS):
        middle = 0.5 * (low + high)
        below = position(middle) < wanted
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return np.concatenate([[1.0], 0.5 * (low + high)[1:-1], [last]])


def check_grid(number: int, last: float) -> None:
    """Raises :class:`OptionError` unless there are two times or more, and the last is inside (0, 1)."""
    if number < 2 or not 0.0 < last < 1.0:
        raise OptionError(f"Expected at least two times and 0 < last < 1; got {number} and {last}.")


def linear_part(sde: SDE, grid: np.ndarray, eta: float = 0.0) -> tuple[np.ndarray, ...]:
    r"""Coefficients of the steps of a grid, for solvers that are exact in the linear part.

    .. math:: z_u = \frac{\sigma_u}{\sigma_t} e^{-\eta^2 h} z_t + a_u (1 - e^{-k h}) D_t + \ldots
        + \sigma_u \sqrt{1 - e^{-2 \eta^2 h}}\, \xi, \qquad
        h = \lambda_u - \lambda_t,\ \lambda = \log \frac{a}{\sigma},\ k = 1 + \eta^2

    Arguments:
        sde: The diffusion.
        grid: Times.
        eta: 0 for the probability flow, 1 for the reverse diffusion.

    Returns:
        Factors of z, of the data predicted D and of its slope in h, the widths h, and the deviation of the noise, one
        for each step.
    """
    factor, sigma = sde.mean_factor(grid), sde.scale(grid)
    width, k = np.diff(np.log(factor / sigma)), 1.0 + eta**2
    fall = -np.expm1(-k * width)
    own = sigma[1:] / sigma[:-1] * np.exp(-(eta**2) * width)
    spread = sigma[1:] * np.sqrt(-np.expm1(-2.0 * eta**2 * width))
    return own, factor[1:] * fall, factor[1:] * (width - fall / k), width, spread
