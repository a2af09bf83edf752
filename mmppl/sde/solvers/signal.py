r"""Times for solvers of the probability flow, by the ratio of noise to signal :math:`\rho = \sigma / a`."""

import numpy as np

from mmppl.errors import OptionError
from mmppl.sde.base import SDE

__all__ = ["signal_grid"]

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
    if number < 2 or not 0.0 < last < 1.0:
        raise OptionError(f"Expected at least two times and 0 < last < 1; got {number} and {last}.")

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
