"""Bias of short-run chains, by importance weights of the draws that they start from."""

from typing import NamedTuple

import numpy as np

__all__ = ["ChainBias", "chain_bias"]

LEAST_ESS = 100.0
LEAST_ERRORS, LEAST_SHARE = 5.0, 0.1


class ChainBias(NamedTuple):
    r"""Bias of the mean energy over chains, :math:`E_\text{chains} f - E_p f`.

    It is the bias of the learning gradient along :math:`f` itself. :math:`E_p f` is that of the base's draws with
    weights in proportion to :math:`e^f`, which takes no chains and crosses all modes, as long as the weights are even
    enough.

    Arguments:
        value: The bias, in nats; NaN where the effective sample size is below 100.
        error: Its standard error.
        spread: Standard deviation of f under p, the measure of the bias.
        ess: Effective sample size of the weights.
    """

    value: float
    error: float
    spread: float
    ess: float

    @property
    def found(self) -> bool:
        """Tells whether the bias is beyond five standard errors and a tenth of the deviation of f."""
        return abs(self.value) > max(LEAST_ERRORS * self.error, LEAST_SHARE * self.spread)


def chain_bias(start: np.ndarray, end: np.ndarray) -> ChainBias:
    """The bias from energies ``(C,)`` where chains start, at draws of the base, and where they end.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> start = rng.normal(size=1000)  # f(z) = z on a standard normal, which makes it a normal about 1
        >>> chain_bias(start, start + 1.0).found, chain_bias(start, start + 0.5).found
        (False, True)
    """
    start, end = np.asarray(start, np.float64), np.asarray(end, np.float64)
    weight = np.exp(start - start.max())
    weight = weight / weight.sum()
    mean = weight @ start
    spread, ess = np.sqrt(weight @ (start - mean) ** 2), 1.0 / (weight @ weight)
    # Each chain's part in the difference of both means.
    parts = (end - end.mean()) - len(start) * weight * (start - mean)
    value = end.mean() - mean if ess >= LEAST_ESS else np.nan
    return ChainBias(float(value), float(parts.std() / np.sqrt(len(start))), float(spread), float(ess))
