"""Pareto-smoothed importance sampling, by ArviZ: the shape k of the tail of weights, and weights smoothed by it."""

import numpy as np

from mmppl.inference.threads import ignored_warnings

__all__ = ["FEWEST", "pareto_k", "smooth"]

FEWEST = 25


def pareto_k(log_weight: np.ndarray) -> np.ndarray:
    """PSIS k for each datum of log weights ``(K, N)``; -inf where the tail is flat, inf for fewer than 25 weights."""
    number = len(log_weight)
    if number < FEWEST:
        return np.full(log_weight.shape[1], np.inf)
    tail = np.sort(log_weight, axis=0)[-int(np.ceil(min(number / 5, 3 * np.sqrt(number)))) :]
    varied = np.ptp(tail, axis=0) > 1e-9
    out = np.full(log_weight.shape[1], -np.inf)
    if varied.any():
        out[varied] = _psis(log_weight[:, varied].T)[1]
    return out


def smooth(log_weight: np.ndarray) -> np.ndarray:
    """Log weights ``(K, N)`` with their largest replaced by a Pareto tail; as they are where the tail is flat."""
    varied = np.isfinite(pareto_k(log_weight))
    out = log_weight - log_weight.max(axis=0)
    if varied.any():
        out = np.where(varied, 0.0, out)
        out[:, varied] = _psis(log_weight[:, varied].T)[0].T
    return out


def _psis(log_weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Smoothed log weights and k of log weights ``(N, K)``."""
    with ignored_warnings():
        try:
            from arviz import psislw
        except ImportError:
            # ArviZ 1.x keeps it among its array functions, and takes log likelihoods: minus log weights.
            from arviz_stats.base import array_stats

            smoothed, k = array_stats.psislw(-log_weight, axis=-1)
        else:
            smoothed, k = psislw(log_weight)
        return np.asarray(smoothed), np.asarray(k)
