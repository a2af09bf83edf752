"""Trust in estimates: an error stands beside one only where its own diagnosis holds."""

import numpy as np

__all__ = ["GOOD_R_HAT", "LIMIT_K", "LIMIT_R_HAT", "LIMIT_SHARE", "share_above", "trusted_k"]

LIMIT_K, LIMIT_R_HAT = 0.7, 1.1
GOOD_R_HAT = 1.01  # of chains to be reported
LIMIT_SHARE = 0.05


def share_above(pareto_k: np.ndarray) -> float:
    """The share of data whose PSIS k is above 0.7, or is not known."""
    return float(np.mean(~(np.asarray(pareto_k) <= LIMIT_K)))


def trusted_k(share: float) -> bool:
    r"""Tells whether a mean over data may have an error: PSIS k is above 0.7 for at most 5% of them.

    With k above 0.7 weights have so heavy a tail that neither their mean nor its error is to be believed, however small
    that is: what is estimated lies above, by an unknown number of nats. One such datum in twenty is let pass.

    References:
        | Pareto smoothed importance sampling (Vehtari et al., 2024), https://arxiv.org/abs/1507.02646

    Arguments:
        share: As :func:`share_above` tells it.

    Example:
        >>> trusted_k(share_above(np.array([0.1, 0.3]))), trusted_k(share_above(np.array([0.1, 0.9])))
        (True, False)
    """
    return share <= LIMIT_SHARE
